"""Tables of a page that are written by a command: each stands between ``<!-- NAME -->`` and ``<!-- end -->``."""

from collections.abc import Mapping
from pathlib import Path


def with_tables(page: Path, tables: Mapping[str, str]) -> str:
    """The text of a page with each table in its place; a table without a place is an error."""
    text = page.read_text()
    for name, table in tables.items():
        first, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, last = rest.partition("<!-- end -->")
        if not (begin and end):
            raise SystemExit(f"{page}: there is no place <!-- {name} --> for a table")
        text = "".join((first, begin, table, "\n", end, last))
    return text
