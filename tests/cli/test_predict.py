"""`nas predict`: a line a file, what cannot be read named, and an exit code that says so."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from nas.cli.main import main


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, tiny_architecture):
    """A folder with an export, as far as it is read, and images: one of them is no image."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    winner = tmp_path / "winner"
    winner.mkdir()
    spec = {
        "architecture": tiny_architecture.to_json(), "classes": list("abcd"), "mean": [0.3],
        "std": [0.2], "preparation": None,
    }  # fmt: skip
    (winner / "spec.json").write_text(json.dumps(spec))
    save_file(tiny_architecture.build().state_dict(), winner / "weights.safetensors")
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.new("L", (8, 8), 80 * i).save(tmp_path / "images" / f"{i}.png")
    return tmp_path


def test_line_for_each_file_says_class_and_runner_up(capsys):
    assert main(["predict", "winner", "images"]) == 0
    done = capsys.readouterr()
    assert done.err == ""
    assert [line.split(": ")[0] for line in done.out.splitlines()] == [
        "images/0.png", "images/1.png", "images/2.png",
    ]  # fmt: skip
    for line in done.out.splitlines():
        first, second = line.split(": ")[1].split(", then ")
        assert first[0] != second[0]
        assert float(first[2:-1]) >= float(second[2:-1])


def test_unreadable_files_are_named_and_the_exit_code_says_so(here, capsys):
    (here / "images" / "1.png").write_bytes(b"no picture")
    assert main(["predict", "winner", "images"]) == 1
    done = capsys.readouterr()
    assert len(done.out.splitlines()) == 2
    assert done.err == "nas: images/1.png could not be read (no picture)\n"
    assert main(["predict", "winner", "images/1.png", "gone.png"]) == 2
    done = capsys.readouterr()
    assert done.out == ""
    assert done.err.endswith("nas: gone.png could not be read (No such file or directory)\n")


def test_json_is_one_array_with_every_score(here, capsys):
    (here / "images" / "1.png").write_bytes(b"")
    assert main(["predict", "winner", "images", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["file"] for row in rows] == ["images/0.png", "images/2.png", "images/1.png"]
    assert rows[0]["class"] == max(rows[0]["scores"], key=rows[0]["scores"].get)
    assert rows[2]["error"] == "an empty file"


def test_names_cannot_move_the_cursor(here, capsys):
    Image.new("L", (8, 8)).save(here / "\x1b[31m.png")
    assert main(["predict", "winner", "\x1b[31m.png"]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nowhere"], "'nowhere' is no folder: give a folder that `nas export` has made, or a tr"),
        (["winner", "--study", "s"], "'winner' is no trial, as --study and --storage need"),
        (["images"], "images holds no spec.json: give a folder"),
        (["3"], "no studies in studies.db"),
        (["best"], "no studies in studies.db"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(arguments, why, capsys):
    network, *options = arguments
    assert main(["predict", network, "images", *options]) == 2
    done = capsys.readouterr()
    assert done.out == ""
    assert why in done.err
    assert done.err.count("\n") == 1


def test_images_are_required(capsys):
    assert main(["predict", "winner"]) == 2
    assert (
        capsys.readouterr().err
        == "nas predict: IMAGE is required, such as nas predict winner photo.jpg\n"
    )


def test_folder_whose_name_is_a_number_is_that_folder(here, capsys):
    (here / "winner").rename(here / "3")
    assert main(["predict", "3", "images/0.png"]) == 0
    assert capsys.readouterr().out.startswith("images/0.png: ")
