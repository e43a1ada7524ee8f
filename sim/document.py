"""``--format json``: a command's result as one JSON document on stdout, and nothing else there.

What a person reads goes to stderr then, progress and tables too, and so does what libraries and processes that a command
starts print. A command that fails prints its document as well, with what is known by then and the key ``error``.
"""

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from typing import Annotated, Any, get_type_hints

import typer

from clients.errors import InputError, WorkError

OPTION = "format_"


class Format(StrEnum):
    """What a command prints."""

    text = "text"
    json = "json"


_told: dict[str, Any] = {}


def tell(**content: Any) -> None:
    """Add to the document of the command that is running."""
    _told.update(content)


def document(body: Callable[..., None]) -> Callable[..., None]:
    """A command's function with the option ``--format``."""

    @functools.wraps(body)
    def asked(*arguments: Any, **options: Any) -> None:
        if options.pop(OPTION, Format.text) is Format.text:
            body(*arguments, **options)
            return
        with _alone_on_stdout():
            body(*arguments, **options)

    hint = Annotated[Format, typer.Option("--format", help="What is printed: text, or one JSON document.")]
    option = inspect.Parameter(OPTION, inspect.Parameter.KEYWORD_ONLY, default=Format.text, annotation=hint)
    signature = inspect.signature(body)
    asked.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    asked.__annotations__ = get_type_hints(body, include_extras=True) | {OPTION: hint}
    return asked


def said(error: BaseException) -> tuple[str, int] | None:
    """What is said of an error that a user may see, and the exit code; None of a mistake of our own."""
    if isinstance(error, InputError | WorkError):
        return str(error), 1
    if isinstance(error, OSError):  # a full disk, a folder without permission
        return f"{error.filename or 'files'}: {error.strerror or error}", 1
    return ("Stopped.", 130) if isinstance(error, KeyboardInterrupt) else None


def write(content: dict[str, Any]) -> None:
    """Print a document."""
    sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


@contextmanager
def _alone_on_stdout() -> Iterator[None]:
    """Send everything to stderr meanwhile, then print the document."""
    _told.clear()
    try:
        with _stdout_to_stderr():
            yield
    except BaseException as error:
        if not (isinstance(error, typer.Exit | SystemExit)):
            told = said(error)
            tell(error=told[0] if told else f"{type(error).__name__}: {error}")
        raise
    finally:
        write(_told)


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """In this process and in those that it starts."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
