"""Image data sets, one or several: every client has pictures of one of them.

Allotment: clients are dealt to the sets in turn, as in ClAMU's CLIP experiments, where each task is assigned to one of
three data sets; a set that has no part left is passed over. With ``client_column`` a client is whoever the column names,
the ones with most pictures first. Otherwise a set is cut into as many parts of ``maximum`` pictures as it has, so that no
picture is in two of them; under ``label_subsets`` every subset of labels is, and subsets take turns within the set. The
first ``public_clients`` parts in this order are public, the next ``clients`` parts are the clients.

Pictures stay as they are stored (PNG, JPEG, ...); every one that is used is decoded once here to see that it can be.
Captions are CLIP's class prompts, the first of each set's templates in the task arithmetic literature (Ilharco et al.,
2023). Deviation from ClAMU: DTD's 5,640 pictures are not 500 tasks of 110, so a set gives no more clients than it has
pictures for, which the notes say.
"""

import io
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from PIL import Image

from clients.data import digits
from clients.data.dataset import Dataset, Example, LabelSet, Shard
from clients.data.dealing import by_column, by_partitioner, label_subsets, shard
from clients.data.hub import open_table
from clients.data.specs import ImageData, ImageSet, Partitioner
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

T = TypeVar("T")


class _Opened(NamedTuple):
    """An image set's table, the class of each of its rows (None where it has none), and all classes."""

    set: ImageSet
    table: Any
    answers: list[str | None]
    labels: tuple[str, ...]


class _Part(NamedTuple):
    """What may become a client: its name and its rows in the table of its set."""

    client: str
    set: str
    rows: Sequence[int]


def load(spec: ImageData, seed: int) -> Dataset:
    """Clients ``<set>-<i>``, or as ``client_column`` names them, with the set's name before it where there are several.

    Raises:
        InputError: a set, a column or a label is not what it should be, or a picture that is used cannot be decoded.
    """
    opened, queues, notes = [], [], []
    for chosen in spec.sets:
        try:
            one = _open(chosen, spec.client_column)
            parts = _by_column(one, spec) if spec.client_column else _by_partitioner(one, spec, seed)
        except InputError as error:
            reason = str(error).removeprefix("data.source: ").removeprefix("data: ")
            raise InputError(f"data.sets: {chosen.name}: {reason}") from error
        large = [part for part in parts if len(part.rows) >= spec.minimum]
        opened.append(one)
        queues.append(large)
        notes += _left_out(one, len(parts) - len(large), len(parts), spec)
    order = _in_turn(queues)
    names = [part.client for part in order]
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise InputError(f"data.sets: two sets have a client called {twice!r}; give one set another config or source name")
    public = order[: spec.public_clients]
    kept = sorted(order[spec.public_clients :][: spec.clients], key=lambda part: part.client)
    examples = {one.set.name: _examples(one, [*public, *kept], spec.maximum) for one in opened}
    shards = tuple(
        shard(part.client, [examples[part.set][row] for row in part.rows[: spec.maximum]], spec, seed) for part in kept
    )
    allotted = [_allotment(one, public, kept, shards, len(examples[one.set.name])) for one in opened]
    if len(kept) < spec.clients and not spec.client_column:
        notes.append(
            f"A client takes up to data.maximum = {spec.maximum} images; with fewer of them there are more clients."
        )
    return Dataset(
        shards,
        tuple(examples[part.set][row] for part in public for row in part.rows[: spec.maximum]),
        {one.set.name: _label_set(one) for one in opened},
        (*allotted, *notes),
    )


def _open(chosen: ImageSet, client_column: str | None) -> _Opened:
    used = list(dict.fromkeys([chosen.image, chosen.label, *([client_column] if client_column else [])]))
    table = open_table(chosen.source, chosen.config, chosen.split, used).select_columns(used)
    answers, labels = _classes(table, chosen.label)
    if not 2 <= len(labels) <= MOST_LABELS:
        raise InputError(
            f"column {chosen.label!r} holds {len(labels)} different labels; telling pictures apart takes 2 to {MOST_LABELS}"
        )
    return _Opened(chosen, _undecoded(table, chosen.image), answers, labels)


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


def _label_set(one: _Opened) -> LabelSet:
    caption = one.set.caption or _caption(one.set)
    return LabelSet(one.labels, tuple(caption.replace("{label}", label) for label in one.labels))


def _caption(chosen: ImageSet) -> str:
    """The set's own class prompt; a configuration may be called anything, as svhn's ``cropped_digits``."""
    if chosen.source == "digits":
        return digits.CAPTIONS[chosen.config or digits.UPRIGHT]
    found = (CAPTIONS.get(name.lower()) for name in (chosen.name, Path(chosen.source).stem))
    return next((caption for caption in found if caption), CAPTION)


