"""The verb `studies`."""

from __future__ import annotations

from nas.cli.command import verb
from nas.cli.options import STORAGE


@verb(
    "list the studies in a storage",
    [STORAGE],
    ["nas studies", "nas studies --storage sqlite:///other.db"],
)
def studies(storage: str | None) -> int:
    from nas.reports.tables import print_studies

    print_studies(storage)
    return 0
