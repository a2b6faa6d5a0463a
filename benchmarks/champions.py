"""Show the champions: export each certified winner, and make their table and their picture.

    python benchmarks/champions.py [--storage sqlite:///champions/searches.db] [--data-dir DATA]

Of every study of the database that holds a certificate, `champions/STUDY/` gets the network with
the weights of the certificate's first seed; those of a better seed would have been chosen by test
images. The table of `champions/README.md` and `champions/accuracy.svg` are made from the
certificates: a network that is not certified is in neither; `accuracy-narrow.svg` is the same for
phones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from published import PUBLISHED, Published

import nas
from nas.certification.records import Protocol, Run, last_certified, read_runs, stack
from nas.certification.statistics import accuracy_of, mean_of
from nas.errors import StudyError
from nas.reports.axes import Entry, Scale, frame, legend, mark_point, percent, thousands
from nas.reports.picture import SMALL, Dots, Line, Picture, Text
from nas.reports.repetition import repetition
from nas.reports.results import StudyResult
from nas.storage.studies import study_facts
from nas.storage.trials import TrialRecord

FOLDER = Path(__file__).parents[1] / "champions"
BEGIN, END = "<!-- made by benchmarks/champions.py -->\n", "<!-- end -->\n"
LEFT, TOP, BOTTOM, HEIGHT = 58.0, 34.0, 44.0, 340.0
WIDTHS = {"accuracy.svg": 720.0, "accuracy-narrow.svg": 390.0}  # the second for phones


@dataclass(frozen=True)
class Champion:
    """The certified winner of a search."""

    study: StudyResult
    record: TrialRecord
    budget: int
    command: str
    search_epochs: float
    search_seconds: float  # of one core
    honest: Sequence[Run]
    watched: Sequence[Run]

    @property
    def accuracies(self) -> list[float]:
        """0..1, of every seed, on the test images after the last epoch."""
        return [run.accuracy for run in self.honest if run.accuracy is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", default=f"sqlite:///{FOLDER}/searches.db")
    parser.add_argument("--data-dir", type=Path, help="folder with MNIST/raw")
    parser.add_argument("--out", type=Path, default=FOLDER, help="a folder with a README.md")
    options = parser.parse_args()
    champions = read_champions(options.storage)
    for champion in champions:
        done = nas.export(
            champion.study, options.out / champion.study.name, format="pytorch,c", certified=True,
            force=True, data_dir=options.data_dir,
        )  # fmt: skip
        assert done.provenance.certified is not None
        print(f"{done.folder}: {done.provenance.certified.text}")
    readme = options.out / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), champions), encoding="utf-8")
    for name, width in WIDTHS.items():
        (options.out / name).write_text(drawing(champions, width).svg(), encoding="utf-8")


def read_champions(storage: str) -> list[Champion]:
    """The certified winner of each study, the smallest budget first."""
    found = []
    for name in nas.list_studies(storage=storage):
        study = nas.load_study(name, storage=storage)
        inside = study.optuna_study
        facts = study_facts(inside)
        try:
            number = last_certified(inside)
        except StudyError:
            continue
        assert facts is not None
        honest = [r for r in read_runs(inside, Protocol.HONEST, number) if r.accuracy is not None]
        if not honest:  # broken off before the test images were opened
            continue
        trials = [trial.record for trial in study.trials]
        found.append(
            Champion(
                study, trials[number], facts.budget,
                repetition(inside) or "-",
                sum(trial.epochs or 0 for trial in trials),
                sum(trial.train_seconds or 0.0 for trial in trials),
                honest,
                read_runs(inside, Protocol.WATCHED, number),
            )
        )  # fmt: skip
    return sorted(found, key=lambda champion: champion.budget)


def with_table(text: str, champions: Sequence[Champion]) -> str:
    """The page with the table between its two marks made anew.

    Raises:
        ValueError: the marks are not there.
    """
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"README.md needs the lines {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN + "\n".join(table(champions)) + "\n" + END + after


def table(champions: Sequence[Champion]) -> list[str]:
    """What each reached, and below it how each was found."""
    lines = [
        "| budget | network | parameters | multiply-accumulates | honest: mean of test images "
        "| 95 % interval | watched: best epoch, best seed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    found = []
    for champion in champions:
        record, name = champion.record, champion.study.name
        summary = accuracy_of(stack(champion.honest))
        mean, interval = f"{summary.mean:.2%} (1 seed)", "-"
        if summary.num_seeds > 1:
            spread = f"{100 * summary.mean:.3f} ± {100 * summary.std:.3f} %"
            mean = f"{spread} ({summary.num_seeds} seeds)"
            interval = f"{100 * summary.low:.3f} to {100 * summary.high:.3f}"
        watched = "-"
        if champion.watched:
            best = max(run.best_accuracy for run in champion.watched)
            watched = f"{best:.2%} of {len(champion.watched)}"
        devices = " and ".join(sorted({run.device for run in champion.honest}))
        lines.append(
            f"| {champion.budget:,} | [`{name}`]({name}/README.md), trial {record.number} "
            f"| {record.num_params or 0:,} | {record.num_macs or 0:,} | {mean} | {interval} "
            f"| {watched} |"
        )
        found.append(
            f"- `{name}` took {champion.search_epochs:,.0f} epochs and "
            f"{champion.search_seconds / 60:,.0f} minutes of one worker to be found; "
            f"`{champion.command}` repeats the search{space_of(champion)}. Its certificate was "
            f"trained on {devices}."
        )
    return [*lines, "", *found]


def space_of(champion: Champion) -> str:
    """How to get the space, where it has changed since."""
    if " --space ./" not in champion.command:
        return ""
    spaces = f"nas spaces --study {champion.study.name} --storage sqlite:///champions/searches.db"
    return f" in the space that `{spaces}` writes"


def drawing(
    champions: Sequence[Champion], width: float, published: Sequence[Published] = PUBLISHED
) -> Picture:
    """Accuracy over parameters: every seed of ours as a dot, the published ones as diamonds."""
    sizes = [p.num_params for p in published] + [c.record.num_params or 1 for c in champions]
    errors = [1 - p.accuracy for p in published]
    errors += [1 - accuracy for c in champions for accuracy in c.accuracies]
    x = Scale(min(sizes) * 0.9, max(sizes) * 1.1, LEFT, width - 14, is_log=True)
    y = Scale(min(errors) * 0.85, max(errors) * 1.1, TOP, TOP + HEIGHT, is_log=True)
    picture = Picture("MNIST: accuracy over parameters", width)
    frame(picture, x, y, thousands, lambda error: percent(1 - error), "parameters", "test accuracy")
    for network in published:
        at = x.place(network.num_params), y.place(1 - network.accuracy)
        mark_point(picture, "diamond", at, "purple", 4.5)
    for champion in champions:
        column, mean = x.place(champion.record.num_params or 1), mean_of(champion.accuracies).mean
        picture.add(Dots([(column, y.place(1 - a)) for a in champion.accuracies], "blue", 5,
                         opacity=0.5))  # fmt: skip
        middle = y.place(1 - mean)
        picture.add(
            Line([(column - 9, middle), (column + 9, middle)], "blue", 2.5),
            Text(
                (column - 12, middle + 4),
                percent(round(mean, 5)),
                "text",
                SMALL,
                "end",
                has_halo=True,
            ),
        )
    entries = [
        Entry("ours: every seed, last epoch, test images opened once", "blue"),
        Entry("their mean", "blue", "line"),
        Entry("published, most with the epoch chosen by test images", "purple", "diamond"),
    ]
    picture.height = legend(picture, entries, TOP + HEIGHT + BOTTOM + 14) + 4
    picture.description = "; ".join(
        f"{c.record.num_params or 0:,} parameters {mean_of(c.accuracies).mean:.2%}"
        for c in champions
    )
    return picture


if __name__ == "__main__":
    main()
