"""Tables of a page that are written by a command: each stands between ``<!-- NAME -->`` and ``<!-- end -->``."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown: these headings, and the cells of each row."""
    return "\n".join([_line(heads), "|---" * len(heads) + "|", *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {each} |" if each else " |" for each in cells)


def cell(values: Sequence[float]) -> str:
    """``0.812 ± 0.004``: mean and standard deviation over seeds; a dash where there is nothing."""
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def with_tables(page: Path, tables: Mapping[str, str]) -> str:
    """The text of a page with each table in its place; a table without a place is an error."""
    text = page.read_text()
    for name, made in tables.items():
        first, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, last = rest.partition("<!-- end -->")
        if not (begin and end):
            raise SystemExit(f"{page}: there is no place <!-- {name} --> for a table")
        text = "".join((first, begin, made, "\n", end, last))
    return text
