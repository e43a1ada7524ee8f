"""RandAugment (Cubuk et al., 2020): so many random operations on a picture, one after another, all of the same magnitude.

The fourteen operations are the paper's; magnitudes go from 0, which changes little or nothing, to 10, AutoAugment's
strongest: shear 0.3, shift 0.45 of the side, turn by 30°, solarize from 256 down to 0, 8 down to 4 bits, and factors
1 ± 0.9 for colour, contrast, brightness and sharpness. Identity, auto-contrast and equalize have no magnitude. Where there
are two directions, one is drawn. Deviations: shifts are shares of the side, where AutoAugment has 150 pixels of 331; what
comes into a picture from outside is grey, and the nearest pixel is taken.
"""

import io
import random
from collections.abc import Callable
from dataclasses import replace

from PIL import Image, ImageEnhance, ImageOps

from clients.data.dataset import Example
from clients.exact import digest

STRONGEST = 10
GREY = (128, 128, 128)

Operation = Callable[[Image.Image, float], Image.Image]


def _moved(picture: Image.Image, *rows: float) -> Image.Image:
    """An affine map: the six numbers that give, for each new pixel, the old one."""
    return picture.transform(picture.size, Image.Transform.AFFINE, rows, Image.Resampling.NEAREST, fillcolor=GREY)


SIGNED: dict[str, Operation] = {
    "shear x": lambda picture, s: _moved(picture, 1, 0.3 * s, 0, 0, 1, 0),
    "shear y": lambda picture, s: _moved(picture, 1, 0, 0, 0.3 * s, 1, 0),
    "shift x": lambda picture, s: _moved(picture, 1, 0, 0.45 * s * picture.width, 0, 1, 0),
    "shift y": lambda picture, s: _moved(picture, 1, 0, 0, 0, 1, 0.45 * s * picture.height),
    "rotate": lambda picture, s: picture.rotate(30 * s, Image.Resampling.NEAREST, fillcolor=GREY),
    "color": lambda picture, s: ImageEnhance.Color(picture).enhance(1 + 0.9 * s),
    "contrast": lambda picture, s: ImageEnhance.Contrast(picture).enhance(1 + 0.9 * s),
    "brightness": lambda picture, s: ImageEnhance.Brightness(picture).enhance(1 + 0.9 * s),
    "sharpness": lambda picture, s: ImageEnhance.Sharpness(picture).enhance(1 + 0.9 * s),
}
"""Operations with a direction: their strength is between −1 and 1."""

UNSIGNED: dict[str, Operation] = {
    "identity": lambda picture, s: picture,
    "auto-contrast": lambda picture, s: ImageOps.autocontrast(picture),
    "equalize": lambda picture, s: ImageOps.equalize(picture),
    "solarize": lambda picture, s: ImageOps.solarize(picture, round(256 * (1 - s))),
    "posterize": lambda picture, s: ImageOps.posterize(picture, round(8 - 4 * s)),
}
"""The others: between 0 and 1, which some take no notice of."""

NAMES = (*SIGNED, *UNSIGNED)


def operate(picture: Image.Image, name: str, strength: float) -> Image.Image:
    """One operation on an RGB picture; strength between −1 and 1, or 0 and 1 where there is no direction."""
    return (SIGNED | UNSIGNED)[name](picture, strength)


def augmented(example: Example, operations: int, magnitude: int, key: list[object]) -> Example:
    """The example with its picture changed, as a PNG; which operations, and in which direction, follows from the key.

    Args:
        operations: how many, drawn with replacement.
        magnitude: 0 to 10.
        key: JSON values.

    Raises:
        InputError: the picture does not decode.
    """
    from clients.models.image import decoded

    rng = random.Random(digest.of_json(key))
    picture = decoded(example.image)
    for _ in range(operations):
        name, sign = rng.choice(NAMES), rng.choice((-1, 1))
        picture = operate(picture, name, magnitude / STRONGEST * (sign if name in SIGNED else 1))
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=1)
    return replace(example, image=file.getvalue())
