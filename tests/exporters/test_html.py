"""The page: the bytes of the simulation in node, Pillow's pixels, and a look in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from nas.data.picture import Picture
from nas.data.preparation import FITS, Preparation
from nas.errors import ExportError
from nas.exporters import html, html_source
from nas.exporters.contract import Expected
from tests.exporters.networks import NETWORKS, images, integers

NODE = pytest.mark.skipif(shutil.which("node") is None, reason="no node")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def write(folder, layers, shape=(1, 9, 9), classes=None, num=20):
    """The page of a network; what it must compute."""
    network, _, _ = integers(layers, shape)
    x = images(num, shape, seed=1)
    scores = network.run(x.numpy())
    names = classes or [str(n) for n in range(scores.shape[1])]
    script = html_source.network_script(network, "T", ["o"], names)
    preparation = Preparation.for_network(shape, None)
    text = html_source.page(script, "n", "s", preparation, [0.1] * shape[0])
    (folder / "index.html").write_text(text, encoding="utf-8")
    return Expected(x, torch.from_numpy(scores), 1)


QUICK = ("residual", "separable", "tied", "average", "strides")


def cases():
    """Every network on grey and on coloured images; those of the search spaces come first."""
    for name in NETWORKS:
        for shape in [(1, 9, 9), (3, 9, 10)]:
            if name == "features" and shape[0] > 1:
                continue  # its residual is for 9 features
            is_quick = shape[0] == 1 and name in QUICK
            marks = () if is_quick else (pytest.mark.slow,)
            yield pytest.param(name, shape, marks=marks, id=f"{name}-{shape[0]}")


@NODE
@pytest.mark.parametrize(("name", "shape"), list(cases()))
def test_every_byte_is_that_of_the_simulation(name, shape, tmp_path):
    expected = write(tmp_path, NETWORKS[name], shape)
    (line,) = html.check(tmp_path, expected).lines
    assert f"0 of {expected.scores.numel()} bytes of the scores of 20 images differ" in line


@NODE
@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (r"weights4: \[[^\n]*\n *-?\d+", "weights4: [ 99", "bytes that the page computes are not"),
        (r"sum \+= values", "sum -= values", "bytes that the page computes are not"),
        ("const MAPS", "const OTHER", "script does not run: .*MAPS is not defined"),
        ('<script id="network">', "<script>", "script does not run: "),
    ],
)
def test_changed_page_is_refused_in_one_line(tmp_path, old, new, why):
    expected = write(tmp_path, NETWORKS["blocks"], num=4)
    text = (tmp_path / "index.html").read_text()
    changed, num = re.subn(old, new, text)
    assert num
    (tmp_path / "index.html").write_text(changed)
    with pytest.raises(ExportError, match=why) as refused:
        html.check(tmp_path, expected)
    assert "\n" not in str(refused.value)


@NODE
def test_names_of_classes_end_no_script(tmp_path):
    names = ["</script><script>alert(1)</script>", '"', "\\\u2028 größe 😀"]
    expected = write(tmp_path, NETWORKS["blocks"], classes=names, num=2)
    text = (tmp_path / "index.html").read_text()
    assert text.count("<script") == text.count("</script>") == 2
    html.check(tmp_path, expected)
    (literal,) = re.findall(r"^const CLASSES = (.*);$", text, re.MULTILINE)
    assert json.loads(literal) == names


def test_page_loads_nothing_and_its_lines_are_short(tmp_path):
    write(tmp_path, NETWORKS["tied"])
    text = (tmp_path / "index.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|@import|<link rel=\"stylesheet|<script src", text)
    script = text.split('<script id="network">')[1].split("</script>")[0]
    assert max(map(len, script.splitlines())) <= 104
    assert text.count("weights2: [") == 1  # of a convolution that is used three times


def test_without_node_it_is_said_that_nothing_was_run(tmp_path, monkeypatch):
    expected = write(tmp_path, NETWORKS["blocks"])
    monkeypatch.setenv("PATH", str(tmp_path))
    proof = html.check(tmp_path, expected)
    assert (proof.lines, proof.was_run) == (("html: not run: no node was found",), False)


@NODE
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_get_the_pixels_of_the_training(channels):
    rng = np.random.default_rng(0)
    code = (html_source.CODE / "picture.js").read_text()
    cases, lines = [], []
    for fit in FITS:
        for width, height in [(40, 30), (28, 28), (17, 50), (70, 50), (13, 11), (28, 60)]:
            rgb = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
            size = (28, 28) if channels == 1 else (20, 24)
            made = Preparation(*size, channels, fit).apply(Picture(rgb))
            cases.append(made.transpose(1, 2, 0).flatten().tolist())
            rgba = np.dstack([rgb, np.full((height, width), 255)]).flatten().tolist()
            head = f"const [HEIGHT, WIDTH, CHANNELS] = [{size[0]}, {size[1]}, {channels}];"
            call = f"fitted(inChannels({rgba}, {width}, {height}))"
            lines.append(
                f"(() => {{ {head} const FIT = '{fit}'; {code}\n"
                f"console.log(JSON.stringify(Array.from({call}))); }})();"
            )
    done = subprocess.run(
        ["node", "-"], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(cases)
    for values, expected in zip(found, cases, strict=True):
        # Pillow's versions differ in the order of rows and columns: by a step at most.
        assert np.abs(np.subtract(values, expected)).max() <= 1


LOOK = """
<script>
  const errors = [];
  addEventListener("error", (event) => errors.push(event.message));
  addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
  addEventListener("securitypolicyviolation", (event) => errors.push(event.violatedDirective));
  Element.prototype.setPointerCapture = () => {}; // of a pointer that is none
  addEventListener("load", () => {
    const board = document.getElementById("board");
    const box = board.getBoundingClientRect();
    const point = (name, x, y) => board.dispatchEvent(new PointerEvent(name, {
      bubbles: true, pointerId: 1,
      clientX: box.left + x * box.width, clientY: box.top + y * box.height,
    }));
    const before = document.getElementById("scores").children.length;
    point("pointerdown", 0.5, 0.2);
    for (let y = 0.2; y < 0.8; y += 0.05) point("pointermove", 0.5, y);
    point("pointerup", 0.5, 0.8);
    parent.postMessage({
      errors, before, answer: document.getElementById("answer").textContent,
      shares: [...document.querySelectorAll("#scores li span:last-child")].map(
        (span) => parseFloat(span.textContent)),
      seen: Math.max(...shown), width: document.documentElement.scrollWidth, window: innerWidth,
      paper: getComputedStyle(document.body).color,
    }, "*");
  });
