"""What a person at a terminal reads: progress of long work (nothing where output is no terminal), lines, bytes in words."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

console = Console()
if not console.is_terminal:
    console = Console(width=130)  # a table in a log or a file is not folded
errors = Console(stderr=True)
NONE = "–"
"""Shown in tables where there is no value."""


@contextmanager
def phase(what: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """A line with a bar while a phase lasts; call the yielded function once per unit of work."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<44}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def say(line: str) -> None:
    """A line for a person who watches; kept quiet where nobody does."""
    if console.is_terminal:
        console.print(line, highlight=False)


def human_bytes(count: float) -> str:
    """Bytes with a decimal unit: ``12.3 MB``."""
    units = ["B", "kB", "MB", "GB", "TB", "PB"]
    while abs(count) >= 999.5 and len(units) > 1:
        count, units = count / 1000, units[1:]
    digits = 0 if units[0] == "B" or abs(count) >= 99.95 else 1
    return f"{count:.{digits}f}".removesuffix(".0") + f" {units[0]}"
