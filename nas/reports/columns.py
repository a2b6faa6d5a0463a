"""Columns: a table that shows what the terminal has room for, says what it has not, and never folds
or cuts a name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.text import Text

from nas.errors import sanitize, substitute

_GAP = 2


@dataclass
class Columns:
    """A table without a frame.

    Args:
        names: of the columns; those of numbers begin with '>', and are aligned to the right.
        least: what is left out first where there is no room, in that order: the name of a column,
            or in brackets, as in `(accuracy)`, what its cells have in brackets behind the first
            word.
    """

    names: Sequence[str]
    least: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)

    def add_row(self, *cells: str) -> None:
        self.rows.append([sanitize(cell) for cell in cells])

    def fitting(self, width: int) -> tuple[list[str], list[list[str]]]:
        """Names and rows, as far as a line of that width has room for them."""
        names, rows = list(self.names), [list(row) for row in self.rows]
        for what in self.least:
            if sum(_widths(names, rows)) + _GAP * (len(names) - 1) <= width:
                break
            plain = [name.removeprefix(">") for name in names]
            bare = what.removeprefix("(").removesuffix(")")
            place = next((i for i, name in enumerate(plain) if name.startswith(bare)), None)
            if place is None or len(names) == 1:
                continue
            for row in rows:
                if bare != what:
                    row[place] = row[place].partition(" (")[0]
                else:
                    del row[place]
            if bare == what:
                del names[place]
        return names, rows

    def lines(self, width: int) -> list[str]:
        """The heading, then a line for each row."""
        names, rows = self.fitting(width)
        widths = _widths(names, rows)
        lines = []
        for cells in ([name.removeprefix(">") for name in names], *rows):
            line = ""
            for name, cell, column in zip(names, cells, widths, strict=True):
                blank = " " * (column - cell_len(cell))
                line += (blank + cell if name.startswith(">") else cell + blank) + " " * _GAP
            lines.append(line.rstrip())
        return lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        shown = Columns(self.names, self.least)  # with characters that may be wider
        for row in self.rows:
            shown.add_row(*(substitute(cell, options.encoding) for cell in row))
        for number, line in enumerate(shown.lines(options.max_width)):
            style = "" if number else "bold"
            yield Text(line, style, no_wrap=True, overflow="ignore")
        shown_names = shown.fitting(options.max_width)[0]
        left_out = [name.removeprefix(">") for name in self.names if name not in shown_names]
        if left_out:
            yield Text(f"(no room for {', '.join(left_out)})", "dim")


def _widths(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    columns = [[name.removeprefix(">"), *cells] for name, *cells in zip(names, *rows, strict=True)]
    return [max(map(cell_len, column)) for column in columns]
