"""A wheel holds all that a search needs: installed alone, it runs outside the clone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*words, cwd, **environment):
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False,
        env={name: v for name, v in os.environ.items() if name != "PYTHONPATH"} | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel_searches_and_exports_outside_the_clone(tmp_path):
    pytest.importorskip("hatchling", reason="it builds the wheel")
    outside = tmp_path / "outside"
    outside.mkdir()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path,
        ROOT, cwd=outside)  # fmt: skip
    (wheel,) = tmp_path.glob("budget_nas-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=outside)
    binaries = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python, nas = binaries / "python", binaries / "nas"
    # What the wheel depends on is that of this environment, which spares five gigabytes.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=outside)
    others = [path for path in sys.path if path and not Path(path, "nas", "__init__.py").exists()]
    Path(site.strip(), "others.pth").write_text("\n".join(others))
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=outside)

    where = run(python, "-c", "import nas; print(nas.__file__)", cwd=outside)
    assert Path(where.strip()).is_relative_to(tmp_path)
    tiny = ("--dataset", "digits", "--trials", "1", "--epochs", "1", "--workers", "1")
    # `tied` is one of the spaces that the wheel has to bring along.
    found = run(nas, "search", "--budget", "2k", "--space", "tied", *tiny, cwd=outside)
    assert "validation accuracy" in found
    run(nas, "export", "--out", "winner", cwd=outside)
    assert (outside / "winner" / "network.py").is_file()
