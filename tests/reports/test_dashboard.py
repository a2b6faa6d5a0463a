"""optuna-dashboard over our storage, on this machine alone."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request

import pytest

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Flatten, Linear
from nas.candidates.recipe import Recipe
from nas.certification.records import Protocol, record_decision, record_run
from nas.errors import NasError
from nas.reports.annotator import annotate
from nas.reports.dashboard import _guarded, serve
from nas.storage.database import open_storage
from nas.storage.studies import open_or_create_study, study_names
from tests.certification.test_records import make_run
from tests.fakes import add_trial
from tests.storage.test_studies import DATA, FACTS

CANDIDATE = Candidate(Architecture((1, 8, 8), [Flatten(), Linear(4)]), Recipe())


@pytest.fixture
def storage(tmp_path):
    return open_storage(f"sqlite:///{tmp_path}/s.db", create=True)


def address_of(storage, folder):
    """Where the dashboard is served until the tests end."""
    address = []
    ready = threading.Event()

    def on_ready(where):
        address.append(where)
        ready.set()

    arguments = (storage, folder / "artifacts", 0, on_ready)
    threading.Thread(target=serve, args=arguments, daemon=True).start()
    assert ready.wait(30)
    assert address[0].startswith("http://127.0.0.1:")
    return address[0]


@pytest.fixture
def get(storage, tmp_path):
    """What the dashboard answers to a path below its address."""
    address = address_of(storage, tmp_path)

    def fetch(path):
        with urllib.request.urlopen(address + path) as answer:
            return answer.read()

    return fetch


def test_dashboard_serves_the_studies_on_loopback(storage, get):
    study = open_or_create_study(storage, "shown", FACTS, DATA, "text")
    study.tell(study.ask(), 0.9)
    names = [s["study_name"] for s in json.loads(get("api/studies"))["study_summaries"]]
    assert names == ["shown"]
    assert b"<html" in get("").lower()


@pytest.mark.parametrize(("expose", "host"), [(False, "127.0.0.1"), (True, "0.0.0.0")])
def test_dashboard_listens_beyond_this_machine_only_when_told_to(
    storage, tmp_path, monkeypatch, expose, host
):
    bound = []

    def make_server(host, *args, **kwargs):
        bound.append(host)
        raise OSError(98, "taken")

    monkeypatch.setattr("nas.reports.dashboard.make_server", make_server)
    with pytest.raises(NasError, match="cannot be used: taken"):
        serve(storage, tmp_path, 0, print, expose=expose)
    assert bound == [host]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A dashboard of many tests, and its storage."""
    folder = tmp_path_factory.mktemp("site")
    storage = open_storage(f"sqlite:///{folder}/s.db", create=True)
    return address_of(storage, folder), storage


@pytest.mark.parametrize(
    ("headers", "is_let_in"),
    [
        ({}, True),
        ({"Host": "localhost:8080"}, True),
        ({"Host": "127.0.0.1:9000", "Origin": "http://127.0.0.1:9000"}, True),
        ({"Host": "evil.example:8080"}, False),
        ({"Host": "127.0.0.1.evil.example:8080"}, False),
        ({"Host": ""}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8081"}, False),
    ],
)
def test_requests_that_come_from_other_sites_are_refused(site, headers, is_let_in):
    address, storage = site
    study = open_or_create_study(storage, str(headers), FACTS, DATA, "text")
    assert status_of(f"{address}api/studies", headers, "GET") == (200 if is_let_in else 403)
    assert study.study_name in study_names(storage)
    one = f"{address}api/studies/{study._study_id}"
    assert status_of(one, headers, "DELETE") == (204 if is_let_in else 403)
    assert (study.study_name in study_names(storage)) == (not is_let_in)


def status_of(url, headers, method):
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_exposed_dashboard_takes_any_host_but_no_other_origin():
    def app(environ, start_response):
        return [b"shown"]

    guarded = _guarded(app, expose=True)
    said = []
    for origin in ({}, {"HTTP_ORIGIN": "http://box:8080"}, {"HTTP_ORIGIN": "http://evil.example"}):
        environ = {"HTTP_HOST": "box:8080"} | origin
        (body,) = guarded(environ, lambda status, headers: None)
        said.append(body)
    assert said == [b"shown", b"shown", b"asked for by another site"]


def test_dashboard_shows_what_certifications_found(storage, get):
    study = open_or_create_study(storage, "shown", FACTS, DATA, "text")
    for accuracy in (0.8, 0.9):
        add_trial(study, CANDIDATE, accuracy)

    def note():
        annotate(study)
        body = json.loads(get(f"api/studies/{study._study_id}"))["note"]["body"]
        return body.partition("## Certificates\n\n")[2].replace("\N{NO-BREAK SPACE}", "")

    assert note() == ""
    for trial, is_right in ((0, [True, False]), (1, [True, True])):
        record_run(study, make_run(trial=trial, is_right=is_right))
    record_decision(study, [0, 1], num_seeds=1)
    lines = note().splitlines()
    assert lines[0] == "decided on 5,000 validation images, by accuracy and loss: trial 1"
    assert lines[2].startswith("| trial | parameters | accuracy | loss | lead of trial 1")
    assert lines[3].count("---") == 7
    assert lines[4].startswith("| 1 | 260 | 100% (1 seed) | ")
    assert lines[5].startswith("| 0 | 260 | 50% (1 seed) | ")

    record_run(study, make_run(Protocol.WATCHED, trial=0, is_right=[True] * 3 + [False]))
    tables = note()
    assert tables.count("decided on") == 1
    assert "| 0 | 260 | 75% (1 seed) | " in tables.split("watched: ")[1]


def test_dashboard_shows_notes_and_figures_but_no_bulky_attributes(storage, get):
    study = open_or_create_study(storage, "shown", FACTS, DATA, "text")
    study.set_user_attr("space_source", "line\n" * 200)  # as older studies have
    add_trial(study, CANDIDATE, 0.9)
    annotate(study)
    found = json.loads(get(f"api/studies/{study._study_id}"))
    assert found["note"]["body"].startswith("## Summary of this search")
    assert found["trials"][0]["note"]["body"].startswith("## What was trained")
    names = {figure["id"] for figure in found["plotly_graph_objects"]}
    assert names == {"nas-accuracy", "nas-curves", "nas-trials"}
    values = {attr["key"]: attr["value"] for attr in found["user_attrs"]}
    assert not {"data", "space_source"} & values.keys()
    assert values["budget"] == str(FACTS.budget)
    assert max(map(len, values.values())) <= 110


def test_taken_port_is_refused_in_one_line(storage, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(NasError, match=f"port {port} cannot be used"):
            serve(storage, tmp_path, port, print)
