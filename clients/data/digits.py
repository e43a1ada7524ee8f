"""Real handwritten digits, embedded: the 1,797 8×8 pictures that scikit-learn carries (Alpaydin and Kaynak, 1998).

Three renderings play three image data sets: ``upright``, ``negative`` (inverted) and ``turned`` (by 90°). Grey values 0 to
16 become 0 to 255. Deviation from three data sets: all three hold the same 1,797 digits, so that a digit may be with a
client of each rendering, though never twice in one.
"""

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clients.errors import InputError

Picture = NDArray[np.uint8]

UPRIGHT = "upright"
RENDERINGS: dict[str, Callable[[Picture], Picture]] = {
    UPRIGHT: lambda picture: picture,
    "negative": lambda picture: 255 - picture,
    "turned": lambda picture: np.rot90(picture),
}
CAPTIONS = {
    UPRIGHT: "a photo of the digit {label}.",
    "negative": "a negative of the digit {label}.",
    "turned": "a turned photo of the digit {label}.",
}
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def rows(config: str | None) -> list[dict[str, Any]]:
    """One row per digit: ``image``, a dictionary with the ``bytes`` of an 8×8 grey PNG, and ``label``, the digit as a word.

    Raises:
        InputError: no such rendering.
    """
    if (config or UPRIGHT) not in RENDERINGS:
        raise InputError(f"data: digits has no configuration {config!r}, only {', '.join(RENDERINGS)}")
    render = RENDERINGS[config or UPRIGHT]
    pictures, digits = _stored()
    return [
        {"image": {"bytes": _png(render(picture)), "path": None}, "label": WORDS[digit]}
        for picture, digit in zip(pictures, digits, strict=True)
    ]


@lru_cache(maxsize=1)
def _stored() -> tuple[Picture, list[int]]:
    """All pictures (1797, 8, 8) and the digits they show."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return np.rint(found.images * (255 / 16)).astype(np.uint8), found.target.tolist()


def _png(picture: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, format="PNG")
    return file.getvalue()
