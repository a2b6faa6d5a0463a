"""An export is checked in a clean process that has the packages of this one."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nas.exporters import check
from nas.exporters.check import check_export

NETWORK = """
import torch
from {module} import SCALE
NUM_PARAMS = 0

def load():
    return torch.nn.Flatten()

def normalise(images):
    return images.float() * SCALE

def read_safetensors(path):
    from safetensors.torch import load_file
    return load_file(path)
"""


def make(folder, module):
    (folder / "network.py").write_text(NETWORK.format(module=module))
    images = torch.arange(16, dtype=torch.uint8).view(4, 1, 2, 2)
    return images, images.flatten(1).float() * 2


def test_packages_of_this_process_are_found_wherever_they_are(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "scale_of_a_cluster.py").write_text("SCALE = 2")
    images, scores = make(tmp_path, "scale_of_a_cluster")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert check_export(tmp_path, images, scores, num_params=0) == 0


@pytest.mark.parametrize("module", ["nas", "beside_the_caller"])
def test_neither_nas_nor_the_current_folder_is(tmp_path, monkeypatch, module):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "beside_the_caller.py").write_text("SCALE = 2")
    images, scores = make(tmp_path, module)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(check.ExportError, match="does not run by itself: ModuleNotFoundError"):
        check_export(tmp_path, images, scores, num_params=0)


def test_what_an_earlier_file_left_compiled_in_the_folder_is_not_read(tmp_path):
    images, scores = make(tmp_path, "torch.nn import Flatten; SCALE = 3; import torch #")
    path = tmp_path / "network.py"
    py_compile.compile(str(path))
    before = path.stat()
    path.write_text(path.read_text().replace("SCALE = 3", "SCALE = 2"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert check_export(tmp_path, images, scores, num_params=0) == 0


@pytest.mark.slow
def test_torch_that_python_finds_through_pythonpath_is_found_by_the_check(tmp_path):
    images, scores = make(tmp_path, "torch.nn import Flatten; SCALE = 2; import torch #")
    torch.save((images, scores), tmp_path / "sample.pt")
    venv = tmp_path / "bare"
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", str(venv)], check=True)
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from nas.exporters.check import check_export\n"
        "folder = Path(sys.argv[1]); images, scores = torch.load(folder / 'sample.pt')\n"
        "print(check_export(folder, images, scores, 0))"
    )
    site, package = Path(torch.__file__).parents[1], Path(check.__file__).parents[2]
    done = subprocess.run(
        [venv / "bin" / "python", "-c", code, str(tmp_path)],
        env={"PYTHONPATH": f"{package}:{site}", "PATH": ""}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "0.0", done.stderr