</script>
"""
FRAME = """<!doctype html><title>x</title><body style="margin: 0"><pre id="said"></pre>
<script>
  addEventListener("message", (event) => {
    document.getElementById("said").textContent = JSON.stringify(event.data);
  });
</script>
<iframe src="page.html" width="WIDTH" height="800" style="border: 0"></iframe>"""


def look(folder, width, is_dark):
    """What the page says of itself in a browser, after somebody has drawn on it."""
    text = (folder / "index.html").read_text()
    (folder / "page.html").write_text(text.replace("<style>", LOOK + "<style>", 1))
    (folder / "frame.html").write_text(FRAME.replace("WIDTH", str(width)))
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
        f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
        f"--user-data-dir={folder / 'profile'}", "--window-size=1000,900", "--dump-dom",
        f"file://{folder / 'frame.html'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    said = re.search(r'<pre id="said">(.*?)</pre>', done.stdout)[1]
    return json.loads(said.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium")
@pytest.mark.parametrize(("width", "is_dark"), [(1000, False), (360, True)])
def test_drawing_is_classified_in_a_browser_without_an_error(tmp_path, width, is_dark):
    names = ["a name that is long enough to be wider than its column", "b", "W" * 80]
    write(tmp_path, NETWORKS["blocks"], classes=names)
    found = look(tmp_path, width, is_dark)
    assert found["errors"] == []
    assert found["before"] == 0
    assert found["window"] == width
    assert found["width"] <= width
    assert found["answer"].endswith(" %")
    assert sum(found["shares"]) == pytest.approx(100, abs=0.2)
    assert found["seen"] > 150  # the stroke has reached the network
    assert found["paper"] == ("rgb(255, 255, 255)" if is_dark else "rgb(0, 0, 0)")
