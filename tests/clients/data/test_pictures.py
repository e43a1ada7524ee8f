"""Every way in which people store pictures, built by hand: the pixels that a viewer shows, or a refusal."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clients.data.pictures import decoded, shown
from clients.errors import InputError

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
"""PNG's colour types."""


def png(depth: int, colour: int, rows: list[bytes], width: int, height: int = 0, **chunks: bytes) -> bytes:
    """A PNG of these unfiltered rows, with further chunks before them."""

    def chunk(name: str, body: bytes) -> bytes:
        tagged = name.encode() + body
        return struct.pack(">I", len(body)) + tagged + struct.pack(">I", zlib.crc32(tagged))

    head = chunk("IHDR", struct.pack(">IIBBBBB", width, height or len(rows), depth, colour, 0, 0, 0))
    body = chunk("IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*each) for each in chunks.items()) + body + chunk("IEND", b"")


def stored(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(image: bytes) -> list[list[tuple[int, ...]]]:
    """Rows of RGB values."""
    found = decoded(image)
    assert found.mode == "RGB"
    return [[tuple(pixel) for pixel in row] for row in np.asarray(found).tolist()]


def greys(image: bytes) -> list[int]:
    """The first row of a picture that is grey."""
    (row, *_) = pixels(image)
    assert all(len(set(pixel)) == 1 for pixel in row)
    return [pixel[0] for pixel in row]


def big(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


SIXTEEN, EIGHT = (0, 128, 129, 257, 25700, 65406, 65407, 65535), [0, 0, 1, 1, 100, 254, 255, 255]  # v / 257, to the nearest


def test_sixteen_bit_greys() -> None:
    values = np.array([SIXTEEN], dtype=np.uint16)
    assert greys(png(16, GREY, [big(*SIXTEEN)], 8)) == EIGHT
    assert greys(stored(Image.fromarray(values), "PNG")) == EIGHT
    assert greys(stored(Image.fromarray(values), "TIFF")) == EIGHT
    assert greys(stored(Image.frombytes("I;16B", (8, 1), big(*SIXTEEN)), "TIFF")) == EIGHT
    assert greys(b"P5\n8 1\n65535\n" + big(*SIXTEEN)) == EIGHT
    assert greys(b"P5\n3 1\n1023\n" + big(0, 512, 1023)) == [0, 128, 255]  # white is what the header says
    assert greys(png(16, GREY, [big(*SIXTEEN)], 8, tRNS=big(25700))) == [0, 0, 1, 1, 255, 254, 255, 255]
    assert pixels(png(16, COLOUR, [big(0x1234, 0xFF00, 0x00FF)], 1)) == [[(0x12, 0xFF, 0x00)]]


def test_fewer_bits() -> None:
    assert greys(png(1, GREY, [b"\xa0"], 3)) == [255, 0, 255]
    assert greys(png(2, GREY, [b"\x1b"], 4)) == [0, 85, 170, 255]
    assert greys(png(4, GREY, [b"\x0f\x80"], 3)) == [0, 255, 136]
    assert greys(stored(Image.frombytes("1", (3, 1), b"\xa0"), "TIFF")) == [255, 0, 255]


def test_transparency_is_over_white() -> None:
    assert pixels(png(8, COLOUR_ALPHA, [bytes([10, 20, 30, 255, 10, 20, 30, 0, 0, 100, 200, 51])], 3)) == [
        [(10, 20, 30), (255, 255, 255), (204, 224, 244)]  # a fifth of the colour, four fifths of 255
    ]
    assert greys(png(8, GREY_ALPHA, [bytes([0, 255, 0, 0, 100, 51])], 3)) == [0, 255, 224]
    assert greys(png(8, GREY, [bytes([0, 7, 200])], 3, tRNS=big(7))) == [0, 255, 200]
    assert pixels(png(8, COLOUR, [bytes([1, 2, 3, 1, 2, 4])], 2, tRNS=big(1, 2, 3))) == [[(255, 255, 255), (1, 2, 4)]]
    two_colours = {"PLTE": bytes([9, 8, 7, 0, 100, 200]), "tRNS": bytes([255, 51])}
    assert pixels(png(8, PALETTE, [bytes([0, 1])], 2, **two_colours)) == [[(9, 8, 7), (204, 224, 244)]]
    assert pixels(stored(Image.new("RGBA", (1, 1), (0, 100, 200, 0)), "WEBP", lossless=True)) == [[(255, 255, 255)]]


def test_the_transparent_grey_of_few_bits() -> None:
    assert greys(png(1, GREY, [b"\xa0"], 3, tRNS=big(0))) == [255, 255, 255]
    assert greys(png(2, GREY, [b"\x1b"], 4, tRNS=big(1))) == [0, 255, 170, 255]
    assert greys(png(4, GREY, [b"\x0f\x80"], 3, tRNS=big(8))) == [0, 255, 255]


def test_palettes() -> None:
    assert pixels(png(8, PALETTE, [bytes([1, 0, 1])], 3, PLTE=bytes([9, 8, 7, 6, 5, 4]))) == [
        [(6, 5, 4), (9, 8, 7), (6, 5, 4)]
    ]
    assert pixels(png(1, PALETTE, [b"\x40"], 2, PLTE=bytes([9, 8, 7, 6, 5, 4]))) == [[(9, 8, 7), (6, 5, 4)]]


def test_only_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (2, 1), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    for kind in ("GIF", "TIFF", "PNG"):
        assert pixels(stored(frames[0], kind, save_all=True, append_images=frames[1:])) == [[(255, 0, 0)] * 2]
    clear = Image.new("P", (2, 1))
    clear.putpalette([0, 0, 0, 255, 0, 0])
    clear.putpixel((1, 0), 1)
    assert pixels(stored(clear, "GIF", transparency=0)) == [[(255, 255, 255), (255, 0, 0)]]


def test_cmyk_as_a_viewer_shows_it() -> None:
    """Ink on white: 255 − ink − black. Adobe's JPEGs hold the values inverted."""
    inks = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for kind, options, off in (("TIFF", {}, 0), ("JPEG", {"quality": 100}, 3)):
        found = pixels(stored(inks, kind, **options))[3][3]
        assert np.abs(np.array(found) - (0, 255, 255)).max() <= off
    assert pixels(stored(Image.new("CMYK", (1, 1), (0, 0, 0, 55)), "TIFF")) == [[(200, 200, 200)]]


ROWS = [[1, 2, 3], [4, 5, 6]]
UPRIGHT = {
    1: ROWS,
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
    9: ROWS,  # there is no such orientation
}
"""By EXIF's number, the stored rows as they are to be seen."""


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for dtype, factor in ((np.uint8, 1), (np.uint16, 257)):
        image = Image.fromarray(np.array(ROWS, dtype=dtype) * dtype(factor))
        found = pixels(stored(image, "PNG", exif=exif))
        assert [[pixel[0] for pixel in row] for row in found] == UPRIGHT[orientation]
    wide = Image.new("RGB", (24, 8), "black")
    wide.paste("white", (0, 0, 8, 8))
    file = stored(wide, "JPEG", quality=100, exif=exif)
    turned = decoded(file)
    assert turned.size == ((8, 24) if orientation in (5, 6, 7, 8) else (24, 8))
    assert (turned.getpixel((1, 1))[0] > 128) is (orientation in (1, 4, 5, 6, 9))
    assert shown(file, coarse=True).size <= turned.size


def test_damaged_exif_is_passed_over() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    assert pixels(stored(image, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff nothing")) == [[(1, 2, 3)] * 2]
    assert pixels(stored(image, "PNG", exif=b"Exif\0\0no EXIF at all")) == [[(1, 2, 3)] * 2]


def test_values_in_no_agreed_range_are_refused() -> None:
    numbers = np.array([[0.0, 0.5]], dtype=np.float32)
    for image, kind, message in (
        (Image.fromarray(numbers), "TIFF", "its values are floats"),
        (Image.fromarray(numbers.astype(np.int32)), "TIFF", "its values are signed or 32-bit numbers"),
    ):
        with pytest.raises(InputError, match=rf"a picture does not decode \({message}.*store 8 or 16 bits"):
            decoded(stored(image, kind))
    with pytest.raises(InputError, match="it is of no kind that is known"):
        decoded(b"<svg></svg>")
    with pytest.raises(InputError, match="16-bit colours of which one is transparent"):
        decoded(png(16, COLOUR, [big(0x1234, 0xFF00, 0x00FF)], 1, tRNS=big(0x1234, 0xFF00, 0x00FF)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("coarse", [False, True])
def test_a_file_that_ends_early_is_refused(kind: str, coarse: bool) -> None:
    noise = Image.frombytes("RGB", (32, 32), np.random.default_rng(1).bytes(3 * 32 * 32))
    whole = stored(noise, kind)
    assert shown(whole, coarse).mode == "RGB"
    for part in (whole[: len(whole) // 2], whole[: len(whole) - len(whole) // 5], whole[:20], b""):
        with pytest.raises(ValueError, match=r".+"):
            shown(part, coarse)


def test_a_picture_too_large_to_be_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"a picture does not decode \(.*exceeds limit"):
        decoded(png(1, GREY, [], 2**20, 2**20))


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_plain_pictures_are_as_they_always_were(mode: str) -> None:
    noise = Image.frombytes("RGB", (5, 3), np.random.default_rng(2).bytes(45)).convert(mode)
    for kind in ("PNG", "BMP"):
        file = stored(noise, kind)
        assert decoded(file).tobytes() == Image.open(io.BytesIO(file)).convert("RGB").tobytes()
