"""The console that everything for people is printed on."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from nas.errors import sanitize, substitute


class PlainConsole(Console):
    """Shows names as they are: neither rich nor the terminal takes them for commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(substitute(sanitize(text), self.encoding), **options)
