"""What a user should know of a data set before anything is made of it, as lines."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from clients.data.shards import SIDES, LabelSet, Shard, Sides
from clients.errors import InputError, some

LABELS_SHOWN = 20


def notes(shards: Sequence[Shard], label_sets: Mapping[str, LabelSet], sides: Sides) -> list[str]:
    """How many examples there are on each side, labels, repeats, and who is in no mean.

    Raises:
        InputError: no client has an example on the side that is reported.
    """
    return [*_sizes(shards), *_labels(shards, label_sets), *_repeats(shards), *_lacking(shards, sides)]


def _sizes(shards: Sequence[Shard]) -> list[str]:
    """As ``40 clients of 30 to 50 examples (median 48): 1,210 train, 190 validation, 480 test.``"""
    if not shards:
        return []
    counts = [len(shard.examples) for shard in shards]
    spread = f"{min(counts)} to {max(counts)} examples (median {median(counts):g})"
    totals = ((side, sum(len(shard.side(side)) for shard in shards)) for side in SIDES)
    sides = ", ".join(f"{total:,} {side}" for side, total in totals if total)
    return [f"{len(shards)} client{'s' * (len(shards) > 1)} of {spread}: {sides}."]


def _labels(shards: Sequence[Shard], label_sets: Mapping[str, LabelSet]) -> list[str]:
    """A line for each label set with how often each label occurs."""
    found = Counter((e.label_set, e.answer) for shard in shards for e in shard.examples)
    lines = []
    for name, labels in label_sets.items():
        shown = [f"{label} {found[name, label]:,}" for label in labels.labels]
        more = f", and {len(shown) - LABELS_SHOWN} more" if len(shown) > LABELS_SHOWN else ""
        lines.append(f"{f'{name}: ' if name else ''}{len(shown)} labels: {', '.join(shown[:LABELS_SHOWN])}{more}.")
    return lines


def _repeats(shards: Sequence[Shard]) -> list[str]:
    """Lines on examples that are there more than once: within a client, and with several clients."""
    holders = Counter(key for shard in shards for key in {example.key for example in shard.examples})
    examples = [example.key for shard in shards for example in shard.examples]
    within = len(examples) - sum(holders.values())
    across = sum(holders[key] > 1 for key in examples)
    lines = []
    if within:
        lines.append(f"{within:,} of {len(examples):,} examples repeat one of the same client; equal ones are on one side.")
    if across:
        lines.append(
            f"{across:,} of {len(examples):,} examples are with more than one client: what is learned of them stays when "
            "one of these is forgotten, so scores of the forgotten stay up. That is no leak."
        )
    return lines


def _lacking(shards: Sequence[Shard], sides: Sides) -> list[str]:
    """Lines on clients who have nothing on a side that has a purpose."""
    count, lines = len(shards), []
    purposes = {sides.chosen_on: "not asked where settings are chosen"} | {sides.reported: "in no mean of scores"}
    for side, purpose in purposes.items():
        without = [shard.client for shard in shards if not shard.side(side)]
        if without and len(without) == count:
            raise InputError(f"data: no client has examples for {side}; each needs more different ones, or larger shares")
        if without:
            lines.append(f"{len(without)} of {count} clients have no {side} examples and are {purpose}: {some(without)}.")
    return lines
