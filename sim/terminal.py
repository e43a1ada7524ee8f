"""Progress of long work on a terminal; nothing at all where output is not one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

console = Console()
if not console.is_terminal:
    console = Console(width=130)  # a table in a log or a file is not folded
errors = Console(stderr=True)


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
