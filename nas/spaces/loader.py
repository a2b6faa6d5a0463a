"""Search spaces: one Python file each, with a docstring and `suggest(trial, task) -> Candidate`.

A space may also say where to begin: `start(task)` gives the parameter values of the first proposal,
by the names that `suggest` asks for, or a list of several; what it leaves out is sampled.

Loading runs the file, which `nas.spaces.places` has found.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import re
import sys
import textwrap
import tokenize
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Any, TypeAlias

from nas.candidates.candidate import Candidate
from nas.candidates.numbers import unboxed
from nas.errors import InvalidCandidateError, SpaceError, one_line, option
from nas.spaces.places import default_paths, find, shipped_default
from nas.spaces.task import Task

Suggest: TypeAlias = "Callable[[Any, Task], Candidate]"

_warned: set[str] = set()  # what has been said of spaces in this process

# Files of code that had none: Python 3.13 gives all of one name the text of the command line.
NAMELESS = ("<string>", "<stdin>")

LARGE = 48  # pixels a side
# How the SHA-256 of a shipped space begins, and that of its text before it asked more of large
# images: of smaller ones both propose the same, so studies of either go on.
_BEFORE = {
    "26f1cb8226a9866a": "31084b3d9f9b8a95",  # blocks
    "96c1050070349ad3": "e8ae3861dd247f22",  # residual
    "1d01050ef57afb9b": "29f29b164523b0aa",  # separable
}


@dataclass(frozen=True)
class SearchSpace:
    """A loaded search space."""

    name: str
    path: Path
    source: str
    suggest: Callable[[Any, Task], Candidate]
    start: Callable[[Task], dict[str, Any] | list[dict[str, Any]]] | None = None

    @property
    def sha256(self) -> str:
        return _sha256(self.source)

    def earlier_sha256(self, input_shape: tuple[int, int, int]) -> str | None:
        """How the SHA-256 of an earlier text begins that proposes the same for images (C, H, W)."""
        return _earlier(self.sha256, input_shape)

    def propose(self, trial: Any, task: Task) -> Candidate:
        """The candidate that the space makes of `trial`, its epochs cut to those of the task.

        Raises:
            InvalidCandidateError: the space proposed a network or a recipe that cannot exist.
            SpaceError: `suggest` raised anything else, or returned no candidate for this task.
        """
        from nas.candidates.candidate import Candidate
        from nas.candidates.layers import LAYERS

        try:
            with _aside(self.path):
                candidate = self.suggest(trial, task)
        except InvalidCandidateError:
            raise
        except (Exception, SystemExit) as error:
            if type(error).__module__.startswith("optuna."):  # the storage's, not the space's
                raise
            raise self._error(f"suggest raised {one_line(error)}", error) from error
        if not isinstance(candidate, Candidate):
            given = type(candidate).__name__
            raise self._error(f"suggest must return a nas.Candidate, returned {given}")
        architecture = candidate.architecture
        parts = [part for layer in architecture.layers for part in layer.parts]
        for layer in (*architecture.layers, *parts):
            if type(layer) not in LAYERS.values():
                raise self._error(
                    f"suggest used a layer of its own, {type(layer).__name__}: "
                    f"the layers are {', '.join(LAYERS)}"
                )
        if architecture.input_shape != task.input_shape:
            raise self._error(
                f"suggest made a network for {architecture.input_shape} images, "
                f"the task has {task.input_shape}: use task.input_shape"
            )
        if architecture.num_classes != task.num_classes:
            raise self._error(
                f"suggest made a network with {architecture.num_classes} outputs, "
                f"the task has {task.num_classes} classes: use task.num_classes"
            )
        epochs = min(candidate.recipe.epochs, task.epochs)
        return replace(candidate, recipe=replace(candidate.recipe, epochs=epochs))

    def first_proposals(self, task: Task) -> list[dict[str, Any]]:
        """The parameter values to propose first; empty when the space does not say.

        Raises:
            SpaceError: `start` raised an error, or returned no dictionaries.
        """
        if self.start is None:
            return []
        try:
            with _aside(self.path):
                given = self.start(task)
        except (Exception, SystemExit) as error:
            raise self._error(f"start raised {one_line(error)}", error) from error
        proposals = given if isinstance(given, list) else [given]
        if not all(_is_params(params) for params in proposals):
            message = f"start must return a dict of parameter values, returned {given!r}"
            raise self._error(message, function=self.start)
        return [{name: unboxed(value) for name, value in params.items()} for params in proposals]

    def _error(
        self,
        message: str,
        error: BaseException | None = None,
        function: Callable[..., Any] | None = None,
    ) -> SpaceError:
        """The message behind the place it is about: where `error` was raised, or a function."""
        line = _line_in(self.path, error) if error else None
        code = getattr(function or self.suggest, "__code__", None)
        return SpaceError(f"{self.path}:{line or (code and code.co_firstlineno) or 1}: {message}")


def load_space(name_or_path: str | Suggest | None = None) -> SearchSpace:
    """Load and run the file of a space, or make one of a function.

    Args:
        name_or_path: the name of a space, or a path to a file (anything with a slash or `.py`), or
            a function `suggest(trial, task)`; None for the `DEFAULT` that ships with the package,
            whatever the current folder holds.

    Raises:
        SpaceError: no such space, or its file cannot be run, or it has no `suggest`.
    """
    if callable(name_or_path):
        return _space_of(name_or_path)
    path = shipped_default() if name_or_path is None else find(name_or_path)
    source = read_source(path)
    module_name = f"nas_search_space_{path.stem}"
    spec = importlib.util.spec_from_loader(module_name, loader=None, origin=str(path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    sys.modules[module_name] = module  # dataclasses in the file look their module up here
    try:
        code = compile(source, str(path), "exec")
    except SyntaxError as error:
        raise SpaceError(f"{path}:{error.lineno or 1}: {error.msg}") from error
    except ValueError as error:  # a null byte, in some versions of Python
        raise SpaceError(f"{path}:1: {error}") from error
    try:
        with _aside(path):
            exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        line = _line_in(path, error) or 1
        raise SpaceError(f"{path}:{line}: {one_line(error)}") from error
    suggest = getattr(module, "suggest", None)
    if not callable(suggest):
        raise SpaceError(f"{path}:1: no function suggest(trial, task) in this file")
    start = getattr(module, "start", None)
    return SearchSpace(path.stem, path, source, suggest, start if callable(start) else None)


def read_source(path: Path) -> str:
    """The text of a space file, as Python reads source: a BOM, a line of its coding.

    Raises:
        SpaceError: it cannot be read.
    """
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        raise SpaceError(f"{option('space')} {path} cannot be read: {one_line(error)}") from error


def proposes_as(path: Path, sha256: str, input_shape: tuple[int, int, int]) -> bool:
    """Whether a space file proposes for images (C, H, W) what the text of that SHA-256 did.

    Raises:
        SpaceError: it cannot be read.
    """
    now = _sha256(read_source(path))
    return sha256 == now or sha256.startswith(_earlier(now, input_shape) or "none")


def _sha256(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


def _earlier(sha256: str, input_shape: tuple[int, int, int]) -> str | None:
    return _BEFORE.get(sha256[:16]) if min(input_shape[1:]) < LARGE else None


def _space_of(function: Suggest) -> SearchSpace:
    """A space of one function, which has no start. Its text says whether it has changed."""
    name = getattr(function, "__name__", type(function).__name__)
    code = getattr(function, "__code__", None)
    source = None
    if not (code and code.co_filename in NAMELESS):
        with contextlib.suppress(OSError, TypeError):  # no longer there, or no plain function
            source = textwrap.dedent(inspect.getsource(function))
    if source is None:
        digest = hashlib.sha256((_code_text(code) if code else name).encode()).hexdigest()
        source = f"# {name}: its text is not at hand, its code has the hash {digest}\n"
    path = Path(code.co_filename if code else name)
    return SearchSpace(re.sub(r"\W+", "", name) or "function", path, source, function)


def _code_text(code: CodeType) -> str:
    """What a function does, the same in every process."""
    constants = (_code_text(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts)
    return f"{code.co_code.hex()} {code.co_names} {' '.join(constants)}"


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[None]:
    """Standard error gets what a space prints, as standard output may be JSON for a program, and
    each warning once: a space is asked for hundreds of candidates."""
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                text = (
                    f"{path}: {warning.category.__name__}: {' '.join(str(warning.message).split())}"
                )
                if text not in _warned:
                    _warned.add(text)
                    print(text, file=sys.stderr)


def passed_over(space: SearchSpace) -> Path | None:
    """A file of the current folder that `--space NAME` takes in place of the default space, where
    it says something else."""
    here = default_paths()[0]
    is_same = here.is_file() and here.read_bytes() == space.path.read_bytes()
    return here if here.is_file() and not is_same else None


def _is_params(params: object) -> bool:
    return isinstance(params, dict) and all(isinstance(name, str) for name in params)


def _line_in(path: Path, error: BaseException) -> int | None:
    """The last line of `path` that the error passed through."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    return lines[-1] if lines else None
