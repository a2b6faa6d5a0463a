"""The options that several verbs share.

Most are fields of `SearchConfig`, which says their defaults, ranges and choices: here stand the
words of the help. `FIELDS` has the options of a search in the order of its help.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import click

from nas.cli.command import Option
from nas.cli.values import (
    Checked,
    Choice,
    Count,
    DataSet,
    File,
    Folder,
    Space,
    Text,
    Trial,
    Value,
    Whole,
)
from nas.searching.config import CHOICES, RANGES, SearchConfig, parse_seconds, parse_share

LIMITS, DATA, TIME = "Limits", "Data", "How long"
METHOD, HARDWARE, STUDIES, OUTPUT = "How to search", "On what", "Studies", "Output"

_DEFAULTS = {field.name: field.default for field in fields(SearchConfig)}


def _budget_or_flash(ctx: click.Context, param: click.Parameter, value: int | None) -> int:
    """A parameter takes a byte of flash or more, so that limits parameters as well."""
    given: int | None = ctx.params.get("max_flash") if value is None else value
    if given is None:
        raise click.MissingParameter(ctx=ctx, param=param)
    return min(given, RANGES["budget"][1])


def _field(
    group: str, name: str, metavar: str | None, text: str, kind: click.ParamType[Any] | None = None,
    **attributes: Any,
) -> Option:  # fmt: skip
    """The option of a field of `SearchConfig`; without a `kind` its range or choices make one."""
    if kind is None and name in CHOICES:
        kind = Choice(CHOICES[name])
    default = _DEFAULTS[name]
    given = attributes if default in (None, MISSING) else {"default": default, **attributes}
    return Option(
        f"--{name.replace('_', '-')}", group=group, metavar=metavar, help=text,
        type=kind or Whole(*RANGES[name]), **given,
    )  # fmt: skip


def _count(name: str, what: str) -> Value:
    return Count(what, RANGES[name][1])


FIELDS = {
    option.name: option
    for option in (
        _field(
            LIMITS, "budget", "N",
            "required, unless --max-flash is given: a network fits when it has fewer parameters "
            "than this; 20000, 20_000 or 20k",
            _count("budget", "parameters"), callback=_budget_or_flash,
        ),
        _field(
            LIMITS, "max_flash", "N",
            "the most bytes of flash that the network may take as int8 C: weights, tables, code; "
            "16000 or 16k",
            _count("max_flash", "bytes"), is_eager=True,
        ),
        _field(
            LIMITS, "max_ram", "N",
            "the most bytes of RAM that it may take so: the buffer of its maps, and its stack",
            _count("max_ram", "bytes"),
        ),
        _field(
            LIMITS, "max_macs", "N", "the most multiply-accumulates to classify an image",
            _count("max_macs", "multiply-accumulates"),
        ),
        _field(
            LIMITS, "max_weight_bytes", "N",
            "deprecated, see --max-flash: the most bytes that all parameters may take",
            _count("max_weight_bytes", "bytes"),
        ),
        _field(
            LIMITS, "max_activation_bytes", "N",
            "deprecated, see --max-ram: the most bytes of values held at once for an image",
            _count("max_activation_bytes", "bytes"),
        ),
        _field(LIMITS, "bits", None, "deprecated: bits of one value, for the two limits above"),
        _field(
            DATA, "dataset", "DATA",
            f"{', '.join(DataSet.NAMES)}, a folder of images with class folders in it, or an .npz "
            "of images and labels (default: mnist where it is at hand or can be downloaded, else "
            "digits)",
            DataSet(),
        ),
        _field(
            DATA, "test", "FILE",
            "for an .npz: another with the images to test on (default: those in it, else one sixth "
            "of it)",
            File(),
        ),
        _field(
            DATA, "data_dir", "DIR",
            "where data sets are kept and downloaded to (default: $NAS_DATA_DIR, else nas/ in the "
            "user's cache folder)",
            Folder(),
        ),
        _field(
            DATA, "image_size", "PIXELS",
            "bring the images of a folder to this width and height",
        ),
        _field(
            DATA, "fit", None,
            "how images of another shape are brought to it: stretch changes their shape, crop "
            "takes their middle, pad puts black beside them (default: that of the study, else "
            "stretch)",
        ),
        _field(
            DATA, "valid_share", "SHARE",
            "share of the training images held out to validate on",
            Checked(parse_share),
        ),
        _field(DATA, "split_seed", "SEED", "seed of the choice of validation images"),
        _field(
            TIME, "trials", "N",
            "trained candidates the study is to hold at the end; proposals over budget do not "
            "count",
        ),
        _field(TIME, "epochs", "N", "the most epochs a candidate trains for"),
        _field(
            TIME, "timeout", "TIME",
            "end the search after this time: seconds, or with a unit as in 90s, 15m, 2h; how many "
            "candidates are trained, and for how long, is planned so that the best one ends its "
            "schedule inside it; several budgets share it (default: none)",
            Checked(parse_seconds),
        ),
        _field(
            TIME, "max_rejected", "N",
            "end the search after this many proposals in a row that do not fit",
        ),
        _field(
            METHOD, "space", "SPACE",
            "search space: a name that `nas spaces` lists, or a file such as my/space.py "
            "(default: the blocks that came with nas)",
            Space(),
        ),
        _field(
            METHOD, "sampler", None,
            "how candidates are proposed; auto is gp where every candidate has the same "
            "parameters, else tpe",
        ),
        _field(
            METHOD, "pruner", None,
            "how weak candidates are stopped early; squeezed: each first has its whole schedule "
            "in 1 epoch, the best of these in 4, the best of those in all; median: within the "
            "long schedule",
        ),
        _field(METHOD, "seed", "SEED", "seed of proposals and trainings"),
        _field(
            METHOD, "warm_start", "STUDY",
            "begin with the values of the ten best trials of another study of the same space",
            Text(),
        ),
        _field(
            HARDWARE, "device", "DEVICE",
            "auto, the fastest there is, cpu, cuda, cuda:1, mps",
            click.STRING,
        ),
        _field(
            HARDWARE, "precision", None,
            "number format of convolutions while training; auto is bf16 where the hardware has it",
        ),
        _field(
            HARDWARE, "engine", None,
            "how steps reach the device: graph replays captured ones (CUDA alone), eager launches "
            "each operation; auto is graph on CUDA, and goes on with eager where a capture fails",
        ),
        _field(
            HARDWARE, "workers", "N",
            "candidates trained at once (default: one for each core on a CPU; on a CUDA GPU what "
            "fits into its free memory, 4 at most)",
        ),
        _field(
            STUDIES, "study", "NAME",
            "name of the study, continued when it exists (default: its space, data and budget)",
            click.STRING,
        ),
        _field(
            STUDIES, "storage", "URL",
            "database with the studies, any URL that Optuna takes (default: $NAS_STORAGE, else "
            "sqlite:///studies.db, a file in the current folder)",
            Text(),
        ),
    )
}  # fmt: skip

STORAGE, DATA_DIR = FIELDS["storage"], FIELDS["data_dir"]
DEVICE = [FIELDS[name] for name in ("device", "precision", "engine", "workers")]
STUDY = Option(
    "--study", group=STUDIES, metavar="NAME",
    help="name of the study (default: the one last searched)",
)  # fmt: skip


def search_options(*, without: tuple[str, ...] = ()) -> list[Option]:
    """The options of a search but for these fields."""
    return [option for name, option in FIELDS.items() if name not in without]


def whole(
    name: str, low: int, high: int, default: int, metavar: str, text: str, group: str = OUTPUT
) -> Option:
    """An option of one verb that takes a whole number."""
    kind = Whole(low, high)
    return Option(f"--{name}", type=kind, default=default, metavar=metavar, help=text, group=group)


def flag(name: str, text: str, group: str = OUTPUT) -> Option:
    """An option of one verb that takes no value."""
    return Option(f"--{name}", is_flag=True, help=text, group=group)


def trial_argument(text: str) -> click.Argument:
    """The trial that a verb is about."""
    return click.Argument(["trial"], type=Trial(), metavar="[TRIAL]", required=False, help=text)


def number_of(trial: int | str | None) -> int | None:
    """The number that `trial_argument` gave; None for the best trial."""
    return trial if isinstance(trial, int) else None
