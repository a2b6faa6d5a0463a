"""Format `pytorch`: one readable Python file that needs nothing but torch, and its weights."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save

from nas.candidates.architecture import Architecture
from nas.candidates.layers import Call, modules
from nas.data.preparation import Preparation
from nas.exporters.check import check_export
from nas.exporters.contract import Expected, Proof, Subject, Written
from nas.exporters.provenance import Provenance, origin, times, title
from nas.exporters.reading import reading_source

FOLDER = ""
FILES = ("network.py", "weights.safetensors")
NUMBERS = "float32"
NEEDS_IMAGES = False
TAGS = ("pytorch",)
USAGE = """\
`network.py` needs torch alone; `weights.safetensors` is read by it.

```python
from network import CLASSES, load, normalise

labels = load()(normalise(images)).argmax(1)  # images: uint8 (N, C, H, W)
```

`python network.py photo.jpg` classifies files, which it reads as in training; that needs Pillow.
"""

_TEMPLATE = '''"""{title}

{origin}

    model = load()                     # with the trained weights beside this file
    scores = model(normalise(images))  # images: uint8 {batch_shape}
    labels = scores.argmax(1)          # positions in CLASSES

`python network.py photo.jpg` classifies files, which `read_image` reads as in training.
"""

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

NUM_PARAMS = {num_params}
INPUT_SHAPE = {input_shape}  # channels, height, width
CLASSES = {classes}
MEAN = {mean}  # of each channel of the training images, in 0..1
STD = {std}
WEIGHTS = Path(__file__).with_name("weights.safetensors")


{definitions}class Network(nn.Sequential):
    """Normalised images {batch_shape} to scores (N, {num_classes})."""

    def __init__(self) -> None:
        super().__init__(
{layers}
        )


def normalise(images: Tensor) -> Tensor:
    """uint8 images {batch_shape} as the network was trained on them."""
    mean = torch.tensor(MEAN, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, -1, 1, 1)
    return (images.float() / 255 - mean) / std


def load(path: Path = WEIGHTS) -> Network:
    """The network with the weights in `path`, ready to classify."""
    model = Network()
    model.load_state_dict(read_safetensors(path))
    return model.eval()


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file: a header in JSON, then their bytes."""
    dtypes = {{"F32": torch.float32, "I64": torch.int64, "U8": torch.uint8}}
    content = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    tensors = {{}}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        data = content[start + begin : start + end]
        dtype = dtypes[entry["dtype"]]
        tensors[name] = torch.frombuffer(data, dtype=dtype).view(entry["shape"])
    return tensors


{reading}'''


def missing() -> str | None:
    """Nothing: torch is there wherever nas is."""
    return None


def write(subject: Subject, folder: Path) -> Written:
    """network.py and weights.safetensors."""
    facts = subject.facts
    source = network_source(
        subject.architecture, subject.provenance, facts.classes, facts.mean, facts.std,
        Preparation.for_network(facts.input_shape, facts.preparation),
    )  # fmt: skip
    (folder / "network.py").write_text(source, encoding="utf-8")
    weights = save(subject.state_dict)  # save_file makes files that nobody else may read
    (folder / "weights.safetensors").write_bytes(weights)
    rows = (("`weights.safetensors`, float32", f"{len(weights):,} bytes"),)
    return Written(subject.scores, rows, {"file_bytes": len(weights)})


def check(folder: Path, expected: Expected) -> Proof:
    """Load the files in a process without nas, and compare parameters and scores.

    Raises:
        ExportError: they do not load, or something differs.
    """
    difference = check_export(folder, expected.images, expected.scores, expected.num_params)
    line = (
        f"pytorch: in a process without nas {expected.num_params:,} parameters; its scores of "
        f"{len(expected.images):,} images differ by at most {difference:.1g}"
    )
    return Proof((line,), figures={"max_difference": difference})


def network_source(
    architecture: Architecture,
    provenance: Provenance,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    preparation: Preparation | None = None,
) -> str:
    """The file's text, as `ruff format` would leave it.

    Args:
        architecture: the network.
        provenance: goes into the docstring.
        classes: a name for each output.
        mean, std: of each channel, as the network's training images were normalised.
        preparation: how files became these; None where they were no files.
    """
    preparation = preparation or Preparation.for_network(architecture.input_shape, None)
    channels, height, width = architecture.input_shape
    layers = [
        f"{_call(row.layer.call(row.in_shape), 12)}  # {times(row.out_shape)}"
        for row in architecture.rows
    ]
    return _TEMPLATE.format(
        title=title(architecture),
        origin="\n".join(origin(architecture, provenance)),
        batch_shape=f"(N, {channels}, {height}, {width})",
        num_params=architecture.num_params,
        input_shape=architecture.input_shape,
        num_classes=architecture.num_classes,
        classes=_tuple([_string(name) for name in classes], is_split=True),
        mean=_tuple([repr(float(value)) for value in mean]),
        std=_tuple([repr(float(value)) for value in std]),
        layers="\n".join(layers),
        definitions=_definitions(architecture),
        reading=reading_source(preparation, mean),
    )


def _call(call: Call, indent: int) -> str:
    """A call as an argument; one of several modules takes a line for each."""
    inner = [argument for argument in call.args if isinstance(argument, Call)]
    is_of_calls = bool(inner) and len(inner) == len(call.args)
    if not is_of_calls and not any(isinstance(a, Call) for c in inner for a in c.args):
        return f"{' ' * indent}{call.source()},"
    lines = [
        _call(argument, indent + 4)
        if isinstance(argument, Call)
        else f"{' ' * (indent + 4)}{argument!r},"
        for argument in call.args
    ]
    return "\n".join([f"{' ' * indent}{call.factory}(", *lines, f"{' ' * indent}),"])


def _definitions(architecture: Architecture) -> str:
    """The classes of ours that the network is made of, as they were trained."""
    calls = [row.layer.call(row.in_shape) for row in architecture.rows]
    used = {factory for call in calls for factory in call.factories()}
    ours = sorted(name for name in used if not name.startswith("nn."))
    return "".join(f"{inspect.getsource(getattr(modules, name))}\n\n" for name in ours)


def _string(text: str) -> str:
    """A literal in double quotes, all ASCII."""
    escaped = text.encode("unicode_escape").decode().replace('"', '\\"')
    return f'"{escaped}"'


def _tuple(literals: Sequence[str], is_split: bool = False) -> str:
    if is_split:
        return "(\n" + "".join(f"    {literal},\n" for literal in literals) + ")"
    return f"({', '.join(literals)}{',' if len(literals) == 1 else ''})"
