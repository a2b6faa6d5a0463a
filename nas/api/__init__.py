"""The Python API, which the command line calls as well.

    study = nas.search(budget=20_000, dataset="digits", trials=12, epochs=3)
    study.best.accuracy, study.leaderboard()
    nas.certify(study, top=3, seeds=5)
    nas.export(study.best, "winner")

Keywords have the names of the options of `nas search`. Errors are `nas.NasError`, one line each.
"""

from nas.api.certificates import certify
from nas.api.exports import export, predict, verify
from nas.api.pages import dashboard, plot, report
from nas.api.searches import check, ladder, search
from nas.reports.results import list_studies, load_study
from nas.spaces.places import list_spaces

__all__ = [
    "certify", "check", "dashboard", "export", "ladder", "list_spaces", "list_studies",
    "load_study", "plot", "predict", "report", "search", "verify",
]  # fmt: skip
