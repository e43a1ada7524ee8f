"""What work costs, counted from jobs and replies, whatever the transport and whatever was shared between strategies."""

from dataclasses import asdict, dataclass, field, fields, replace
from itertools import zip_longest
from typing import Any

from clients.jobs import Reply


@dataclass(frozen=True)
class Cost:
    """Price of some client work.

    Attributes:
        gradient_steps: optimizer steps on one batch, a client's or of pooled data; a mask step over n clients counts n.
        parallel_steps: the longest chain of steps that cannot be done at the same time.
        client_tunings: clients fine-tuned; training on pooled data counts everybody in the pool.
        evaluations: served models evaluated on one client's data to choose a setting.
        seconds: of client work, added up over clients.
        bytes_down, bytes_up: sent to and received from clients.
        stages: seconds of each job, by what can be done at the same time and what only afterwards; it is in no record.
    """

    gradient_steps: int = 0
    parallel_steps: int = 0
    client_tunings: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    bytes_down: int = 0
    bytes_up: int = 0
    stages: tuple[tuple[float, ...], ...] = field(default=(), compare=False, repr=False)

    def then(self, other: "Cost") -> "Cost":
        """This work, and the other after it."""
        return Cost(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)})

    def beside(self, other: "Cost") -> "Cost":
        """This work, and the other at the same time on other clients."""
        longest = max(self.parallel_steps, other.parallel_steps)
        stages = tuple(one + two for one, two in zip_longest(self.stages, other.stages, fillvalue=()))
        return replace(self.then(other), parallel_steps=longest, stages=stages)

    @property
    def counted(self) -> dict[str, Any]:
        """What is added up over releases: everything but the stages."""
        return {key: value for key, value in asdict(self).items() if key != "stages"}

    def as_facts(self) -> dict[str, Any]:
        return self.counted | {"seconds": round(self.seconds, 3)}


def of_reply(reply: Reply, down: int, up: int) -> Cost:
    """Cost of one job."""
    counted = {
        f.name: reply.facts.get(f.name, 0) for f in fields(Cost) if f.name != "stages" and not f.name.startswith("bytes")
    }
    return Cost(**counted, bytes_down=down, bytes_up=up, stages=((float(counted["seconds"]),),))
