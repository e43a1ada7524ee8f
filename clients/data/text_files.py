"""CSV, JSON and parquet files as tables of texts, each value as it is written, whatever other rows hold.

The readers of ``datasets`` infer a type for a whole column, so that a ``7`` becomes ``7.0`` where another row has no value,
and a date is rewritten once every row has one: a row would change when another one is deleted. They also take words such as
``None`` and ``NA`` for gaps. Here a CSV value is its text, and only an empty cell is a gap; a JSON number is what is
written; values of parquet files are made texts one by one (``clients.data.cells``). Lists of texts stay lists. Nothing is
left in a cache on disk.
"""

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa

from clients.data import cells
from clients.data.cells import TEXT, TEXTS

KINDS = {".csv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet", ".tsv": "csv", ".ndjson": "json"}
"""Kinds of files by suffix; all but parquet may be gzipped, as ``.csv.gz``."""

BLOCK = 50_000
"""Rows of which Python objects exist at a time."""

JSON = json.JSONDecoder(parse_float=cells.Number, parse_constant=cells.number)

Classes = Mapping[str, tuple[str, ...]]
"""Column to the names of the class numbers that it holds."""


class Dialect(NamedTuple):
    """How text files are written, where a scenario says it.

    Attributes:
        delimiter: between the cells of a CSV file.
        encoding: of CSV and JSON files, by Python's name.
        columns: names of the columns of CSV files that have no header.
    """

    delimiter: str | None = None
    encoding: str | None = None
    columns: tuple[str, ...] | None = None


class Texts(NamedTuple):
    """Columns read as texts.

    Attributes:
        table: those of the columns asked for that there are, null where there is no value.
        names: of all columns.
        classes: of columns of classes, their names in the column's order.
        notes: lines for the user.
        rows: how many were read, with those that were left out since.
    """

    table: pa.Table
    names: list[str]
    classes: dict[str, tuple[str, ...]]
    notes: list[str]
    rows: int = 0


def kind_of(file: Path) -> str | None:
    """``csv``, ``json`` or ``parquet`` by a file's suffix; None for others."""
    name = file.name.lower()
    kind = KINDS.get(Path(name.removesuffix(".gz")).suffix)
    return None if kind == "parquet" and name.endswith(".gz") else kind


def read(
    kind: str,
    paths: Sequence[Path],
    columns: Sequence[str],
    dialect: Dialect,
    options: Mapping[str, Any],
    classes: Classes,
) -> Texts:
    """Files of one kind as one table.

    Args:
        options: of pandas' ``read_csv``, as a folder's README has them; what the dialect says goes before them.
        classes: as a folder's README has them; a parquet file's own go before them.

    Raises:
        OSError, ValueError: a file cannot be read.
    """
    if kind == "parquet":
        return _read_parquet(paths, columns, classes)
    if kind == "csv":
        table, names = _read_csv(paths, columns, dialect, options)
    else:
        table, names = _read_json(paths, columns, dialect.encoding or "utf-8")
    mine = {name: classes[name] for name in table.column_names if name in classes}
    for name, known in mine.items():
        table = table.set_column(table.column_names.index(name), name, _texts(table[name], name, known))
    return Texts(table, names, mine, [])


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables put together, null where one lacks a column of another."""
    return pa.concat_tables(tables, promote_options="default").combine_chunks() if tables else pa.table({})


def _read_csv(
    paths: Sequence[Path], columns: Sequence[str], dialect: Dialect, options: Mapping[str, Any]
) -> tuple[pa.Table, list[str]]:
    import pandas as pd

    words = options.get("na_values") or []
    gaps = {"na_values": ["", *([words] if isinstance(words, str) else words)], "keep_default_na": False}
    tables, names = [], dict[str, None]()
    for path in paths:
        given = {"sep": _separator(path)} | dict(options) | gaps | {"dtype": str, "chunksize": BLOCK}
        given |= {"sep": dialect.delimiter} if dialect.delimiter else {}
        given |= {"encoding": dialect.encoding or options.get("encoding") or "utf-8"}
        given |= {"header": None, "names": list(dialect.columns)} if dialect.columns else {}
        try:
            _refuse_doubles(path, columns, given)
            with pd.read_csv(path, **given) as blocks:
                for block in blocks:
                    if not isinstance(block.index, pd.RangeIndex):  # pandas would take the first columns for row names
                        more = len(block.columns) + block.index.nlevels
                        raise ValueError(f"the first row has {more} cells, and there are {len(block.columns)} columns")
                    names |= dict.fromkeys(map(str, block.columns))
                    own = {name: pa.array(block[name], TEXT, from_pandas=True) for name in columns if name in block}
                    tables.append(pa.table(own))
        except UnicodeDecodeError as error:
            raise _not_text(path, given["encoding"]) from error
        except ValueError as error:
            raise ValueError(f"{path.name}: {_plainly(error)}") from error
    return joined(tables), list(names)


def _separator(path: Path) -> str:
    return "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ","


def _refuse_doubles(path: Path, columns: Sequence[str], given: Mapping[str, Any]) -> None:
    """ValueError where two columns have one name that is used: pandas would rename the second without a word."""
    import pandas as pd

    if given.get("names") or given.get("header", "infer") != "infer":
        return
    rest = {key: value for key, value in given.items() if key != "chunksize"}
    first = pd.read_csv(path, **(rest | {"header": None, "nrows": 1}))
    header = first.iloc[0].tolist() if len(first) else []
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise ValueError(f"{header.count(twice[0])} columns are called {twice[0]!r}; give each a name of its own")


def _plainly(error: ValueError) -> str:
    """What pandas says of a row that it cannot read, in a user's words."""
    text = str(error).strip().removeprefix("Error tokenizing data. C error: ")
    if found := re.fullmatch(r"Expected (\d+) fields in line (\d+), saw (\d+)", text):
        return f"line {found[2]}: {found[3]} cells, and there are {found[1]} columns"
    if found := re.fullmatch(r"EOF inside string starting at row (\d+)", text):
        return f"line {int(found[1]) + 1}: a quoted cell has no end"
    return text


