"""Page: one HTML file that needs nothing else: no network, no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from nas import __version__
from nas.errors import NasError, sanitize
from nas.reports.output import GENERATOR
from nas.reports.picture import INKS, Picture
from nas.reports.plots import NARROW, WIDE


@dataclass
class HtmlPage:
    """What is put on a page, from top to bottom. Every text is escaped here."""

    title: str
    parts: list[str] = field(default_factory=list)

    def heading(self, text: str, level: int = 2, style: str = "") -> None:
        kind = f' class="{style}"' if style else ""
        self.parts.append(f"<h{level}{kind}>{_text(text)}</h{level}>")

    def paragraph(self, text: str, style: str = "") -> None:
        kind = f' class="{style}"' if style else ""
        self.parts.append(f"<p{kind}>{_text(text)}</p>")

    def command(self, *lines: str) -> None:
        """A command to paste."""
        self.parts.append(f"<pre><code>{_text(chr(10).join(lines))}</code></pre>")

    def facts(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Names with their values, large, and a remark on each."""
        cards = "".join(
            f"<div><dt>{_text(name)}</dt><dd>{_text(value)}"
            + (f"<small>{_text(remark)}</small>" if remark else "")
            + "</dd></div>"
            for name, value, remark in rows
        )
        self.parts.append(f"<dl>{cards}</dl>")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; a column whose name starts with '>' holds numbers."""
        kinds = [' class="number"' if name.startswith(">") else "" for name in columns]
        names = [name.removeprefix(">") for name in columns]
        head = "".join(f"<th{k}>{_text(n)}</th>" for k, n in zip(kinds, names, strict=True))
        body = "".join(
            "<tr>"
            + "".join(
                f'<td{kind} data-name="{_text(name)}">{_text(cell)}</td>'
                for kind, name, cell in zip(kinds, names, row, strict=True)
            )
            + "</tr>"
            for row in rows
        )
        self.parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def figure(self, heading: str, draw: Callable[[float], Picture]) -> None:
        """A picture, drawn for a screen and for a phone; where there is none, the reason."""
        self.heading(heading)
        try:
            wide, narrow = draw(WIDE), draw(NARROW)
        except NasError as error:
            self.paragraph(f"Not drawn: {error}", "note")
            return
        self.parts.append(
            f'<figure><div class="wide">{wide.svg(True)}</div>'
            f'<div class="narrow">{narrow.svg(True)}</div>'
            f"<figcaption>{_text(wide.caption)}</figcaption></figure>"
        )

    def gallery(self, images: Sequence[tuple[str, str, str]]) -> None:
        """Small images: the URL of each, what it shows, and a line beneath it."""
        tiles = "".join(
            f'<figure><img src="{escape(url)}" alt="{_text(alt)}"><figcaption>{_text(line)}'
            "</figcaption></figure>"
            for url, alt, line in images
        )
        self.parts.append(f'<div class="gallery">{tiles}</div>')

    def html(self) -> str:
        style = files("nas.reports").joinpath("page.css").read_text(encoding="utf-8")
        return "\n".join([
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<link rel="icon" href="data:,">',
            f'{GENERATOR}{__version__}">',
            f"<title>{_text(self.title)}</title>",
            f"<style>\n{_colours()}{style}</style>\n</head>\n<body>\n<main>",
            *self.parts,
            f'<p class="foot">Made by nas {__version__}.</p>\n</main>\n</body>\n</html>\n',
        ])  # fmt: skip


def _text(text: str) -> str:
    """Safe in a page, also what a stranger has put into a database."""
    return escape(sanitize(text))


def _colours() -> str:
    """The inks as variables, which follow the reader's light or dark; paper is always light."""
    light, dark = (
        "".join(f"--{name}:{ink[place]};" for name, ink in INKS.items()) for place in (0, 1)
    )
    classes = "".join(
        f".fill-{name}{{fill:var(--{name})}}.line-{name}{{stroke:var(--{name})}}" for name in INKS
    )
    return (
        f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f"@media print{{:root{{{light}}}}}\n{classes}.halo{{stroke:var(--paper)}}\n"
    )
