"""The story of a certification, with real trainings of tiny networks."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import BatchNorm, Conv, Flatten, Linear, MaxPool, ReLU
from nas.candidates.recipe import Recipe
from nas.certification.certify import Certification, shortlist
from nas.certification.records import (
    Protocol,
    answers_of,
    openings,
    read_runs,
    record_opening,
    record_run,
)
from nas.data import into_folds, whole, with_test
from nas.errors import DataError, SearchError, StudyError
from nas.reports.certificates import certificate_tables
from nas.searching.events import Note
from nas.storage.artifacts import WeightsStore
from nas.storage.database import open_storage
from nas.storage.ranking import find_trial
from nas.storage.reasons import Reason
from nas.storage.studies import open_or_create_study, open_study
from nas.storage.trials import record_reason
from nas.training import evaluate
from nas.training.pool import WorkerPool
from tests.certification.test_records import make_run
from tests.conftest import make_tiny_data, make_tiny_images
from tests.fakes import LocalPool, add_trial, train_alone
from tests.storage.test_studies import DATA, FACTS

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=0.05, augmentation=0)
NETWORK = Architecture((1, 8, 8), [Conv(6), BatchNorm(), ReLU(), MaxPool(2), Flatten(), Linear(4)])
GOOD = Candidate(NETWORK, RECIPE)
WEAK = Candidate(NETWORK, replace(RECIPE, learning_rate=1e-6))  # it hardly learns
SMALL = Candidate(Architecture((1, 8, 8), [Flatten(), Linear(4)]), RECIPE)
ENDLESS = Candidate(NETWORK, replace(RECIPE, epochs=100_000))
# Nothing normalises here.
DIVERGING = Candidate(
    Architecture((1, 8, 8), [Flatten(), Linear(8), Linear(4)]),
    replace(RECIPE, learning_rate=99.0),
)
TEST_IMAGES = make_tiny_images(80, seed=1)


def closed_test_set():
    raise AssertionError("the test images were loaded")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A folder with a study of two trials, of which the search took the weak one for the better."""
    path = tmp_path_factory.mktemp("searched")
    storage = open_storage(f"sqlite:///{path}/s.db", create=True)
    study = open_or_create_study(storage, "s", FACTS, replace(DATA, num_valid=60), "text")
    add_trial(study, WEAK, 0.99)
    add_trial(study, GOOD, 0.9)
    return path


@pytest.fixture
def folder(searched, tmp_path):
    """A copy of it."""
    return shutil.copytree(searched, tmp_path / "study")


def study_in(folder):
    return open_study(open_storage(f"sqlite:///{folder}/s.db"), "s")


def prepare(folder, trials=(0, 1), num_seeds=2, stop_after=None, pool=LocalPool, **options):
    """A certification of the study in a folder, as a new process would begin it.

    What it says is in `lines`, the images of each pool that it makes in `pools`; `seen` has, for
    each time that it loads the test images, how many trainings were stored by then.
    """
    study = study_in(folder)
    lines, pools, seen, progress = [], [], [], []

    def load_test():
        seen.append({p: len(all_runs(study, p)) for p in Protocol})
        return TEST_IMAGES

    def make_pool(data):
        pools.append(data)
        return pool(data)

    def tell(event):
        if isinstance(event, Note):
            lines.append(event.text)
        else:
            progress.append(event)

    parts = {
        "data": make_tiny_data(),
        "load_test": load_test,
        "make_pool": make_pool,
        "stop": lambda: stop_after is not None and len(lines) >= stop_after,
    }
    certification = Certification(
        study,
        [find_trial(study, number) for number in trials],
        num_seeds,
        study_seed=0,
        weights=WeightsStore(study, folder / "artifacts"),
        callback=tell,
        **parts | options,
    )
    certification.lines, certification.pools, certification.seen = lines, pools, seen
    certification.told = progress
    return certification


def all_runs(study, protocol):
    return [run for t in range(len(study.trials)) for run in read_runs(study, protocol, t)]


def outcome(study):
    """Everything a certification has found, without the times and the names of files."""
    return [
        (
            run.protocol, run.trial, run.number, run.seed, run.accuracy, run.loss,
            run.is_right.tolist(), [replace(m, seconds=0) for m in run.history],
        )
        for protocol in Protocol
        for run in all_runs(study, protocol)
    ]  # fmt: skip


def measure(candidate, result, data):
    model = candidate.architecture.build()
    model.load_state_dict(result.state_dict)
    return evaluate(model, data)


