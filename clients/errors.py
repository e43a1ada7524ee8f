"""The one exception that means "the input is wrong": its message says what, where and what would be right."""


class InputError(ValueError):
    """Bad scenario, data, model or run folder. The command line prints the message and exits non-zero."""
