"""Where data sets are: paths as people write them, and the folder they are kept in."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from nas.errors import DataError, option

DATA_DIR_VARIABLE = "NAS_DATA_DIR"


def in_home(path: str | Path) -> Path:
    """The path, with the user's home folder for a `~`.

    No shell expands it in a variable's value, behind a `=` or in Python.
    """
    return Path(os.path.expanduser(path))


def default_data_dir() -> Path:
    """`$NAS_DATA_DIR`, else `nas/` in the user's cache folder.

    Raises:
        DataError: the user has no home, as some containers' have not.
    """
    given = os.environ.get(DATA_DIR_VARIABLE)
    if given:
        return in_home(given)
    try:  # some versions of platformdirs leave the ~ to whoever asks
        return user_cache_path("nas", appauthor=False).expanduser()
    except RuntimeError as error:
        raise DataError(
            "this user has no home folder: say where data sets are kept with "
            f"{option('data_dir')} or {DATA_DIR_VARIABLE}"
        ) from error
