"""TensorBoard: what happens in a search as event files."""

from __future__ import annotations

import importlib.util
import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import NasError, option
from nas.searching.events import EpochEnded, Event, SearchStarted, TrialEnded, TrialStarted
from nas.storage.trials import epochs_number

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_ACCURACY = "result/accuracy"
_RESULTS = (_ACCURACY, "result/parameters", "result/seconds")


class TensorBoard(AbstractContextManager["TensorBoard"]):
    """A callback that writes a run for each training: curve, loss, learning rate, parameters.

        with nas.TensorBoard("runs") as board:
            nas.search(budget=20_000, dataset="digits", trials=12, callback=board)

    `tensorboard --logdir runs` shows them. A trial is the run `STUDY/trial-NUMBER`, with the values
    of its parameters and what it came to; each schedule that it was trained with is a run below it,
    `epochs-19`. Proposals that were turned away before training have none.

    Args:
        folder: for the event files; made when the first trial begins.

    Raises:
        NasError: tensorboard is not installed, or the folder is a file.
    """

    def __init__(self, folder: str | Path) -> None:
        if importlib.util.find_spec("tensorboard") is None:  # torch's writer imports it
            raise NasError(
                f"{option('tensorboard')} needs tensorboard: python -m pip install tensorboard"
            )
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise NasError(
                f"{option('tensorboard')} {str(folder)!r} is a file: give a folder for event files"
            )
        self._study = ""
        self._trials: dict[int, SummaryWriter] = {}
        self._trainings: dict[int, tuple[int, SummaryWriter]] = {}  # with its last epoch

    def __call__(self, event: Event) -> None:
        match event:
            case SearchStarted():
                self._study = event.study
            case TrialStarted():
                self._start(event)
            case EpochEnded():
                self._add(event)
            case TrialEnded() if event.trial in self._trials:
                self._end(event)

    def __exit__(self, *error: object) -> None:
        """Close what is still open: trials that were given up."""
        for number in [*self._trials]:
            self._close(number)

    def _start(self, event: TrialStarted) -> None:
        from torch.utils.tensorboard.summary import hparams

        self._close(event.trial)  # one that was given up, and begins again
        writer = self._trials[event.trial] = self._writer(f"trial-{event.trial}")
        values = event.params | {
            "recipe": event.recipe, "num_params": event.num_params, "num_macs": event.num_macs,
        }  # fmt: skip
        about, begin, _ = hparams(_plain(values), dict.fromkeys(_RESULTS, 0.0))
        _add_summaries(writer, about, begin)
        writer.flush()

    def _add(self, event: EpochEnded) -> None:
        metrics, number = event.metrics, event.trial
        last, writer = self._trainings.get(number, (math.inf, None))
        if writer is None or metrics.epoch <= last:  # the next schedule begins
            if writer is not None:
                writer.close()
            writer = self._writer(f"trial-{number}/epochs-{epochs_number(event.epochs)}")
        self._trainings[number] = (metrics.epoch, writer)
        for tag, value in (
            ("validation/accuracy", metrics.valid_accuracy),
            ("validation/loss", metrics.valid_loss),
            ("train/loss", metrics.train_loss),
            ("train/learning_rate", event.learning_rate),
            ("train/seconds", metrics.seconds),
        ):
            if value is not None:
                writer.add_scalar(tag, value, metrics.epoch)
        writer.flush()

    def _end(self, event: TrialEnded) -> None:
        from torch.utils.tensorboard.summary import hparams

        writer = self._trials[event.trial]
        found = (event.valid_accuracy, event.num_params, event.train_seconds)
        for tag, value in zip(_RESULTS, found, strict=True):
            if value is not None:
                writer.add_scalar(tag, value, 0)
        writer.add_text("result/outcome", f"{event.reason or 'trained'} {event.detail}".strip())
        *_, end = hparams({}, {})
        _add_summaries(writer, end)
        self._close(event.trial)

    def _writer(self, name: str) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.folder / self._study / name))

    def _close(self, number: int) -> None:
        if number in self._trainings:
            self._trainings.pop(number)[1].close()
        if number in self._trials:
            self._trials.pop(number).close()


def _add_summaries(writer: SummaryWriter, *summaries: Any) -> None:
    file_writer: Any = writer.file_writer  # torch does not say its type
    for summary in summaries:
        file_writer.add_summary(summary)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The values of types that TensorBoard takes."""
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in values.items()
    }
