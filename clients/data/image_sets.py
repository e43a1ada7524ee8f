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
from clients.data.hub import open_table
from clients.data.pictures import shown
from clients.data.population import Population
from clients.data.specs import ImageSet
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
    """

    set: ImageSet
    table: Any
    answers: list[str | None]
    labels: tuple[str, ...]
    inferred: bool


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
    table = open_table(chosen.source, chosen.config, chosen.split, used).select_columns(used)
    answers, labels = _classes(table, chosen.label)
    inferred = type(table.features[chosen.label]).__name__ != "ClassLabel"
    return Opened(chosen, _undecoded(table, chosen.image), answers, labels, inferred)


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
    import datasets

    feature = table.features[column]
    values = table.select_columns([column])[:][column]
    if isinstance(feature, datasets.ClassLabel):
        names = [_words(name) for name in feature.names]
        known = [None if value is None or value < 0 else names[value] for value in values]
        return known, tuple(dict.fromkeys(names))
    kind = getattr(feature, "dtype", str(feature))
    if kind not in ("string", "large_string") and not kind.startswith(("int", "uint")):
        raise InputError(f"column {column!r} is of type {kind}; labels are needed, as text, whole numbers or a ClassLabel")
    found = sorted({value for value in values if value is not None})
    return [None if value is None else _words(str(value)) for value in values], tuple(
        dict.fromkeys(_words(str(value)) for value in found)
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def label_set(one: Opened) -> LabelSet:
    """Its classes with their class prompts."""
    caption = one.set.caption or caption_of(one.set)
    return LabelSet(one.labels, tuple(caption.replace("{label}", label) for label in one.labels))


def caption_of(chosen: ImageSet) -> str:
    """The set's own class prompt; a configuration may be called anything, as svhn's ``cropped_digits``."""
    if chosen.source == "digits":
        return digits.CAPTIONS[chosen.config or digits.UPRIGHT]
    found = (CAPTIONS.get(name.lower()) for name in (chosen.name, Path(chosen.source).stem))
    return next((caption for caption in found if caption), CAPTION)


def named_again(one: Opened, known: Population) -> Opened:
    """The set with the class names of the population where a rewritten table has lost them and holds their numbers only."""
    labels = known.label_sets[one.set.name].labels if one.set.name in known.label_sets else ()
    numbers = all(answer is None or answer.isdigit() for answer in one.answers)
    if not one.inferred or not numbers or any(label.isdigit() for label in labels):
        return one
    names = {str(number): label for number, label in enumerate(labels)}
    return one._replace(answers=[None if answer is None else names.get(answer, answer) for answer in one.answers])


def picture(chosen: ImageSet, row: int, cell: dict[str, Any] | None) -> bytes:
    """A picture as it is stored, once it has been decoded."""
    try:
        found = stored(cell)
        shown(found, coarse=True)
        return found
    except (OSError, ValueError) as error:
        raise InputError(
            f"data.sets: {chosen.name}: column {chosen.image!r}, row {row}: no picture ({error}); "
            "whole PNG or JPEG bytes are needed"
        ) from error


def stored(cell: dict[str, Any] | None) -> bytes:
    """The bytes of a picture in the table, or in the file that it names; OSError or ValueError where there are none."""
    if cell is None or (cell["bytes"] is None and cell["path"] is None):
        raise ValueError("it is empty")
    return Path(cell["path"]).read_bytes() if cell["bytes"] is None else bytes(cell["bytes"])
