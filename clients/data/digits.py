"""Real handwritten digits, embedded: the 1,797 8×8 pictures that scikit-learn carries (Alpaydin and Kaynak, 1998).

Three renderings play three image data sets: ``upright``, ``negative`` (inverted) and ``turned`` (by 90°). Grey values 0 to
16 become 0 to 255. ``turned-0-4`` has the digits from 0 to 4 alone, so that data sets may have different classes. Deviation
from three data sets: all three renderings hold the same 1,797 digits, so that a digit may be with a client of each
rendering, though never twice in one.
"""

import io
import re
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

    Args:
        config: a rendering, or one with the first and the last digit behind it, as ``turned-0-4``.

    Raises:
        InputError: no such rendering.
    """
    name, wanted = _chosen(config or UPRIGHT)
    render = RENDERINGS[name]
    pictures, digits = _stored()
    return [
        {"image": {"bytes": _png(render(picture)), "path": None}, "label": WORDS[digit]}
        for picture, digit in zip(pictures, digits, strict=True)
        if digit in wanted
    ]


def caption(config: str | None) -> str:
    """The class prompt of a configuration."""
    return CAPTIONS[_chosen(config or UPRIGHT)[0]]


def _chosen(config: str) -> tuple[str, range]:
    """The rendering and the digits of a configuration."""
    found = re.fullmatch(r"([a-z]+)(?:-(\d)-(\d))?", config)
    if found is None or found[1] not in RENDERINGS or (found[2] or "0") >= (found[3] or "9"):
        raise InputError(
            f"data: digits has no configuration {config!r}, only {', '.join(RENDERINGS)}, and some of the digits, as "
            f"{UPRIGHT}-0-4"
        )
    return found[1], range(int(found[2] or 0), int(found[3] or 9) + 1)


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
