"""Files that reports are written to."""

from __future__ import annotations

import pytest

from nas.errors import NasError
from nas.reports.output import GENERATOR, check_output, write_output


def test_page_of_ours_is_replaced_and_another_file_only_with_force(tmp_path):
    path = tmp_path / "page.html"
    check_output(path, [".html"], force=False)
    path.write_text(f'<!doctype html>{GENERATOR}0.1.0">')
    check_output(path, [".html"], force=False)
    path.write_text("<p>mine")
    with pytest.raises(NasError, match="exists"):
        check_output(path, [".html"], force=False)
    check_output(path, [".html"], force=True)


def test_other_suffixes_and_folders_are_refused(tmp_path):
    with pytest.raises(NasError, match=r"must end in \.png or \.svg"):
        check_output(tmp_path / "x.jpg", [".png", ".svg"], force=True)
    (tmp_path / "x.svg").mkdir()
    with pytest.raises(NasError, match="is a folder"):
        check_output(tmp_path / "x.svg", [".svg"], force=True)


def test_file_is_written_whole_and_nothing_is_left_beside_it(tmp_path):
    write_output(tmp_path / "new" / "x.svg", b"abc")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["x.svg"]
    assert (tmp_path / "new" / "x.svg").read_bytes() == b"abc"


def test_place_that_cannot_be_written_is_told_in_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NasError, match="cannot be written"):
        write_output(tmp_path / "file" / "x.svg", b"")
