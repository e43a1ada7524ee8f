"""The manifest of a data set: what a server may know of it, which holds no client's examples."""

from collections.abc import Mapping
from dataclasses import dataclass

from clients.data.shards import Example, LabelSet, Sides


@dataclass(frozen=True)
class Manifest:
    """Names, labels and the public part: all that a server needs, and all that decides a base model.

    Attributes:
        clients: names, in a fixed order.
        label_sets: by the name that examples give; empty where answers are free text.
        public: examples that belong to no client.
        pictures: whether examples are pictures.
        sides: which sides any client has beside training.
        notes: lines for the user, as how many clients were left out and why.
        gone: clients of whom nothing is at the source any more; their data were erased, or they were forgotten.
    """

    clients: tuple[str, ...]
    label_sets: Mapping[str, LabelSet]
    public: tuple[Example, ...]
    pictures: bool
    sides: Sides
    notes: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """What a client's score is: ``accuracy``, or ``answer_probability`` where answers are free text."""
        return "accuracy" if self.label_sets else "answer_probability"
