"""optuna-dashboard over our storage, on this machine alone."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request

import pytest

from nas.dashboard import serve
from nas.errors import NasError
from nas.storage import open_storage
from nas.studies import open_or_create_study
from tests.test_studies import DATA, FACTS


def test_dashboard_serves_the_studies_on_loopback(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    study = open_or_create_study(storage, "shown", FACTS, DATA, "text")
    study.tell(study.ask(), 0.9)
    address = []
    ready = threading.Event()

    def on_ready(where):
        address.append(where)
        ready.set()

    arguments = (storage, tmp_path / "artifacts", 0, on_ready)
    threading.Thread(target=serve, args=arguments, daemon=True).start()
    assert ready.wait(30)
    assert address[0].startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address[0] + "api/studies") as answer:
        names = [s["study_name"] for s in json.load(answer)["study_summaries"]]
    assert names == ["shown"]
    with urllib.request.urlopen(address[0]) as answer:
        assert b"<html" in answer.read().lower()


def test_taken_port_is_refused_in_one_line(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(NasError, match=f"--port {port} cannot be used"):
            serve(storage, tmp_path, port, print)
