"""One image data set as it is opened: the class of each picture, class prompts, and pictures as they are stored.

Pictures stay as they are stored (PNG, JPEG, ...). Captions are CLIP's class prompts, the first of each set's templates in
the task arithmetic literature (Ilharco et al., 2023).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from clients.data import digits
from clients.data.dataset import LabelSet
from clients.data.folders import classes_of
from clients.data.hub import open_table
from clients.data.pictures import shown
from clients.data.population import Population
from clients.data.specs import ImageSet
from clients.data.text_files import typed
from clients.errors import InputError

CAPTION = "a photo of a {label}."
CAPTIONS = {
    "dtd": "a photo of a {label} texture.",
    "eurosat": "a centered satellite photo of {label}.",
    "gtsrb": 'a zoomed in photo of a "{label}" traffic sign.',
    "mnist": 'a photo of the number: "{label}".',
    "resisc45": "satellite imagery of {label}.",
    "svhn": 'a photo of the number: "{label}".',
}
MOST_LABELS = 1000


class Opened(NamedTuple):
    """An opened image set.

    Attributes:
        table: a ``datasets.Dataset`` whose column of pictures is not decoded.
        answers: class of each row, None where it has none.
        labels: all classes.
        inferred: whether the classes follow from the rows; else the column says them.
        owners: whose each row is, None where nobody is named; empty where no column is asked for.
        notes: lines for the user on what was read.
    """

    set: ImageSet
    table: Any
    answers: list[str | None]
    labels: tuple[str, ...]
    inferred: bool
    owners: list[str | None]
    notes: list[str]


@contextmanager
def of_set(chosen: ImageSet) -> Iterator[None]:
    """Errors that say which set they are of."""
    try:
        yield
    except InputError as error:
        reason = str(error).removeprefix("data.source: ").removeprefix("data: ")
        raise InputError(f"data.sets: {chosen.name}: {reason}") from error


def check_labels(one: Opened) -> None:
    """InputError where there are too few or too many classes."""
    if not 2 <= len(one.labels) <= MOST_LABELS:
        raise InputError(
            f"column {one.set.label!r} holds {len(one.labels)} different labels; "
            f"telling pictures apart takes 2 to {MOST_LABELS}"
        )


def open_set(chosen: ImageSet, client_column: str | None) -> Opened:
    """The set, no picture read yet; InputError where a column is missing or of another kind."""
    used = list(dict.fromkeys([chosen.image, chosen.label, *([client_column] if client_column else [])]))
    found, notes = open_table(chosen.source, chosen.config, chosen.split, used)
    table = found.select_columns(used)
    answers, labels = _classes(table, chosen.label)
    inferred = chosen.label not in classes_of(table.features)
    owners = [owner or None for owner in _texts(table, client_column)] if client_column else []
    return Opened(chosen, _undecoded(table, chosen.image), answers, labels, inferred, owners, notes)


def _undecoded(table: Any, column: str) -> Any:
    """The table with its column of pictures as dictionaries of ``bytes`` and ``path``; no picture is read yet."""
    import datasets

    feature = table.features[column]
    kind = getattr(feature, "dtype", "struct" if isinstance(feature, dict) else str(feature))
    stored = isinstance(feature, dict) and "bytes" in feature and set(feature) <= {"bytes", "path"}
    if not (isinstance(feature, datasets.Image) or stored or kind in ("binary", "large_binary")):
        raise InputError(f"column {column!r} is of type {kind}; pictures are needed, as PNG or JPEG bytes")
    return table.cast_column(column, datasets.Image(decode=False))


def _classes(table: Any, column: str) -> tuple[list[str | None], tuple[str, ...]]:
    """The class of each row, and all classes: in the column's own order where it has one, else sorted."""
    feature = table.features[column]
    kind = getattr(feature, "dtype", str(feature))
    text = kind in ("string", "large_string")
    if not text and not kind.startswith(("int", "uint", "float")):
        raise InputError(f"column {column!r} is of type {kind}; labels are needed, as text, whole numbers or a ClassLabel")
    values = [value or None for value in _texts(table, column)]
    found = {value for value in values if value is not None}
    whole = all(value.removeprefix("-").isdigit() for value in found)
    if kind.startswith("float") and not whole:  # a column of whole numbers with gaps may have become one of floats
        raise InputError(f"column {column!r} is of type {kind}; labels are needed, as text, whole numbers or a ClassLabel")
    names = classes_of(table.features).get(column) or sorted(found, key=lambda name: (int(name) if whole else 0, name))
    answers = [None if value is None else _words(value) for value in values]
    return answers, tuple(dict.fromkeys(map(_words, names)))


def _texts(table: Any, column: str) -> list[str | None]:
    """The cells of a column as texts; InputError where one cannot be."""
    cells = table.select_columns([column])
    try:
        found: list[str | None] = typed(cells.with_format("arrow")[:], classes_of(cells.features))[column].to_pylist()
    except ValueError as error:
        raise InputError(str(error)) from error
    return found


def _words(name: str) -> str:
    return name.replace("_", " ")


def label_set(one: Opened) -> LabelSet:
    """Its classes with their class prompts."""
    caption = one.set.caption or caption_of(one.set)
    return LabelSet(one.labels, tuple(caption.replace("{label}", label) for label in one.labels))


def caption_of(chosen: ImageSet) -> str:
    """The set's own class prompt; a configuration may be called anything, as svhn's ``cropped_digits``."""
    if chosen.source == "digits":
        return digits.caption(chosen.config)
    found = (CAPTIONS.get(name.lower()) for name in (chosen.name, Path(chosen.source).stem))
    return next((caption for caption in found if caption), CAPTION)


def named_again(one: Opened, known: Population) -> Opened:
    """The set with the class names of the population where a rewritten table has lost them and holds their numbers only."""
    names = known.numbered(one.set.name, one.answers) if one.inferred else {}
    return one._replace(answers=[None if answer is None else names.get(answer, answer) for answer in one.answers])


def stored(chosen: ImageSet, row: int, cell: dict[str, Any] | None) -> bytes:
    """The bytes of a picture in the table, or in the file that it names.

    Raises:
        InputError: there are none.
    """
    with _picture_of(chosen, row):
        if cell is None or (cell["bytes"] is None and cell["path"] is None):
            raise ValueError("it is empty")
        return Path(cell["path"]).read_bytes() if cell["bytes"] is None else bytes(cell["bytes"])


def decodes(chosen: ImageSet, row: int, content: bytes) -> None:
    """InputError if a picture cannot be decoded."""
    with _picture_of(chosen, row):
        shown(content, coarse=True)


@contextmanager
def _picture_of(chosen: ImageSet, row: int) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise InputError(
            f"data.sets: {chosen.name}: column {chosen.image!r}, row {row}: no picture ({error}); "
            "whole PNG or JPEG bytes are needed"
        ) from error