def without_seconds(lines):
    return [line.rpartition(",")[0] for line in lines]


@pytest.fixture(scope="module")
def certified(searched, tmp_path_factory):
    """An honest certification of two seeds that came to its end; for tests that only look."""
    folder = shutil.copytree(searched, tmp_path_factory.mktemp("certified") / "study")
    certification = prepare(folder)
    certification.best = certification.run_honest()
    return certification


@pytest.fixture
def certified_folder(certified, tmp_path):
    """A copy of its folder, for tests that go on."""
    return shutil.copytree(certified.weights.artifact_dir.parent, tmp_path / "certified")


# Folds


@pytest.mark.slow
def test_folds_decide_where_they_are_asked_for_and_each_image_is_measured_once(folder):
    data = make_tiny_data()
    certification = prepare(folder, folds=into_folds(data, 3, seed=0))
    best = certification.run_honest()
    runs = {n: read_runs(certification.study, Protocol.FOLDS, n) for n in (0, 1)}
    assert [len(some) for some in runs.values()] == [3, 3]
    answers = {n: np.concatenate(answers_of(some)) for n, some in runs.items()}
    assert all(len(some) == len(data.images) for some in answers.values())
    accuracies = {n: some.mean() for n, some in answers.items()}
    assert best.number == max(accuracies, key=accuracies.get)
    assert certification.seen == [
        {Protocol.VALIDATION: 0, Protocol.FOLDS: 6, Protocol.HONEST: 2, Protocol.WATCHED: 0}
    ]
    assert [len(pool.train_index) for pool in certification.pools] == [160, 160, 160, 240]
    assert certification.lines[0].startswith("trial 0, fold 1 of 3: ")
    page = next(p for p in certificate_tables(certification.study) if "folds" in p.title)
    assert page.title == (
        f"on each of 3 folds of 240 training images, trained on the others; by accuracy and "
        f"loss: trial {best.number}"
    )
    assert "(3 folds, 95 %" in page.rows[0][2]


@pytest.mark.slow
def test_folds_that_were_broken_off_go_on_and_another_number_of_them_is_refused(folder):
    data = make_tiny_data()
    prepare(folder, folds=into_folds(data, 3, seed=0), stop_after=2).run_honest()
    again = prepare(folder, folds=into_folds(data, 3, seed=0), stop_after=5)
    again.run_honest()
    assert len(again.pools) >= 1
    assert len(all_runs(again.study, Protocol.FOLDS)) == 6
    other = prepare(folder, folds=into_folds(data, 4, seed=0))
    with pytest.raises(StudyError, match=r"folds was 3 in study 's', now it is 4: give 3"):
        other.run_honest()


# Progress


def test_each_training_is_told_of_until_all_have_ended(certified):
    ends = [event for event in certified.told if event.has_ended]
    assert [(e.trial, e.run) for e in ends] == [
        (0, "seed 1/2"), (1, "seed 1/2"), (0, "seed 2/2"), (1, "seed 2/2"),
        (1, "seed 1/2"), (1, "seed 2/2"),
    ]  # fmt: skip
    assert [e.num_ended for e in ends] == [1, 2, 3, 4, 5, 6]
    assert {e.num_trainings for e in certified.told} == {6}
    meanwhile = [event for event in certified.told if not event.has_ended]
    assert {(e.epochs_done, e.epochs) for e in meanwhile} == {(1, 2)}
    assert ends[-1].seconds_left == 0
    assert ends[0].seconds_left > 0


def test_trainings_of_an_earlier_call_count_as_ended(folder):
    prepare(folder, stop_after=1).run_honest()
    again = prepare(folder)
    again.run_honest()
    ends = [event for event in again.told if event.has_ended]
    assert [e.num_ended for e in ends] == [2, 3, 4, 5, 6]
    assert {e.num_trainings for e in again.told} == {6}


# Honest


def test_test_images_are_loaded_once_and_after_all_other_trainings(certified):
    assert certified.seen == [
        {Protocol.VALIDATION: 4, Protocol.FOLDS: 0, Protocol.HONEST: 2, Protocol.WATCHED: 0}
    ]
    (opening,) = openings(certified.study)
    assert (opening["protocol"], opening["trials"]) == ("honest", [1])


def test_validation_decides_and_not_the_score_of_the_search(certified):
    assert certified.best.number == 1
    weak, good = (
        [run.accuracy for run in read_runs(certified.study, Protocol.VALIDATION, t)] for t in (0, 1)
    )
    assert max(weak) < min(good)
    assert read_runs(certified.study, Protocol.HONEST, 0) == []  # the test set never sees it


