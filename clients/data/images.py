"""Image data sets, one or several: every client has pictures of one of them.

Allotment: clients are dealt to the sets in turn, as in ClAMU's CLIP experiments, where each task is assigned to one of
three data sets; a set that has no part left is passed over. With ``client_column`` a client is whoever the column names,
the ones with most pictures first. Otherwise a set is cut into as many parts of ``maximum`` pictures as it has, so that no
picture is in two of them; under ``label_subsets`` every subset of labels is, and subsets take turns within the set. The
first ``public_clients`` parts in this order are public, the next ``clients`` parts are the clients.

Every picture that is used is decoded once here to see that it can be. Deviation from ClAMU: DTD's 5,640 pictures are not
500 tasks of 110, so a set gives no more clients than it has pictures for, which the notes say.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple, TypeVar

from clients.data import findings, sides
from clients.data.dataset import Dataset, Example, Shard, recorded
from clients.data.dealing import by_column, by_partitioner, label_subsets, telling_labels
from clients.data.image_sets import Opened, check_labels, decodes, label_set, named_again, of_set, open_set, stored
from clients.data.population import Population
from clients.data.shards import SIDES
from clients.data.specs import ImageData, Partitioner
from clients.data.texts import near_twins
from clients.errors import InputError

T = TypeVar("T")


class _Part(NamedTuple):
    """What may become a client: its name and its rows in the table of its set."""

    client: str
    set: str
    rows: Sequence[int]


def load(spec: ImageData, seed: int, known: Population | None = None) -> Dataset:
    """Clients ``<set>-<i>``, or as ``client_column`` names them, with the set's name before it where there are several.

    Raises:
        InputError: a set, a column or a label is not what it should be, or a picture that is used cannot be decoded.
    """
    if known is not None:
        return recorded(_found(spec, known))
    opened, queues, notes = [], [], []
    for chosen in spec.sets:
        with of_set(chosen):
            one = open_set(chosen, spec.client_column)
            check_labels(one)
            parts = _by_column(one, spec) if spec.client_column else _by_partitioner(one, spec, seed)
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
    named = {one.set.name: one for one in opened}
    drawn = {part.client: _drawn(named[part.set], part, spec.maximum, seed) for part in (*public, *kept)}
    shards = tuple(sides.shard(part.client, drawn[part.client], spec, seed) for part in kept)
    allotted = [_allotment(one, public, kept, shards, drawn) for one in opened]
    if len(kept) < spec.clients and not spec.client_column:
        notes.append(
            f"A client takes up to data.maximum = {spec.maximum} images; with fewer of them there are more clients."
        )
    return Dataset(
        shards,
        tuple(example for part in public for example in drawn[part.client]),
        {one.set.name: label_set(one) for one in opened},
        (*allotted, *notes, *(note for one in opened for note in _telling(one, order, kept))),
        tuple(part.client for part in public),
        _in_order(opened, kept, None if spec.client_column else drawn),
        rows=sum(len(one.answers) for one in opened),
    )


def _found(spec: ImageData, known: Population) -> findings.Findings:
    """The examples of a population, by client where a column names them, else among all pictures."""
    opened = []
    for chosen in spec.sets:
        with of_set(chosen):
            opened.append(named_again(open_set(chosen, spec.client_column), known))
    if spec.client_column is None:
        rows = ([row for row, answer in enumerate(one.answers) if answer is not None] for one in opened)
        pictures = (_as_stored(one, mine) for one, mine in zip(opened, rows, strict=True))
        return findings.by_key(known, spec.source, chain.from_iterable(pictures))
    parts = [part for one in opened for part in _by_column(one, spec)]
    return findings.by_client(known, spec.source, _in_order(opened, parts, None))


def _in_order(
    opened: Sequence[Opened], parts: Sequence[_Part], drawn: Mapping[str, Sequence[Example]] | None
) -> Callable[[str], Iterator[Example]]:
    """Client to its examples in the order of the table, none for who is no part.

    Args:
        drawn: by client those that are meant, if not all.
    """
    named, mine = {one.set.name: one for one in opened}, {part.client: part for part in parts}

    def ordered(client: str) -> Iterator[Example]:
        if (part := mine.get(client)) is not None:
            meant = None if drawn is None else {example.key for example in drawn[client]}
            rows = _as_stored(named[part.set], sorted(part.rows))
            yield from (example for example in rows if meant is None or example.key in meant)

    return ordered


def _as_stored(one: Opened, rows: Sequence[int]) -> Iterator[Example]:
    """Examples of these rows, a block at a time, pictures as they are stored; rows without a picture are passed over."""

    def block(start: int, stop: int) -> Iterator[Example]:
        cells = one.table.select(rows[start:stop]).select_columns([one.set.image])[:][one.set.image]
        for row, cell in zip(rows[start:stop], cells, strict=True):
            try:
                yield Example("", str(one.answers[row]), stored(one.set, row, cell), one.set.name)
            except InputError:
                continue

    return findings.in_blocks(len(rows), block, 256)


def _telling(one: Opened, order: Sequence[_Part], kept: Sequence[_Part]) -> list[str]:
    """The note on classes that one client alone has, where the classes follow from the rows."""
    if not one.inferred:
        return []
    dealt = {part.client: part.rows for part in order if part.set == one.set.name}
    return telling_labels([str(answer) for answer in one.answers], one.labels, dealt, [part.client for part in kept])


def _by_column(one: Opened, spec: ImageData) -> list[_Part]:
    """One part per client that the column names, the ones with most pictures first, ties by name."""
    assert spec.client_column is not None
    usable = [row for row, owner in enumerate(one.owners) if owner is not None and one.answers[row] is not None]
    dealt = by_column([one.owners[row] for row in usable])
    before = f"{one.set.name}-" if len(spec.sets) > 1 else ""
    parts = [_Part(before + owner, one.set.name, [usable[i] for i in mine]) for owner, mine in dealt.items()]
    return sorted(parts, key=lambda part: (-len(part.rows), part.client))


def _by_partitioner(one: Opened, spec: ImageData, seed: int) -> list[_Part]:
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


def _dealt(one: Opened, rows: list[int], chosen: Partitioner, spec: ImageData, seed: int) -> list[list[int]]:
    """As many parts as there are ``maximum`` pictures for, but one at least, and no more than are asked for in all."""
    if len(rows) < spec.minimum:  # left out anyway, and partitioners may refuse so few
        return [rows]
    parts = len(chosen.sizes) or min(max(1, len(rows) // spec.maximum), spec.clients + spec.public_clients)
    labels = [str(one.answers[row]) for row in rows]
    return [[rows[i] for i in part] for part in by_partitioner(labels, chosen, parts, spec.minimum, seed)]


def _named(one: Opened, dealt: Iterable[list[int]]) -> list[_Part]:
    return [_Part(f"{one.set.name}-{i}", one.set.name, rows) for i, rows in enumerate(dealt)]


def _in_turn(queues: Sequence[Sequence[T]]) -> list[T]:
    """The first of each queue, the second of each, and so on; one that has run out is passed over."""
    return [item for item in chain.from_iterable(zip_longest(*queues)) if item is not None]


def _drawn(one: Opened, part: _Part, maximum: int, seed: int) -> list[Example]:
    """The examples of a part that are used, each of which decodes."""
    rows = sorted(part.rows)
    cells = one.table.select(rows).select_columns([one.set.image])[:][one.set.image]
    row_of: dict[str, int] = {}
    examples = []
    for row, cell in zip(rows, cells, strict=True):
        examples.append(Example("", str(one.answers[row]), stored(one.set, row, cell), one.set.name))
        row_of[examples[-1].key] = row
    found = sides.draw(part.client, examples, maximum, seed)
    for example in found:
        decodes(one.set, row_of[example.key], example.image)
    return found


def _left_out(one: Opened, small: int, parts: int, spec: ImageData) -> list[str]:
    name, unknown = one.set.name, one.answers.count(None)
    notes = [f"{name}: {note}" for note in (*one.notes, *near_twins(one.labels))]
    if unknown:
        notes.append(f"{name}: {unknown:,} of {len(one.answers):,} images have no label and are left out.")
    if nobody := sum(owner is None and answer is not None for owner, answer in zip(one.owners, one.answers, strict=False)):
        value = f"value in column {spec.client_column!r}"
        notes.append(f"{name}: {nobody:,} of {len(one.answers):,} images have no {value} and are left out.")
    if small:
        notes.append(f"{name}: {small} of {parts} clients have fewer than data.minimum = {spec.minimum} images.")
    return notes


def _allotment(
    one: Opened, public: list[_Part], kept: list[_Part], shards: tuple[Shard, ...], drawn: Mapping[str, list[Example]]
) -> str:
    """As ``mnist: 154 clients of 100 + 10 images, 18 public ones, 18,920 of 20,000 images used.``"""
    mine = [each for part, each in zip(kept, shards, strict=True) if part.set == one.set.name]
    used = sum(len(drawn[part.client]) for part in (*public, *kept) if part.set == one.set.name)
    there = [side for side in SIDES if any(each.side(side) for each in mine)]
    sizes = sorted({tuple(len(each.side(side)) for side in there) for each in mine})
    shown = " to ".join(" + ".join(map(str, size)) for size in dict.fromkeys([*sizes[:1], *sizes[-1:]]))
    clients = f"{len(mine)} client{'s' * (len(mine) != 1)}" + (f" of {shown} images" if mine else "")
    aside = sum(part.set == one.set.name for part in public)
    aside_text = f", {aside} public one{'s' * (aside != 1)}" if aside else ""
    return f"{one.set.name}: {clients}{aside_text}, {used:,} of {len(one.answers):,} images used."
