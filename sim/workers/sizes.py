"""How many jobs one message may hold: as many as keep it short and small, by what was seen of their kind."""

from clients.jobs import Reply

MOST = 64
SECONDS = 20.0
"""Work of one message, so that progress is seen and little is lost with a node."""
BYTES = 256e6
"""Arrays of the replies in one message."""


class Sizes:
    """The longest and the largest reply of each kind of job so far."""

    def __init__(self) -> None:
        self._largest: dict[str, tuple[float, int]] = {}

    def seen(self, kind: str, reply: Reply) -> None:
        """Take note of a reply."""
        if reply.error is None:
            seconds, size = self._largest.get(kind, (0.0, 0))
            mine = sum(array.nbytes for array in reply.arrays.values())
            self._largest[kind] = max(seconds, float(reply.facts.get("seconds", 0.0))), max(size, mine)

    def together(self, kind: str) -> int:
        """How many jobs of a kind may go in one message: one, until the first has come back."""
        if kind not in self._largest:
            return 1
        seconds, size = self._largest[kind]
        return max(1, int(min(MOST, SECONDS / max(seconds, 1e-3), BYTES / max(size, 1))))
