"""Notes of studies and trials as Markdown."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest

from nas.certification.records import Protocol, record_run
from nas.reports.notes import _MEANINGS, MOST_EPOCHS, plain, study_note, table, trial_note
from nas.storage.ranking import best_trials
from nas.storage.reasons import Reason
from nas.storage.studies import open_or_create_study
from nas.storage.trials import PROMOTED_FROM, record_reason, record_rejection
from tests.certification.test_records import make_run
from tests.reports.studies import make_study
from tests.storage.test_studies import DATA, FACTS


@pytest.fixture(scope="module")
def study():
    """Ten candidates, one proposal over budget, one training that was cut off."""
    study = make_study(10)
    over = study.ask()
    record_rejection(over, Reason.OVER_BUDGET, "20,001 parameters do not fit", 20_001)
    study.tell(over, state=optuna.trial.TrialState.PRUNED)
    cut = study.ask()
    record_reason(cut, Reason.INTERRUPTED, "after 1 of 19 epochs")
    study.tell(cut, state=optuna.trial.TrialState.FAIL)
    return study


def test_note_of_a_study_says_what_was_found_and_what_to_do_next(study, golden):
    golden("study-note", study_note(study) + "\n")


def test_note_of_a_trial_has_its_network_recipe_and_curve(study, golden):
    best, *_, worst = best_trials(study)
    golden("trial-note", trial_note(best) + "\n")
    assert "*Pruned*: stopped by pruner; no failure" in trial_note(worst)
    assert "**the validation images after 1 of 19 of its epochs" not in trial_note(best)
    assert "after 1 of 19 of its epochs" in trial_note(worst)


def test_note_of_an_empty_study_says_that_there_is_no_network():
    storage = optuna.storages.InMemoryStorage()
    note = study_note(open_or_create_study(storage, "a`b c", FACTS, DATA, "text"))
    assert r"**Study 'a\`b c' has no trained network yet" in note
    assert "| 0 |" in note
    assert "The best" not in note
    assert "```sh\nnas show --study 'a`b c'\n```" in note


def test_network_that_is_certified_alone_is_exported_next():
    study = make_study(3, data=replace(DATA, num_valid=2))
    assert "nas certify --study s" in study_note(study)
    best = best_trials(study)[0].number
    record_run(study, make_run(Protocol.HONEST, trial=best, is_right=(True, False)))
    note = study_note(study)
    assert "nas export --study s" in note
    assert "nas certify" not in note


def test_accuracies_have_the_digits_that_their_images_can_tell():
    study = make_study(3, data=replace(DATA, num_valid=124))
    best = best_trials(study)[0]
    found = f"{best.valid_accuracy:.1%}"
    assert f"| \N{NO-BREAK SPACE}{found} |" in study_note(study)
    note = trial_note(best, 124)
    assert f"**{found}** of the validation images" in note
    assert f"\N{NO-BREAK SPACE}{found} |" in note.partition("Learning curve")[2]


def test_every_outcome_of_a_trial_is_explained():
    assert set(Reason) < set(_MEANINGS)
    labels = {label for label, _ in _MEANINGS.values()}
    assert labels == {"Complete", "Pruned", "Complete or Pruned", "Fail", "Running"}


def test_trial_that_goes_on_with_another_says_so(study):
    best = best_trials(study)[0]
    assert "It goes on with trial 3, which" in trial_note(replace(best, continues=3))
    assert PROMOTED_FROM not in trial_note(best)


def test_long_curves_are_thinned_and_keep_their_last_epoch(study):
    best = best_trials(study)[0]
    long = tuple(replace(best.history[0], epoch=n) for n in range(1, 102))
    rows = trial_note(replace(best, history=long)).partition("Learning curve")[2].splitlines()[4:-2]
    assert MOST_EPOCHS / 2 < len(rows) <= MOST_EPOCHS + 1
    assert rows[0].startswith("| 1 |")
    assert rows[-1].startswith("| 101 |")


def test_names_of_strangers_are_shown_as_they_are():
    assert plain("a|b\n[x](y) <i> *") == r"a\|b \[x\](y) \<i\> \*"
    lines = table(("name", ">number"), [("a", "1")]).splitlines()
    assert lines == ["| name | number |", "| --- | ---: |", "| a | \N{NO-BREAK SPACE}1 |"]
