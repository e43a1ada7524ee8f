"""A stream that was recorded: CSV or parquet with the columns time, client and, if wanted, rows and kind.

A time is a number of days from the start, or a date or time in ISO form, where ``stream.start`` says when day 0 was; without
a zone it is in that of the start. ``rows`` is how many of its examples are to be forgotten (0 or nothing: all), ``kind``
forget or join.
"""

import csv
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clients.errors import InputError
from sim.stream.arrivals import DIGITS
from sim.stream.clock import DAY

COLUMNS, NEEDED = ("time", "client", "rows", "kind"), ("time", "client")
KINDS = {"": 0, "forget": 0, "join": 1}
Row = tuple[str, str, str, str]


def read(source: str, names: Mapping[str, int], start: date | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Day, client, kind and rows of every request, as ``drawing.Drawn`` has them.

    Args:
        names: the number of every client who may take part.

    Raises:
        InputError: it cannot be read, or a line is wrong; the message names file and line.
    """
    days, clients, kinds, rows = list[float](), list[int](), list[int](), list[int]()
    for where, (time, client, some, kind) in _rows(Path(source)):
        day = _day(time, start, where)
        if days and day < days[-1]:
            raise InputError(
                f"{where}: time {time} is before that of the line above; put requests in the order of their arrival"
            )
        if client not in names:
            raise InputError(
                f"{where}: there is no client {client!r} in this scenario; there are {', '.join(list(names)[:3])}, ..."
            )
        if kind not in KINDS:
            raise InputError(f"{where}: kind {kind!r} is none; write forget or join")
        if not (some or "0").isdecimal():
            raise InputError(f"{where}: rows {some!r} is no number of examples")
        days.append(day)
        clients.append(names[client])
        kinds.append(KINDS[kind])
        rows.append(int(some or "0"))
    return (
        np.array(days, dtype=np.float64),
        np.array(clients, dtype=np.int64),
        np.array(kinds, dtype=np.int64),
        np.array(rows, dtype=np.int64),
    )


def _day(text: str, start: date | None, where: str) -> float:
    try:
        day = float(text)
    except ValueError:
        day = _since(text, start, where)
    if not 0 <= day < float("inf"):
        raise InputError(f"{where}: time {text} is not after day 0")
    return round(day, DIGITS)


def _since(text: str, start: date | None, where: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{where}: time {text!r} is neither a number of days nor a date") from error
    if start is None:
        raise InputError(f"{where}: time {text} is a date, and stream.start does not say when day 0 was")
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return (moment - datetime(start.year, start.month, start.day)).total_seconds() / DAY


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Where a request stands, and its values as text."""
    try:
        yield from _parquet(path) if path.suffix == ".parquet" else _csv(path)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise InputError(f"stream.arrivals.source: {path}: cannot be read ({error})") from error


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        _check(header, f"{path}, line 1")
        places = [header.index(name) if name in header else None for name in COLUMNS]
        for cells in reader:
            if len(cells) != len(header):
                raise InputError(f"{path}, line {reader.line_num}: {len(cells)} values for {len(header)} columns")
            time, client, some, kind = ("" if place is None else cells[place].strip() for place in places)
            yield f"{path}, line {reader.line_num}", (time, client, some, kind)


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    file = pq.ParquetFile(path)
    _check(file.schema_arrow.names, str(path))
    number = 0
    for batch in file.iter_batches(columns=[name for name in COLUMNS if name in file.schema_arrow.names]):
        for row in batch.to_pylist():
            number += 1
            time, client, some, kind = ("" if row.get(name) is None else str(row[name]) for name in COLUMNS)
            yield f"{path}, row {number}", (time, client, some, kind)


def _check(header: list[str], where: str) -> None:
    if missing := [name for name in NEEDED if name not in header]:
        raise InputError(f"{where}: there is no column {missing[0]}; a trace has time, client and, if wanted, rows and kind")
    if unknown := [name for name in header if name not in COLUMNS]:
        raise InputError(f"{where}: column {unknown[0]!r} is none of time, client, rows and kind")
