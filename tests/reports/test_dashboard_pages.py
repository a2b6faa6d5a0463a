"""The dashboard's pages in a real browser: nothing wider than the window, no error."""

from __future__ import annotations

import functools
import html
import json
import re
import shutil
import subprocess
import threading
from wsgiref.simple_server import make_server

import optuna_dashboard
import pytest

from nas.reports.annotator import annotate
from nas.reports.dashboard import _Server, _SilentHandler
from nas.storage.database import open_storage
from nas.storage.ranking import best_trials
from nas.storage.shown import ShownStorage
from tests.reports.studies import make_study
from tests.reports.test_report import BROWSERS

# The page stands in a frame of the same site, so that its sizes can be asked for.
FRAME = """<!doctype html><link rel="icon" href="data:,">
<iframe id="frame" style="border:0" width="1300" height="1000" src="{path}"></iframe>
<script>
const frame = document.getElementById("frame");
setTimeout(() => {{
  const page = frame.contentDocument;
  const found = {{
    width: page.documentElement.scrollWidth, text: page.body.innerText,
    plots: page.querySelectorAll('[id^="user-defined-plot"]').length,
  }};
  const text = JSON.stringify(found).replace(/</g, "&lt;");
  document.body.innerHTML = "<pre id=found>" + text + "</pre>";
}}, 30000);
</script>"""

# What the dashboard and the browser say by themselves.
HARMLESS = ("Too many contours", "WebGL", "swiftshader")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of a dashboard with one study, that has bulky attributes as older ones have."""
    storage = open_storage(f"sqlite:///{tmp_path_factory.mktemp('d')}/s.db", create=True)
    study = make_study(30, storage=storage)
    study.set_user_attr("space_source", "x = 1\n" * 1000)
    trial = study.ask({})
    trial.set_user_attr("architecture", {"layers": [{"kind": "conv"}] * 100})
    study.tell(trial, 0.5)
    annotate(study)
    app = optuna_dashboard.wsgi(ShownStorage(storage))

    def framed(environ, start_response):
        if environ["PATH_INFO"] != "/frame":
            return app(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/html")])
        return [FRAME.format(path=environ["QUERY_STRING"]).encode()]

    with make_server(
        "127.0.0.1", 0, framed, server_class=_Server, handler_class=_SilentHandler
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", study
        server.shutdown()


@pytest.fixture(scope="module")
def look(site, tmp_path_factory):
    """What a browser finds on a page of the study."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    profile = tmp_path_factory.mktemp("profile")

    @functools.cache
    def look(page):
        done = subprocess.run(
            [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1100",
             "--enable-logging=stderr", "--virtual-time-budget=45000", "--dump-dom",
             f"--user-data-dir={profile}",
             f"{site[0]}/frame?/dashboard/studies/{site[1]._study_id}{page}"],
            capture_output=True, text=True, timeout=150,
        )  # fmt: skip
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        assert [line for line in said if not any(word in line for word in HARMLESS)] == []
        return json.loads(html.unescape(re.search("<pre id=.found.>(.*?)</pre>", done.stdout)[1]))

    return look


@pytest.mark.slow
@pytest.mark.parametrize("page", ["", "/note", "/trials", "/smartSelection"])
def test_no_page_is_wider_than_the_window(look, page):
    found = look(page)
    assert 0 < found["width"] <= 1300
    assert len(found["text"]) > 100
    assert found["plots"] == (0 if page else 3)


@pytest.mark.slow
def test_notes_stand_on_the_pages(look, site):
    assert "Summary of this search" in look("/note")["text"]
    best = best_trials(site[1], 1)[0].number
    assert "What was trained" in look(f"/trials?numbers={best}")["text"]
