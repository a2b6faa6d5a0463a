"""A network of 986 parameters for 10 classes of 1x28x28 images.

Study                 mnist-1k, trial 18
Data set              mnist
Parameters            986
Multiply-accumulates  348,400 an image
Test accuracy         98.72% of 10,000 test images, trained on all 60,000 training images; the
                      first of 10 seeds
Made with             nas 0.1.0, torch 2.14.1+cu130, optuna 5.0.0, python 3.11.7

    model = load()                     # with the trained weights beside this file
    scores = model(normalise(images))  # images: uint8 (N, 1, 28, 28)
    labels = scores.argmax(1)          # positions in CLASSES

`python network.py photo.jpg` classifies files, which `read_image` reads as in training.
"""

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

NUM_PARAMS = 986
INPUT_SHAPE = (1, 28, 28)  # channels, height, width
CLASSES = (
    "0 - zero",
    "1 - one",
    "2 - two",
    "3 - three",
    "4 - four",
    "5 - five",
    "6 - six",
    "7 - seven",
    "8 - eight",
    "9 - nine",
)
MEAN = (0.130674,)  # of each channel of the training images, in 0..1
STD = (0.308123,)
WEIGHTS = Path(__file__).with_name("weights.safetensors")


class Tied(nn.Module):
    """x + ReLU(norm(conv(x))), several times with one convolution, each with a norm of its own."""

    def __init__(self, conv: nn.Conv2d | nn.Sequential, times: int) -> None:
        super().__init__()
        self.conv = conv
        channels = next(conv.parameters()).shape[0]
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(times))

    def forward(self, x: Tensor) -> Tensor:
        for norm in self.norms:
            x = x + norm(self.conv(x)).relu()
        return x


class Network(nn.Sequential):
    """Normalised images (N, 1, 28, 28) to scores (N, 10)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),  # 16x28x28
            nn.BatchNorm2d(16),  # 16x28x28
            nn.ReLU(),  # 16x28x28
            nn.MaxPool2d(2),  # 16x14x14
            Tied(
                nn.Sequential(
                    nn.Conv2d(16, 16, 3, padding=1, bias=False, groups=16),
                    nn.Conv2d(16, 16, 1, bias=False),
                ),
                3,
            ),  # 16x14x14
            nn.MaxPool2d(2),  # 16x7x7
            nn.MaxPool2d(2),  # 16x3x3
            nn.Conv2d(16, 16, (3, 3), groups=16, bias=False),  # 16x1x1
            nn.Flatten(),  # 16
            nn.Linear(16, 10),  # 10
        )


def normalise(images: Tensor) -> Tensor:
    """uint8 images (N, 1, 28, 28) as the network was trained on them."""
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
    dtypes = {"F32": torch.float32, "I64": torch.int64, "U8": torch.uint8}
    content = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        data = content[start + begin : start + end]
        dtype = dtypes[entry["dtype"]]
        tensors[name] = torch.frombuffer(data, dtype=dtype).view(entry["shape"])
    return tensors


def read_image(path: str) -> Tensor:
    """The picture in a file as uint8 (1, 28, 28).

    Turned as EXIF says, transparency on white, grey; stretched where it is not of
    28x28. Nothing is inverted: in the training images black is 0, white is 255 and the
    mean is 33.
    """
    from PIL import Image, ImageOps  # python -m pip install pillow

    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode == "F" or image.mode.startswith("I"):  # 16 or 32 bits a value
        raise ValueError("more than 8 bits a value, unlike the training images")
    image = image.convert("RGBA")
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image)
    image = paper.convert("L")
    image = image.resize((28, 28), Image.Resampling.BILINEAR)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(28, 28, 1).permute(2, 0, 1)


def main(paths: list[str]) -> int:
    """Classify files; 1 when one of them could not be read."""
    try:
        model = load()
    except FileNotFoundError:
        sys.exit(f"{WEIGHTS} is missing: network.py reads its weights there")
    code = 0
    for path in paths:
        try:
            image = read_image(path)
        except ImportError:
            sys.exit("reading pictures needs Pillow: python -m pip install pillow")
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            code = 1
            continue
        with torch.inference_mode():
            shares = model(normalise(image.unsqueeze(0))).softmax(1)[0]
        first, second = shares.argsort(descending=True)[:2].tolist()
        best, next_best = (f"{CLASSES[i]} {shares[i]:.2%}" for i in (first, second))
        print(f"{path}: {best}, then {next_best}")
    return code


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit("usage: python network.py IMAGE...")
    sys.exit(main(sys.argv[1:]))
