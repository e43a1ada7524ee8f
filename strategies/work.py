"""Client work, counted: what strategies price themselves in."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Work:
    """Client work, counted.

    Attributes:
        tunings: clients whose vector is derived under a rule.
        mask_steps: gradient steps of learning masks, each on one client's data.
        pooled, pooled_steps, pooled_examples: clients in pools that are trained on together, the gradient steps of that, and
            the examples that they go through.
        evaluations: served models scored on a client, at most, to choose a setting or to tell what they are worth.
        probes: served models shown all of a client's examples, trained on and reported, for the gap to retraining.
        spared: evaluations among these that take no pass over the client's data, as what the frozen model says is there.
    """

    tunings: int = 0
    mask_steps: int = 0
    pooled: int = 0
    pooled_steps: int = 0
    pooled_examples: int = 0
    evaluations: int = 0
    probes: int = 0
    spared: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Work)})

    def __sub__(self, other: "Work") -> "Work":
        return Work(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(Work)})

    def largest(self, other: "Work") -> "Work":
        """Of each kind the larger of both."""
        return Work(**{f.name: max(getattr(self, f.name), getattr(other, f.name)) for f in fields(Work)})

    def gradient_steps(self, steps: int) -> int:
        """Of all of it, with so many steps of a tuning."""
        return self.tunings * steps + self.mask_steps + self.pooled_steps


def pool(steps: int, batch: int, clients: int) -> Work:
    """So many steps on batches of the pooled data of so many clients."""
    return Work(pooled=clients, pooled_steps=steps, pooled_examples=steps * batch) if clients else Work()
