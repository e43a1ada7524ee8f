"""Stored pictures as RGB: what a viewer shows, or refused. ``decoded`` is the only way in.

colours             as they are; palettes, CMYK and YCbCr by Pillow's plain conversion; colour profiles are not applied
16 and 12 bit grey  scaled so that white is 255: a 16-bit value by 1/257, to the nearest
transparency        over white
orientation         turned upright as EXIF says
several frames      the first one
floats, 32 bit      refused: which value is white is nowhere said
"""

import io
import warnings
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from clients.errors import InputError

GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N")
WHITE_16, WHITE_12 = 65535, 4095
FEW_BITS = {"L;2": 85, "L;4": 17}
"""What greys of two and four bits are multiplied with as they are read; the grey that stands for transparency is not."""


def decoded(image: bytes) -> Image.Image:
    """A picture in RGB, upright.

    Raises:
        InputError: it does not decode, is not whole, or has values in no agreed range.
    """
    try:
        return shown(image)
    except ValueError as error:
        raise InputError(f"data: a picture does not decode ({error}); PNG or JPEG bytes are expected") from error


def shown(image: bytes, coarse: bool = False) -> Image.Image:
    """The same; a ValueError says what is wrong with it.

    Args:
        coarse: only to see that it can be: a JPEG is read to its end, but just its coarsest scale is computed.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(image)) as opened:
            if coarse:
                opened.draft("L", (1, 1))
            stored, clear = str(opened.tile), opened.info.get("transparency")  # how values lie in the file
            if "RGB;16" in stored and clear is not None:  # Pillow keeps eight bits of the colours and sixteen of this one
                raise ValueError("16-bit colours of which one is transparent; store an alpha channel")
            for kind, factor in FEW_BITS.items():
                if kind in stored and isinstance(clear, int):
                    opened.info["transparency"] = clear * factor
            opened.load()
            with suppress(Exception):  # damaged EXIF, which viewers pass over
                ImageOps.exif_transpose(opened, in_place=True)
            return _over_white(opened, WHITE_12 if "I;12" in stored else WHITE_16)
    except UnidentifiedImageError as error:
        raise ValueError("it is of no kind that is known") from error
    except Exception as error:  # each of Pillow's decoders raises kinds of its own
        raise ValueError(str(error) or repr(error)) from error


def _over_white(image: Image.Image, white: int) -> Image.Image:
    mode, clear = image.mode, image.info.get("transparency")
    if mode in GREY_16 or (mode == "I" and image.format == "PPM"):  # a PPM is scaled to 16 bits as it is read
        return _grey(np.asarray(image), white, clear)
    if mode in ("I", "F"):
        kind = "floats" if mode == "F" else "signed or 32-bit numbers"
        raise ValueError(f"its values are {kind}, and which of them is white is nowhere said; store 8 or 16 bits")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _grey(values: np.ndarray, white: int, clear: Any) -> Image.Image:
    """Values of 0 to ``white`` as grey; the one that stands for transparency as white."""
    scaled = (values.astype(np.int64) * 255 + white // 2) // white
    if clear is not None:
        scaled[values == clear] = 255
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")