def _read_json(paths: Sequence[Path], columns: Sequence[str], encoding: str) -> tuple[pa.Table, list[str]]:
    """Of files with one object per line, or a list of objects."""
    names = dict[str, None]()
    values: dict[str, list[Any]] = {name: [] for name in columns}
    blocks: dict[str, list[pa.Array]] = {name: [] for name in columns}
    for path in paths:
        for row, found in enumerate(_objects(path, encoding), 1):
            names |= dict.fromkeys(found) if not found.keys() <= names.keys() else {}
            for name, mine in values.items():
                mine.append(found.get(name))
            if row % BLOCK == 0:
                _close(values, blocks)
    _close(values, blocks)
    names = names or dict.fromkeys(columns)  # a file without rows says nothing about its columns
    made = {name: _column(name, arrays) for name, arrays in blocks.items() if name in names}
    return pa.table(made), list(names)


def _objects(path: Path, encoding: str) -> Iterator[dict[str, Any]]:
    try:
        with _opened(path, encoding) as file:
            listed = file.read(1024).lstrip()[:1] == "["
            file.seek(0)
            for row, found in enumerate(JSON.decode(file.read()) if listed else _lines(file), 1):
                if not isinstance(found, dict):
                    raise ValueError(
                        f"{path.name} holds {type(found).__name__} where one object per row is needed, row {row}"
                    )
                yield found
    except UnicodeDecodeError as error:
        raise _not_text(path, encoding) from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}, line {error.lineno}, column {error.colno}: {error.msg}") from error


def _opened(path: Path, encoding: str) -> IO[str]:
    plain = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    opened: IO[str] = (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rt", encoding=plain, newline="\n")
    return opened


def _lines(file: IO[str]) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        if not line.isspace():
            try:
                yield JSON.decode(line.rstrip("\r\n"))
            except json.JSONDecodeError as error:
                made = json.JSONDecodeError(error.msg, line, error.pos)
                made.lineno, made.colno = number, error.pos + 1
                raise made from error


def _close(values: dict[str, list[Any]], blocks: dict[str, list[pa.Array]]) -> None:
    """Turn the values that were collected into Arrow arrays."""
    for name, mine in values.items():
        lists = [_is_texts(cell) for cell in mine if cell is not None]
        if lists and all(lists):
            blocks[name].append(pa.array(mine, TEXTS))
        elif any(lists):
            raise ValueError(f"column {name!r} holds lists and other values")
        else:
            blocks[name].append(pa.array([None if cell is None else cells.text_of(cell) for cell in mine], TEXT))
        mine.clear()


def _is_texts(cell: Any) -> bool:
    return isinstance(cell, list) and all(type(each) is str for each in cell)


def _column(name: str, arrays: list[pa.Array]) -> pa.ChunkedArray:
    """Blocks put together; one without any value takes the type of the others."""
    kinds = {array.type for array in arrays if array.null_count < len(array)}
    if len(kinds) > 1:
        raise ValueError(f"column {name!r} holds lists and other values")
    kind = kinds.pop() if kinds else TEXT
    return pa.chunked_array([array if array.type == kind else pa.nulls(len(array), kind) for array in arrays], kind)


def _read_parquet(paths: Sequence[Path], columns: Sequence[str], classes: Classes) -> Texts:
    import pyarrow.parquet as pq

    tables, names, known = [], dict[str, None](), dict[str, tuple[str, ...]]()
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                mine = [name for name in columns if name in schema.names]
                table = file.read(columns=mine)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path.name}: {error}") from error
        names |= dict.fromkeys(schema.names)
        its = {name: found for name, found in (dict(classes) | declared(schema)).items() if name in mine}
        known |= {name: tuple(dict.fromkeys((*known.get(name, ()), *found))) for name, found in its.items()}
        tables.append(pa.table({name: _texts(table[name], name, its.get(name, ())) for name in mine}))
    return Texts(joined(tables), list(names), known, [])


def declared(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The classes that ``datasets`` has written into an Arrow schema, by column."""
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return {
        name: tuple(feature["names"])
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }


def _texts(column: pa.ChunkedArray, name: str, classes: Sequence[str]) -> pa.ChunkedArray:
    try:
        return cells.as_texts(column, classes)
    except (ValueError, pa.ArrowException) as error:
        raise ValueError(f"column {name!r}: {error}") from error


def typed(table: pa.Table, classes: Classes) -> pa.Table:
    """A table of any types as one of texts.

    Raises:
        ValueError: a value is none of its column's classes, or bytes are not UTF-8; the message names the column.
    """
    return pa.table({name: _texts(table[name], name, classes.get(name, ())) for name in table.column_names})


def _not_text(path: Path, encoding: str) -> ValueError:
    """An error that names the first line that cannot be decoded."""
    with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as error:
                found = f"byte 0x{line[error.start]:02x} at column {error.start + 1} is not {encoding}"
                return ValueError(f"{path.name}, line {number}: {found}; set data.encoding, as to cp1252 or latin-1")
    return ValueError(f"{path.name}: it is not {encoding}; set data.encoding")
