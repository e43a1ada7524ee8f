"""What a cell is as text, the same from every kind of file, and whatever the other cells of its column are.

Text stays as it is, and a number of a CSV or JSON file is what is written. A typed column (parquet, the hub) has no writing
of its own: whole numbers are their digits, also where the column is of floats because a cell is empty; other floats have as
many digits as tell them apart; truth values are ``true`` and ``false``; dates are as Python prints them; bytes are UTF-8.
What is nested is JSON. A null and a float that is no number (NaN) are no value.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

TEXT, TEXTS = pa.large_string(), pa.large_list(pa.large_string())
EXACT = 2**53
"""Floats beyond it do not hold every whole number."""


class Number(str):
    """A fraction of a JSON file, as it is written; whole numbers are no trouble."""


def number(written: str) -> Number | None:
    """For ``json.loads``: a number as it is written; NaN is no value."""
    return None if written == "NaN" else Number(written)


def text_of(value: Any) -> str:
    """What one value that is there is as text; see the module."""
    return value if isinstance(value, str) else _nested(value)


def most_frequent(texts: Iterable[str]) -> str:
    """The text that is there most often, the lowest of equals; empty where there is none."""
    counts = Counter(texts)
    return min(counts, key=lambda text: (-counts[text], text), default="")


def _nested(value: Any) -> str:
    match value:
        case Number():
            return value
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case float():
            return str(int(value)) if value.is_integer() and abs(value) <= EXACT else repr(value)
        case dict():
            return "{" + ", ".join(f"{json.dumps(str(k), ensure_ascii=False)}: {_nested(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_nested, value)) + "]"
        case bytes():
            return value.decode()
        case _:
            return str(value)


def as_texts(column: pa.ChunkedArray, classes: Sequence[str] = ()) -> pa.ChunkedArray:
    """A column of any type as texts; one of lists of texts stays one.

    Args:
        classes: names of the numbers that the column holds; -1 means that there is no value.

    Raises:
        ValueError: a value is none of the classes, or bytes are not UTF-8.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return as_texts(column.cast(kind.storage_type), classes)
    if pa.types.is_dictionary(kind):
        return as_texts(column.cast(kind.value_type), classes)
    if classes:
        return _named(as_texts(column), classes)
    if _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return column.cast(TEXT)
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_text(kind.value_type):
        return column.cast(TEXTS)
    if pa.types.is_floating(kind):
        return _floats(column)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column.cast(TEXT)
    texts = [None if value is None else text_of(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, TEXT)])


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _floats(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each at the precision of its type: 0.1 of 32 bits is ``0.1``."""
    own = column.type.to_pandas_dtype()

    def text(value: float | None) -> str | None:
        if value is None or value != value:
            return None
        return text_of(value) if value.is_integer() and abs(value) <= EXACT else str(own(value))

    return pa.chunked_array([pa.array(map(text, column.to_pylist()), TEXT)])


def _named(column: pa.ChunkedArray, classes: Sequence[str]) -> pa.ChunkedArray:
    """Texts of class numbers as the classes' names; a name stays one."""
    names: dict[str, str | None] = {name: name for name in classes}
    names = {str(place): name for place, name in enumerate(classes)} | {"-1": None} | names
    found = pc.unique(column).drop_null().to_pylist()
    strange = [value for value in found if value not in names]
    if strange:
        raise ValueError(f"it holds {strange[0]!r}, which is neither a class nor a class's number; there are {len(classes)}")
    named = pa.array([names[value] for value in found], TEXT)
    places = pc.index_in(column, value_set=pa.array(found, TEXT))
    return pa.chunked_array([named.take(chunk) for chunk in places.chunks], TEXT)
