"""The exceptions that a user may see; their messages say what, where and, if it is known, what would be right."""

from collections.abc import Sequence

NAMED = 5
"""How many of many a message names."""


class InputError(ValueError):
    """Bad scenario, data, model or run folder. The command line prints the message and exits non-zero."""


class NotFiniteError(InputError):
    """Numbers went out of what a float can hold, as where a step is much too large. It says of whom, and of what."""


class WorkError(RuntimeError):
    """Client work failed twice, and a run cannot go on without it; the message names the clients and the reason."""


def reason_not_finite(error: str) -> str | None:
    """The reason in the error of a reply, ``Kind: reason``, if it is that of numbers that are not finite."""
    kind, _, reason = error.partition(": ")
    return reason if kind == NotFiniteError.__name__ else None


def some(names: Sequence[str], most: int = NAMED) -> str:
    """The first of them by name, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
