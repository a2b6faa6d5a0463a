"""What network.py reads pictures with: as `nas.data.preparation` did for the training."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from nas.data.preparation import Preparation

_TEMPLATE = '''\
def read_image(path: str) -> Tensor:
    """The picture in a file as uint8 ({channels}, {height}, {width}).

{how}
    """
    from PIL import Image, ImageOps  # python -m pip install pillow

    image = ImageOps.exif_transpose(Image.open(path))
{deep}    image = image.convert("RGBA")
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image)
    image = paper.convert("{mode}")
{fit}    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view({height}, {width}, {channels}).permute(2, 0, 1)


def main(paths: list[str]) -> int:
    """Classify files; 1 when one of them could not be read."""
    try:
        model = load()
    except FileNotFoundError:
        sys.exit(f"{{WEIGHTS}} is missing: network.py reads its weights there")
    code = 0
    for path in paths:
        try:
            image = read_image(path)
        except ImportError:
            sys.exit("reading pictures needs Pillow: python -m pip install pillow")
        except (OSError, ValueError) as error:
            print(f"{{path}}: {{error}}", file=sys.stderr)
            code = 1
            continue
        with torch.inference_mode():
            shares = model(normalise(image.unsqueeze(0))).softmax(1)[0]
        first, second = shares.argsort(descending=True)[:2].tolist()
        best, next_best = (f"{{CLASSES[i]}} {{shares[i]:.2%}}" for i in (first, second))
        print(f"{{path}}: {{best}}, then {{next_best}}")
    return code


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit("usage: python network.py IMAGE...")
    sys.exit(main(sys.argv[1:]))
'''
_IS_DEEP = '    if image.mode == "F" or image.mode.startswith("I"):  # 16 or 32 bits a value\n'
_REFUSED = '        raise ValueError("more than 8 bits a value, unlike the training images")\n'
_SCALED = """\
        if image.mode != "F":
            image = image.convert("I")
        dtype = torch.float32 if image.mode == "F" else torch.int32
        values = torch.frombuffer(bytearray(image.tobytes()), dtype=dtype).double()
        share = (values - {low!r}) / ({high!r} - {low!r})
        grey = (share * 255).round().clamp(0, 255).byte()
        image = Image.frombytes("L", image.size, bytes(grey.tolist()))
"""
_FITS = {
    "stretch": "    image = image.resize(({width}, {height}), Image.Resampling.BILINEAR)\n",
    "crop": "    image = ImageOps.fit(image, ({width}, {height}), Image.Resampling.BILINEAR)\n",
    "pad": """\
    scale = min({width} / image.width, {height} / image.height)
    width, height = (max(1, round(side * scale)) for side in image.size)
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    image = Image.new("{mode}", ({width}, {height}), "black")
    image.paste(small, (({width} - width) // 2, ({height} - height) // 2))
""",
}


def reading_source(preparation: Preparation, mean: Sequence[float]) -> str:
    """The functions `read_image` and `main`, and the call of `main`.

    Args:
        preparation: how pictures become images of the network.
        mean: of each channel of the training images, in 0..1.
    """
    places = {
        "channels": preparation.channels,
        "height": preparation.height,
        "width": preparation.width,
        "mode": "L" if preparation.channels == 1 else "RGB",
    }
    deep = _REFUSED
    if preparation.value_range is not None:
        low, high = preparation.value_range
        deep = _SCALED.format(low=float(low), high=float(high))
    means = ", ".join(f"{255 * value:.0f}" for value in mean)
    text = (
        f"{preparation.text}{_other_sizes(preparation)}. Nothing is inverted: in the training "
        f"images black is 0, white is 255 and the mean is {means}."
    )
    how = f"{text[0].upper()}{text[1:]}"
    return _TEMPLATE.format(
        how=textwrap.indent(textwrap.fill(how, 84), "    "),
        deep=_IS_DEEP + deep,
        fit=_FITS[preparation.fit or "stretch"].format(**places),
        **places,
    )


def _other_sizes(preparation: Preparation) -> str:
    if preparation.fit is not None:
        return ""
    return f"; stretched where it is not of {preparation.width}x{preparation.height}"