def test_candidates_are_compared_on_the_split_of_the_search(certified, tiny_data):
    images = certified.pools[0]
    assert (images.sha256, images.split_sha256) == (tiny_data.sha256, tiny_data.split_sha256)
    run = read_runs(certified.study, Protocol.VALIDATION, 1)[1]
    result = train_alone(GOOD.architecture, GOOD.recipe, tiny_data, run.seed)
    assert [replace(m, seconds=0) for m in run.history] == [
        replace(m, seconds=0) for m in result.history
    ]
    assert run.accuracy == result.history[-1].valid_accuracy == run.is_right.mean()
    assert run.loss == pytest.approx(result.history[-1].valid_loss, rel=1e-5)
    assert len(run.is_right) == 60
    assert run.artifact_id is None


def test_winner_is_trained_on_all_training_images_and_no_test_image(certified, tiny_data):
    images = certified.pools[1]
    assert len(certified.pools) == 2
    assert images.train_index.sort().values.tolist() == list(range(240))
    assert torch.equal(images.images, tiny_data.images)


def test_honest_result_is_that_of_the_last_epoch_on_the_test_images(certified, tiny_data):
    tested = with_test(tiny_data, TEST_IMAGES)
    runs = read_runs(certified.study, Protocol.HONEST, 1)
    assert [run.number for run in runs] == [0, 1]
    for run in runs:
        result = train_alone(GOOD.architecture, GOOD.recipe, whole(tiny_data), run.seed)
        loss, accuracy = measure(GOOD, result, tested)
        assert (run.accuracy, run.loss) == (accuracy, pytest.approx(loss, rel=1e-5))
        assert run.is_right.mean() == accuracy
        assert len(run.is_right) == len(TEST_IMAGES.images)
        kept = certified.weights.read(run.artifact_id)
        assert all(torch.equal(kept[name], value) for name, value in result.state_dict.items())


def test_every_training_has_a_seed_of_its_own_that_the_search_did_not_use(folder):
    certification = prepare(folder)
    certification.run_honest()
    certification.run_watched()
    runs = [run for protocol in Protocol for run in all_runs(certification.study, protocol)]
    seeds = {run.seed for run in runs} | {find_trial(certification.study, t).seed for t in (0, 1)}
    assert len(runs) == 4 + 2 + 4
    assert len(seeds) == len(runs) + 2


def test_training_records_what_made_it(certified):
    for run in all_runs(certified.study, Protocol.HONEST):
        assert run.device == "cpu, eager engine, fp32"
        assert set(run.versions) == {"nas", "torch", "optuna", "python"}
        assert run.train_seconds > 0


def test_progress_is_a_line_for_each_training_and_one_for_the_opening(certified):
    *trained, opened = certified.lines
    assert [line.split(":")[0] for line in trained] == [
        "trial 0, seed 1 of 2", "trial 1, seed 1 of 2",
        "trial 0, seed 2 of 2", "trial 1, seed 2 of 2",
        "trial 1, seed 1 of 2", "trial 1, seed 2 of 2",
    ]  # fmt: skip
    assert opened == "the test images are opened, for the first time in this study"


@pytest.mark.slow
def test_several_real_workers_find_the_same(certified, folder):
    certification = prepare(folder, pool=lambda data: WorkerPool(data, CPU, torch.float32, 2))
    certification.run_honest()
    assert outcome(certification.study) == outcome(certified.study)


def test_certification_again_trains_nothing_and_opens_nothing(certified_folder):
    again = prepare(certified_folder, load_test=closed_test_set)
    assert again.run_honest().number == 1
    assert again.lines == again.pools == []
    assert len(openings(again.study)) == 1


def test_more_seeds_train_only_those_and_open_the_test_images_again(certified, certified_folder):
    more = prepare(certified_folder, num_seeds=3)
    more.run_honest()
    assert [line.split(":")[0] for line in more.lines[:-1]] == [
        "trial 0, seed 3 of 3", "trial 1, seed 3 of 3", "trial 1, seed 3 of 3",
    ]  # fmt: skip
    assert more.lines[-1].endswith("for the second time in this study")
    assert len(openings(more.study)) == 2
    assert [run for run in outcome(more.study) if run[2] < 2] == outcome(certified.study)


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "for the first time"), (2, "for the second time"), (3, "for the third time"),
     (4, "4 times by now"), (21, "21 times by now")],
)  # fmt: skip
def test_every_opening_is_announced_with_its_number(folder, count, words):
    certification = prepare(folder, trials=[1], num_seeds=1)
    for _ in range(count - 1):
        record_opening(certification.study, Protocol.WATCHED, [0], "a" * 64)
    certification.run_honest()
    assert certification.lines[-1] == f"the test images are opened, {words} in this study"


