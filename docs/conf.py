"""The pages as a site: `sphinx-build -W -c docs . docs/_build`.

Sphinx with MyST: the pages stay plain Markdown that reads as well on GitHub, and the build itself
checks every link between them. The sources are those of the whole repository, so that links to
figures and rules outside `docs/` lead to pages, too.
"""

import re
from pathlib import Path

project = "nas"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "nas"
root_doc = "docs/index"
OTHERS = {
    "Champions": "champions/README",
    "Figures": "benchmarks/README",
    "Diary": "benchmarks/DIARY",
    "Contributing": "CONTRIBUTING",
    "Changes": "CHANGELOG",
}
CHAMPIONS = Path(__file__).parents[1] / "champions"
CARDS = sorted(f"champions/{path.parent.name}/README" for path in CHAMPIONS.glob("*/spec.json"))
include_patterns = ["docs/*.md", *(f"{page}.md" for page in (*OTHERS.values(), *CARDS))]
exclude_patterns = ["docs/_build"]
myst_heading_anchors = 3


def _list_pages(app, docname, source):
    """Give Sphinx the order of the pages: that of the links at the end of the first one."""
    if docname == root_doc:
        pages = dict.fromkeys(re.findall(r"^- \[.*\]\(([\w-]+)\.md\)", source[0], re.M))
        others = [f"{title} </{page}>" for title, page in OTHERS.items()]
        cards = [f"/{card}" for card in CARDS]
        listed = "\n".join(["Ten minutes <self>", *pages, *others, *cards])
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"


def setup(app):
    app.connect("source-read", _list_pages)
