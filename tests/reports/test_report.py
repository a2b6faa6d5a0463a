"""The page of a study: what it says, and how it looks in a browser."""

from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest
import torch

import nas
from nas.errors import NasError, StudyError
from nas.reports.confusion import Predictions
from nas.reports.report import PLOTS, report_page
from nas.reports.results import StudyResult
from nas.storage.ranking import best_trial
from tests.reports.studies import CLASSES, make_study
from tests.reports.test_comparison import certify
from tests.storage.test_studies import DATA, FACTS

MOST_BYTES = 2_000_000


def predict(study, number):
    images = torch.arange(40 * 64).remainder(256).to(torch.uint8).reshape(40, 1, 8, 8)
    labels = torch.arange(40).remainder(10)
    return Predictions(CLASSES, images, labels, labels.roll(3), torch.full((40,), 0.7))


def not_at_hand(study, number):
    raise StudyError("no weights in /secret/place")


def page_of(*studies, predict=predict):
    return report_page([StudyResult(study) for study in studies], predict)


class Checker(HTMLParser):
    """Collects what a page would load, and elements that are not closed."""

    VOID = ("meta", "link", "img", "br", "rect", "path")

    def __init__(self):
        super().__init__()
        self.links, self.opened, self.images = [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.links += [values[name] for name in ("href", "src") if name in values]
        if tag in ("img", "svg"):
            self.images.append(values.get("alt") or values.get("aria-label"))
        if tag not in self.VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.opened.pop() == tag


def checked(text):
    checker = Checker()
    checker.feed(text)
    assert checker.opened == []
    return checker


@pytest.fixture(scope="module")
def study():
    return make_study(40)


def test_page_begins_with_the_answer(study):
    best = best_trial(study)
    text = page_of(study)
    answer = text.index(f"{best.num_params:,} parameters")
    assert answer < text.index("<svg")
    assert f"{best.valid_accuracy:.2%}" in text
    assert "not certified" in text
    assert f"{4 * best.num_params:,} bytes" in text
    assert "nas export --study s --out winner" in text
    assert "nas certify --study s" in text
    assert "nas search --budget 20000 --dataset mnist" in text
    assert re.search(r"as int8 C.*[\d,]+ bytes.*of flash, [\d,]+ of RAM", text)


def test_page_needs_nothing_else_and_describes_each_picture(study):
    found = checked(page_of(study))
    assert all(link.startswith("data:") for link in found.links)
    assert len(found.images) > 10
    assert all(len(text) > 20 for text in found.images)


def test_page_does_not_say_where_it_was_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("socket.gethostname", "platform.node", "getpass.getuser"):
        monkeypatch.setattr(name, lambda: "secret")
    data = replace(DATA, classes=CLASSES, source=str(tmp_path / "photos"))
    url = "sqlite:////home/somebody/secret.db?password=hunter2"
    study = StudyResult(make_study(25, facts=replace(FACTS, dataset="photos"), data=data), url)
    text = report_page([study], not_at_hand)
    for private in (str(tmp_path), str(Path.home()) + "/", "hunter2", "secret", "/home"):
        assert private not in text
    assert "--dataset ./photos" in text
    assert "Not drawn: this needs the weights" in text


def test_texts_of_strangers_are_shown_and_not_run():
    name = '<img src=x onerror="alert(1)">\x1b[2J'
    text = page_of(make_study(3, name))
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    assert "\x1b" not in text
    checked(text)


def test_certified_winner_has_its_interval_and_the_command_names_it():
    study = make_study(6)
    other = next(n for n in range(6) if n != best_trial(study).number)
    certify(study, 10, trial=other)
    text = page_of(study)
    assert "99.00 ±" in text
    assert "3 seeds" in text
    assert f"nas export {other} --study s" in text
    assert "chosen by nas certify" in text


def test_empty_study_says_what_there_is_not():
    text = page_of(make_study(0))
    assert "no trained network yet" in text
    assert "nas export" not in text
    assert "nas certify" not in text
    assert text.count("Not drawn") >= 3


def test_study_in_work_says_so():
    study = make_study(5)
    study.ask()
    assert "In work, or lost with its process: 1 trial." in page_of(study)


def test_few_validation_images_are_warned_of():
    study = make_study(5, data=replace(DATA, classes=CLASSES, num_valid=21))
    assert "only 21 validation images: each is worth 4.8%" in page_of(study)


def test_studies_side_by_side_are_compared():
    storage = optuna.storages.InMemoryStorage()
    first = make_study(5, "first", storage)
    second = make_study(5, "second", storage, replace(FACTS, budget=5_000))
    text = page_of(first, second)
    assert "2 studies side by side" in text
    assert "Is the difference real?" in text
    assert '<td data-name="what">budget</td>' in text
    checked(text)


@pytest.mark.slow
def test_page_of_a_large_study_is_small():
    assert len(page_of(make_study(1000)).encode()) < MOST_BYTES


@pytest.mark.parametrize("kind", PLOTS)
def test_each_kind_of_picture_is_of_the_study(kind, study):
    picture = PLOTS[kind](StudyResult(study), predict)
    assert picture.title
    assert picture.description


@pytest.mark.slow
def test_report_and_plots_of_a_real_search_show_its_mistakes(tmp_path, monkeypatch, trained_here):
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/s.db"
    study = nas.search(
        budget=2_000, dataset="digits", trials=1, epochs=1, workers=1, storage=url,
        callback=lambda event: None,
    )  # fmt: skip
    notes = []
    path = nas.report(study, callback=notes.append)
    text = path.read_text()
    assert (path, notes) == (Path("report.html"), [])
    wrong = round((1 - study.best.accuracy) * 124)
    assert f"{wrong} errors in 124 validation images" in text
    assert text.count("data:image/png;base64") == min(wrong, 60)
    for kind, name in (("confusion", "c.png"), ("network", "n.svg")):
        assert nas.plot(study, kind, name).stat().st_size > 1000
    assert nas.plot(study) == Path("blocks-digits-2000-frontier.svg")
    with pytest.raises(NasError, match="did you mean curves"):
        nas.plot(study, "curve")
    nas.report(study, callback=notes.append)  # its own page is replaced
    (tmp_path / "s-artifacts").rename(tmp_path / "elsewhere")
    nas.report(study, callback=notes.append)
    assert "no confusion matrix" in notes[0]


# In a browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

# For each frame: what is wider than the window, and texts of pictures that lie over each other.
LOOK = """
const found = [];
for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument, width = frame.clientWidth;
  const wide = [...page.querySelectorAll("body *")]
    .filter(e => e.getBoundingClientRect().right > width + 1)
    .filter(e => !e.closest("thead") || width > 700)  // hidden on phones
    .map(e => e.outerHTML.slice(0, 120));
  if (page.documentElement.scrollWidth > width) wide.push("the page scrolls sideways");
  const over = [];
  for (const svg of page.querySelectorAll("svg")) {
    const boxes = [...svg.querySelectorAll("text")]
      .map(t => [t.textContent, t.getBoundingClientRect()]).filter(([, box]) => box.width);
    const apart = (p, q) => p.left + 1 >= q.right || p.top + 3 >= q.bottom;
    boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
      if (!apart(p, q) && !apart(q, p)) over.push(a + " / " + b);
    }));
  }
  found.push({width, wide, over, height: page.documentElement.scrollHeight});
}
document.body.innerHTML = "<pre id=found>" + JSON.stringify(found).replace(/</g, "&lt;") + "</pre>";
"""


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    return [found, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 3, 40, 300])
def test_page_fits_screens_and_phones_and_nothing_lies_over_another(count, browser, tmp_path):
    storage = optuna.storages.InMemoryStorage()
    study = make_study(count, storage=storage)
    if count == 3:
        certify(study, 10)
        others = [make_study(9, "other", storage), make_study(0, "a-long-name-of-a-study", storage)]
        text = page_of(study, *others)
    else:
        text = page_of(study)
    frames = "".join(
        f'<iframe style="border:0" width="{width}" height="900" srcdoc="{html.escape(text)}">'
        "</iframe>"
        for width in (1200, 800, 360)
    )
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(
        f'<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body>{frames}'
        f"<script>onload = () => {{{LOOK}}}</script>",
        encoding="utf-8",
    )
    done = subprocess.run(
        [*browser, "--dump-dom", f"--user-data-dir={tmp_path}/profile", wrapper.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    found = json.loads(html.unescape(re.search("<pre id=.found.>(.*?)</pre>", done.stdout)[1]))
    assert [frame["width"] for frame in found] == [1200, 800, 360]
    assert all(frame["height"] > 400 for frame in found)
    assert [(frame["wide"], frame["over"]) for frame in found] == 3 * [([], [])]


def test_page_says_in_which_folder_the_search_can_be_repeated_and_how_to_get_the_space():
    study = make_study(3)
    source = "import nas\n\ndef suggest(trial, task): ...\n"
    digest = hashlib.sha256(source.encode()).hexdigest()
    study.set_user_attr("space", "own")
    study.set_user_attr("space_sha256", digest)
    text = page_of(study)
    assert "In a folder that holds own.py." in text
    assert "writes own.py as it was searched." in text