def test_fewer_seeds_count_only_the_first(folder):
    certification = prepare(folder, num_seeds=1, load_test=closed_test_set)
    for trial, accuracies in ((0, (0.9, 0.1)), (1, (0.5, 0.99))):
        for number, accuracy in enumerate(accuracies):
            record_run(certification.study, make_run(trial=trial, number=number, accuracy=accuracy))
    assert certification.decide().number == 0
    certification.num_seeds = 2
    assert certification.decide().number == 1


def test_close_accuracies_are_decided_by_loss(folder):
    certification = prepare(folder, num_seeds=2)
    for trial, accuracy, losses in ((0, 0.92, (0.3, 0.4)), (1, 0.91, (0.4, 0.2))):
        for number, loss in enumerate(losses):
            record_run(
                certification.study,
                make_run(trial=trial, number=number, accuracy=accuracy, loss=loss),
            )
    assert certification.decide().number == 1


@pytest.mark.filterwarnings("error::RuntimeWarning")  # nothing is averaged over no trainings
def test_single_trial_needs_no_decision(folder):
    certification = prepare(folder, trials=[0], num_seeds=1)
    assert certification.run_honest().number == 0
    assert all_runs(certification.study, Protocol.VALIDATION) == []
    assert len(all_runs(certification.study, Protocol.HONEST)) == 1
    assert len(certification.pools) == 1


# Interrupted


@pytest.mark.parametrize("num_done", [0, 1, 4, 5, 6])  # of four to compare and two of the best
def test_interrupted_certification_goes_on_with_what_is_missing(certified, folder, num_done):
    broken_off = prepare(folder, stop_after=num_done, load_test=closed_test_set)
    assert broken_off.run_honest() is None
    assert len(broken_off.lines) == num_done
    rest = prepare(folder)
    assert rest.run_honest().number == 1
    assert without_seconds(broken_off.lines + rest.lines) == without_seconds(certified.lines)
    assert len(openings(rest.study)) == 1
    assert outcome(rest.study) == outcome(certified.study)


@pytest.mark.slow
def test_training_that_was_cut_off_leaves_nothing(folder):
    study = study_in(folder)
    add_trial(study, ENDLESS, 0.5)
    interrupted = []

    class InterruptedPool(WorkerPool):
        def answer(self, number, stop):
            interrupted.append(number)
            super().answer(number, stop)

    certification = prepare(
        folder,
        trials=[2],
        pool=lambda data: InterruptedPool(data, CPU, torch.float32, 1),
        stop=lambda: bool(interrupted),
        load_test=closed_test_set,
    )
    assert certification.run_honest() is None
    assert all_runs(certification.study, Protocol.HONEST) == []
    assert not (folder / "artifacts").exists()


def test_unmeasured_training_whose_weights_are_gone_is_done_again(certified, folder):
    prepare(folder, stop_after=6).run_honest()
    lost = read_runs(study_in(folder), Protocol.HONEST, 1)[1]
    (folder / "artifacts" / lost.artifact_id).unlink()
    rest = prepare(folder)
    rest.run_honest()
    assert [line.split(":")[0] for line in rest.lines[:-1]] == ["trial 1, seed 2 of 2"]
    assert outcome(rest.study) == outcome(certified.study)


def test_measured_training_needs_its_weights_no_more(certified_folder):
    shutil.rmtree(certified_folder / "artifacts")
    again = prepare(certified_folder, load_test=closed_test_set)
    again.run_honest()
    assert again.lines == []


def test_damaged_weights_are_refused_and_leave_the_training_unmeasured(folder):
    certification = prepare(folder, trials=[1], num_seeds=1, stop_after=1)
    certification.run_honest()
    (weights,) = (folder / "artifacts").iterdir()
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(StudyError, match="gone or damaged"):
        prepare(folder, trials=[1], num_seeds=1).run_honest()
    (run,) = read_runs(certification.study, Protocol.HONEST, 1)
    assert run.accuracy is None


# What goes wrong


