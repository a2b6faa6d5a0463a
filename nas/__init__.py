"""nas: find the most accurate small neural network that fits a hard parameter budget.

These names are what a search space file needs. They are loaded on first use, so that importing
the package, and with it `nas --help`, does not load torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from nas.architecture import Architecture as Architecture
    from nas.candidate import Candidate as Candidate
    from nas.candidate import Recipe as Recipe
    from nas.fitting import Width as Width
    from nas.fitting import fit as fit
    from nas.layers import AvgPool as AvgPool
    from nas.layers import BatchNorm as BatchNorm
    from nas.layers import Conv as Conv
    from nas.layers import DepthwiseConv as DepthwiseConv
    from nas.layers import Dropout as Dropout
    from nas.layers import Flatten as Flatten
    from nas.layers import GlobalAvgPool as GlobalAvgPool
    from nas.layers import Layer as Layer
    from nas.layers import LearnedPool as LearnedPool
    from nas.layers import Linear as Linear
    from nas.layers import MaxPool as MaxPool
    from nas.layers import ReLU as ReLU
    from nas.layers import Residual as Residual
    from nas.layers import Tied as Tied
    from nas.recipes import GOOD_RECIPE as GOOD_RECIPE
    from nas.recipes import suggest_recipe as suggest_recipe
    from nas.task import Task as Task

    Trial = BaseTrial

_HOME = {
    "Architecture": "nas.architecture",
    "Candidate": "nas.candidate",
    "Recipe": "nas.candidate",
    "Task": "nas.task",
    "Trial": "optuna.trial:BaseTrial",
    "Width": "nas.fitting",
    "fit": "nas.fitting",
    "GOOD_RECIPE": "nas.recipes",
    "suggest_recipe": "nas.recipes",
} | dict.fromkeys(
    ("AvgPool", "BatchNorm", "Conv", "DepthwiseConv", "Dropout", "Flatten", "GlobalAvgPool",
     "Layer", "LearnedPool", "Linear", "MaxPool", "ReLU", "Residual", "Tied"),
    "nas.layers",
)  # fmt: skip

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - a list of strings, built from one table


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)
