"""The exceptions that a user may see; their messages say what, where and, if it is known, what would be right."""


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
