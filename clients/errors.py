"""The two exceptions that a user may see; their messages say what, where and, if it is known, what would be right."""


class InputError(ValueError):
    """Bad scenario, data, model or run folder. The command line prints the message and exits non-zero."""


class WorkError(RuntimeError):
    """Client work failed twice, and a run cannot go on without it; the message names the clients and the reason."""