def test_candidate_that_fails_is_named_and_what_was_done_is_kept(folder):
    study = study_in(folder)
    add_trial(study, DIVERGING, 0.5)
    certification = prepare(folder, trials=[1, 2], load_test=closed_test_set)
    with pytest.raises(SearchError, match=r"trial 2 could not be trained again: .*not finite"):
        certification.run_honest()
    assert [run.trial for run in all_runs(study, Protocol.VALIDATION)] == [1]


def test_test_images_that_cannot_be_read_lose_no_training(folder):
    def refuse():
        raise DataError("no test images")

    certification = prepare(folder, trials=[1], load_test=refuse)
    with pytest.raises(DataError):
        certification.run_honest()
    assert openings(certification.study) == []
    rest = prepare(folder, trials=[1])
    rest.run_honest()
    assert rest.pools == []
    assert len(rest.lines) == 1  # of the opening


# Watched


@pytest.fixture
def watched(folder):
    certification = prepare(folder)
    assert certification.run_watched()
    return certification


def test_watched_candidates_train_on_all_images_with_an_eye_on_the_test_images(watched, tiny_data):
    (images,) = watched.pools
    assert images.train_index.sort().values.tolist() == list(range(240))
    assert torch.equal(images.images[images.valid_index], TEST_IMAGES.images)
    data = with_test(tiny_data, TEST_IMAGES)
    for trial, candidate in enumerate((WEAK, GOOD)):
        for run in read_runs(watched.study, Protocol.WATCHED, trial):
            result = train_alone(candidate.architecture, candidate.recipe, data, run.seed)
            accuracies = [m.valid_accuracy for m in result.history]
            assert [m.valid_accuracy for m in run.history] == accuracies
            assert (run.accuracy, run.best_accuracy) == (accuracies[-1], max(accuracies))


def test_watching_is_an_opening_of_its_own(watched, folder):
    assert watched.seen == [dict.fromkeys(Protocol, 0)]  # before the first training
    assert prepare(folder).run_honest().number == 1
    opened = [(o["protocol"], o["trials"]) for o in openings(watched.study)]
    assert opened == [("watched", [0, 1]), ("honest", [1])]


def test_watched_again_trains_nothing_and_opens_nothing(watched, folder):
    again = prepare(folder, load_test=closed_test_set)
    assert again.run_watched()
    assert again.lines == []
    assert len(openings(again.study)) == 1


def test_watched_trainings_decide_nothing(watched, folder):
    honest = prepare(folder)
    honest.run_honest()
    assert len(honest.lines) == 4 + 2 + 1  # all trainings, and the opening


@pytest.mark.parametrize("num_done", [0, 2, 4])
def test_interrupted_watching_goes_on_with_what_is_missing(folder, num_done):
    broken_off = prepare(folder, stop_after=num_done)
    assert not broken_off.run_watched()
    rest = prepare(folder)
    assert rest.run_watched()
    names = [line.split(":")[0] for line in broken_off.lines + rest.lines]
    assert names == [f"trial {t}, seed {n} of 2" for n in (1, 2) for t in (0, 1)]


# The shortlist


@pytest.fixture
def empty():
    return open_or_create_study(InMemoryStorage(), "s", FACTS, DATA, "text")


def test_shortlist_has_close_trials_by_loss_and_then_the_others_by_accuracy(empty):
    scores = ((0.95, 0.01), (0.99, 0.05), (0.9895, 0.03), (0.97, 0.01))
    for place, (accuracy, loss) in enumerate(scores):
        candidate = replace(GOOD, recipe=replace(RECIPE, learning_rate=0.01 * (place + 1)))
        add_trial(empty, candidate, accuracy, loss)
    assert [r.number for r in shortlist(empty, 3)] == [2, 1, 3]
    assert [r.number for r in shortlist(empty, 1)] == [2]
    assert len(shortlist(empty, 9)) == 4


def test_shortlist_has_only_trials_that_have_ended_a_schedule(empty):
    add_trial(empty, GOOD, 0.5)
    trial = empty.ask()
    trial.report(0.99, 1)
    record_reason(trial, Reason.STOPPED_BY_PRUNER, "after 1 of 2 epochs")
    empty.tell(trial, state=TrialState.PRUNED)
    empty.ask()
    assert [r.number for r in shortlist(empty, 3)] == [0]


def test_study_without_a_trained_trial_has_no_shortlist(empty):
    empty.ask()
    with pytest.raises(StudyError, match="'s' has no trained network yet"):
        shortlist(empty, 3)