def _by_column(one: _Opened, spec: ImageData) -> list[_Part]:
    """One part per client that the column names, the ones with most pictures first, ties by name."""
    assert spec.client_column is not None
    owners = one.table.select_columns([spec.client_column])[:][spec.client_column]
    usable = [row for row, owner in enumerate(owners) if owner is not None and one.answers[row] is not None]
    dealt = by_column([owners[row] for row in usable])
    before = f"{one.set.name}-" if len(spec.sets) > 1 else ""
    parts = [_Part(before + owner, one.set.name, [usable[i] for i in mine]) for owner, mine in dealt.items()]
    return sorted(parts, key=lambda part: (-len(part.rows), part.client))


def _by_partitioner(one: _Opened, spec: ImageData, seed: int) -> list[_Part]:
    """Parts of a set in the order in which they are taken: those with most pictures first, or subsets of labels in turn."""
    chosen = spec.partitioner or Partitioner(name="iid")
    usable = [row for row, answer in enumerate(one.answers) if answer is not None]
    if chosen.name != "label_subsets":
        parts = _named(one, _dealt(one, usable, chosen, spec, seed))
        return sorted(parts, key=lambda part: -len(part.rows))
    try:
        subsets = label_subsets([str(one.answers[row]) for row in usable], chosen.classes, seed)
    except ValueError as error:
        raise InputError(f"data.partitioner.classes: {error}") from error
    dealt = []
    for subset in map(set, subsets):
        rows = [row for row in usable if one.answers[row] in subset]
        dealt.append(_dealt(one, rows, Partitioner(name="iid"), spec, seed))
    return _named(one, _in_turn(dealt))


def _dealt(one: _Opened, rows: list[int], chosen: Partitioner, spec: ImageData, seed: int) -> list[list[int]]:
    """As many parts as there are ``maximum`` pictures for, but one at least, and no more than are asked for in all."""
    if len(rows) < spec.minimum:  # left out anyway, and partitioners may refuse so few
        return [rows]
    parts = len(chosen.sizes) or min(max(1, len(rows) // spec.maximum), spec.clients + spec.public_clients)
    labels = [str(one.answers[row]) for row in rows]
    return [[rows[i] for i in part] for part in by_partitioner(labels, chosen, parts, spec.minimum, seed)]


def _named(one: _Opened, dealt: Iterable[list[int]]) -> list[_Part]:
    return [_Part(f"{one.set.name}-{i}", one.set.name, rows) for i, rows in enumerate(dealt)]


def _in_turn(queues: Sequence[Sequence[T]]) -> list[T]:
    """The first of each queue, the second of each, and so on; one that has run out is passed over."""
    return [item for item in chain.from_iterable(zip_longest(*queues)) if item is not None]


def _examples(one: _Opened, parts: Iterable[_Part], maximum: int) -> dict[int, Example]:
    """Row number to example, for every row of the set that one of the parts uses."""
    rows = sorted(row for part in parts if part.set == one.set.name for row in part.rows[:maximum])
    cells = one.table.select(rows).select_columns([one.set.image])[:][one.set.image]
    return {
        row: Example("", str(one.answers[row]), _picture(one.set, row, cell), one.set.name)
        for row, cell in zip(rows, cells, strict=True)
    }


def _picture(chosen: ImageSet, row: int, cell: dict[str, Any] | None) -> bytes:
    """A picture as it is stored, once it has been decoded."""
    try:
        if cell is None or (cell["bytes"] is None and cell["path"] is None):
            raise ValueError("it is empty")
        stored: bytes = Path(cell["path"]).read_bytes() if cell["bytes"] is None else cell["bytes"]
        with Image.open(io.BytesIO(stored)) as image:
            image.draft("L", (1, 1))  # a JPEG is read to its end, but only its coarse scale is computed
            image.load()
        return stored
    except Exception as error:  # each of Pillow's decoders raises kinds of its own
        raise InputError(
            f"data.sets: {chosen.name}: column {chosen.image!r}, row {row}: no picture ({error}); "
            "whole PNG or JPEG bytes are needed"
        ) from error


def _left_out(one: _Opened, small: int, parts: int, spec: ImageData) -> list[str]:
    name, unknown = one.set.name, one.answers.count(None)
    notes = [f"{name}: {unknown:,} of {len(one.answers):,} images have no label and are left out."] if unknown else []
    if small:
        notes.append(f"{name}: {small} of {parts} clients have fewer than data.minimum = {spec.minimum} images.")
    return notes


def _allotment(one: _Opened, public: list[_Part], kept: list[_Part], shards: tuple[Shard, ...], used: int) -> str:
    """As ``mnist: 154 clients of 100 + 10 images, 18 public ones, 18,920 of 20,000 images used.``"""
    mine = [each for part, each in zip(kept, shards, strict=True) if part.set == one.set.name]
    sizes = sorted({(len(each.train), len(each.validation)) for each in mine})
    shown = " to ".join(f"{train} + {validation}" for train, validation in dict.fromkeys([*sizes[:1], *sizes[-1:]]))
    clients = f"{len(mine)} client{'s' * (len(mine) != 1)}" + (f" of {shown} images" if mine else "")
    aside = sum(part.set == one.set.name for part in public)
    aside_text = f", {aside} public one{'s' * (aside != 1)}" if aside else ""
    return f"{one.set.name}: {clients}{aside_text}, {used:,} of {len(one.answers):,} images used."
