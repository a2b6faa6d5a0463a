"""nas: find the most accurate small neural network that fits a hard parameter budget.

    study = nas.search(budget=20_000, dataset="digits", trials=12, epochs=3)
    study.best.accuracy
    nas.export(study.best, "winner")

These names are the Python API, and what a search space file needs. All but the layers are loaded on
first use, so that importing the package, and with it `nas --help`, does not load torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from nas.candidates.layers import composite as _composite
from nas.candidates.layers import plain as _plain
from nas.candidates.layers.composite import *  # noqa: F403 - each layer is a public name
from nas.candidates.layers.layer import Layer as Layer
from nas.candidates.layers.plain import *  # noqa: F403 - the same

__version__ = "0.1.0"

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from nas.api import certify as certify
    from nas.api import check as check
    from nas.api import dashboard as dashboard
    from nas.api import export as export
    from nas.api import ladder as ladder
    from nas.api import plot as plot
    from nas.api import predict as predict
    from nas.api import report as report
    from nas.api import search as search
    from nas.api import verify as verify
    from nas.candidates.architecture import Architecture as Architecture
    from nas.candidates.candidate import Candidate as Candidate
    from nas.candidates.recipe import Recipe as Recipe
    from nas.errors import NasError as NasError
    from nas.reports.results import list_studies as list_studies
    from nas.reports.results import load_study as load_study
    from nas.reports.tensorboard import TensorBoard as TensorBoard
    from nas.searching.config import SearchConfig as SearchConfig
    from nas.spaces.fit import Width as Width
    from nas.spaces.fit import fit as fit
    from nas.spaces.places import list_spaces as list_spaces
    from nas.spaces.recipes import GOOD_RECIPE as GOOD_RECIPE
    from nas.spaces.recipes import suggest_recipe as suggest_recipe
    from nas.spaces.task import Task as Task

    Trial = BaseTrial

_HOME = {
    "NasError": "nas.errors",
    "SearchConfig": "nas.searching.config",
    "Architecture": "nas.candidates.architecture",
    "Candidate": "nas.candidates.candidate",
    "Recipe": "nas.candidates.recipe",
    "Task": "nas.spaces.task",
    "Trial": "optuna.trial:BaseTrial",
    "Width": "nas.spaces.fit",
    "fit": "nas.spaces.fit",
    "GOOD_RECIPE": "nas.spaces.recipes",
    "suggest_recipe": "nas.spaces.recipes",
    "list_spaces": "nas.spaces.places",
    "TensorBoard": "nas.reports.tensorboard",
    "list_studies": "nas.reports.results",
    "load_study": "nas.reports.results",
} | dict.fromkeys(
    ("certify", "check", "dashboard", "export", "ladder", "plot", "predict", "report", "search",
     "verify"),
    "nas.api",
)  # fmt: skip

__all__ = ["Layer", "__version__", *_HOME]  # noqa: PLE0604 - strings, built from one table
__all__ += _plain.__all__
__all__ += _composite.__all__


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted(__all__)
