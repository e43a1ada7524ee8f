"""CSV and JSON files as tables of texts, each value as it is written: what other rows hold decides nothing about it.

The readers of ``datasets`` infer a type for a whole column, so that a ``7`` becomes ``7.0`` where another row has no value,
and a date is rewritten once every row has one: a row would change when another one is deleted. Here a CSV value is its
text, and a JSON value is what ``str`` makes of it alone; lists of texts stay lists. Nothing is left in a cache on disk.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

BLOCK = 50_000
"""Rows of which Python objects exist at a time."""

BOM = b"\xef\xbb\xbf"


def read_csv(paths: Sequence[Path], columns: Sequence[str], options: Mapping[str, Any]) -> tuple[pa.Table, list[str]]:
    """Those of the columns that there are, as text, null where there is no value, and the names of all.

    Args:
        options: of pandas' ``read_csv``.

    Raises:
        OSError, ValueError: a file cannot be read.
    """
    import pandas as pd  # type: ignore[import-untyped]

    given = dict(options) | {"dtype": str, "chunksize": BLOCK}
    tables, names = [], dict[str, None]()
    for path in paths:
        with pd.read_csv(path, **given) as blocks:
            for block in blocks:
                names |= dict.fromkeys(map(str, block.columns))
                own = {name: pa.array(block[name], pa.large_string(), from_pandas=True) for name in columns if name in block}
                tables.append(pa.table(own))
    return _joined(tables), list(names)


def read_json(paths: Sequence[Path], columns: Sequence[str]) -> tuple[pa.Table, list[str]]:
    """The same of JSON files, one object per line or a list of objects.

    Raises:
        OSError, ValueError: a file cannot be read, or a column holds both texts and lists.
    """
    names = dict[str, None]()
    values: dict[str, list[Any]] = {name: [] for name in columns}
    blocks: dict[str, list[pa.Array]] = {name: [] for name in columns}
    for path in paths:
        for number, row in enumerate(_objects(path), 1):
            names |= dict.fromkeys(row) if not row.keys() <= names.keys() else {}
            for name, cells in values.items():
                cells.append(row.get(name))
            if number % BLOCK == 0:
                _close(values, blocks)
    _close(values, blocks)
    names = names or dict.fromkeys(columns)  # a file without rows says nothing about its columns
    found = {name: _column(name, arrays) for name, arrays in blocks.items() if name in names}
    return pa.table(found), list(names)


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        if file.read(1024).removeprefix(BOM).lstrip()[:1] == b"[":
            file.seek(0)
            rows = json.load(file)
        else:
            file.seek(0)
            rows = (json.loads(line) for line in file if not line.isspace())
        for row in rows:
            if not isinstance(row, dict):
                raise ValueError(f"{path.name} holds {type(row).__name__} where one object per row is needed")
            yield row


def _close(values: dict[str, list[Any]], blocks: dict[str, list[pa.Array]]) -> None:
    """Turn the values that were collected into Arrow arrays."""
    for name, cells in values.items():
        lists = [_is_texts(cell) for cell in cells if cell is not None]
        if lists and all(lists):
            blocks[name].append(pa.array(cells, pa.large_list(pa.large_string())))
        elif any(lists):
            raise ValueError(f"column {name!r} holds lists and other values")
        else:
            texts = [cell if cell is None or isinstance(cell, str) else str(cell) for cell in cells]
            blocks[name].append(pa.array(texts, pa.large_string()))
        cells.clear()


def _is_texts(cell: Any) -> bool:
    return isinstance(cell, list) and all(isinstance(each, str) for each in cell)


def _column(name: str, arrays: list[pa.Array]) -> pa.ChunkedArray:
    """Blocks put together; one without any value takes the type of the others."""
    kinds = {array.type for array in arrays if array.null_count < len(array)}
    if len(kinds) > 1:
        raise ValueError(f"column {name!r} holds lists and other values")
    kind = kinds.pop() if kinds else pa.large_string()
    return pa.chunked_array([array if array.type == kind else pa.nulls(len(array), kind) for array in arrays], kind)


def _joined(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default").combine_chunks() if tables else pa.table({})
