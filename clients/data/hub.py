"""Opens tables alike, whether ``source`` is embedded, a hub id, a folder in hub layout, or one file."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from clients.data import text_files
from clients.errors import InputError
from clients.exact import digest
from clients.exact.files import blame

FILE_KINDS = {".csv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
EMBEDDED = ("microblog", "forum", "digits")  # modules beside this one whose rows(config) makes the table


def open_table(source: str, config: str | None, split: str, columns: list[str]):  # type: ignore[no-untyped-def]
    """One split as a ``datasets.Dataset``; an embedded table has the split ``train`` only.

    Raises:
        InputError: nothing there, not readable, or a column is missing.
    """
    with _explained(source, config, split):
        try:
            table = _opened(source, config, split)
        except Exception:
            if (table := _with_empty_files(source, config, split)) is None:
                raise
    _check(source, columns, table.column_names)
    return table


def open_texts(source: str, config: str | None, split: str, columns: list[str]) -> pa.Table:
    """The columns of one split in Arrow. Values of local CSV and JSON files are texts, each as it is written.

    Raises:
        InputError: as ``open_table``.
    """
    with _explained(source, config, split):
        read = _read_texts(source, config, split, columns)
    if read is None:
        return open_table(source, config, split, columns).select_columns(columns).with_format("arrow")[:]
    table, names = read
    _check(source, columns, names)
    return table.select(columns)


def _opened(source: str, config: str | None, split: str):  # type: ignore[no-untyped-def]
    import datasets

    path = Path(source).expanduser()
    if source in EMBEDDED:
        return _embedded(source, config, split)
    if path.is_file():
        if path.suffix not in FILE_KINDS:
            raise InputError(f"data.source: {source} is not one of {', '.join(FILE_KINDS)}")
        return datasets.load_dataset(FILE_KINDS[path.suffix], data_files=str(path), split="train")
    if path.is_dir():
        return datasets.load_dataset(str(path), config, split=split, cache_dir=_cache_of(path))
    if source.startswith((".", "/", "~")) or path.suffix in FILE_KINDS or source.count("/") > 1:
        raise InputError(f"data.source: there is no file or folder {source}")
    return datasets.load_dataset(source, config, split=split)


def _read_texts(source: str, config: str | None, split: str, columns: list[str]) -> tuple[pa.Table, list[str]] | None:
    """What local CSV or JSON files hold, and the names of all columns; None where the source is something else."""
    path = Path(source).expanduser()
    if source in EMBEDDED or not path.exists():
        return None
    kind, files, options = (FILE_KINDS.get(path.suffix), [path], {}) if path.is_file() else _files(path, config, split)
    if kind == "csv":
        return text_files.read_csv(files, columns, options)
    if kind == "json":
        return text_files.read_json(files, columns)
    return None


def _files(folder: Path, config: str | None, split: str) -> tuple[str | None, list[Path], dict[str, Any]]:
    """Kind, files of a split and reading options of a folder in hub layout.

    No kind where types are declared, or where the files are such as only the library reads.
    """
    from datasets.packaged_modules.csv.csv import Csv
    from datasets.packaged_modules.json.json import Json

    builder, files = _split_of(folder, config, split)
    plain = all(file.is_file() and file.suffix in (".csv", ".tsv", ".json", ".jsonl", ".ndjson") for file in files)
    if not files or not plain or builder.info.features is not None:
        return None, [], {}
    if isinstance(builder, Csv):
        return "csv", files, builder.config.pd_read_csv_kwargs
    return ("json", files, {}) if isinstance(builder, Json) and builder.config.field is None else (None, [], {})


def _with_empty_files(source: str, config: str | None, split: str):  # type: ignore[no-untyped-def]
    """A table of local parquet files of which some hold no row, which the library refuses; None of any others."""
    import datasets
    import pyarrow.parquet as pq

    path = Path(source).expanduser()
    files = [path] if path.is_file() else _split_of(path, config, split)[1] if path.is_dir() else []
    if not all(file.suffix == ".parquet" and file.is_file() for file in files):
        return None
    if all(pq.read_metadata(file).num_rows for file in files):
        return None
    return datasets.Dataset(pa.concat_tables(pq.read_table(file, partitioning=None) for file in files))


def _split_of(folder: Path, config: str | None, split: str) -> tuple[Any, list[Path]]:
    """The library's reader of a folder in hub layout, and the files of a split, as its README or its names say."""
    import datasets

    builder = datasets.load_dataset_builder(str(folder), config, cache_dir=_cache_of(folder))
    return builder, [Path(file) for file in (builder.config.data_files or {}).get(split, [])]


@contextmanager
def _explained(source: str, config: str | None, split: str) -> Iterator[None]:
    """Errors of reading a source as one sentence for the user."""
    import datasets

    datasets.disable_progress_bars()
    path = Path(source).expanduser()
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the library raises a dozen kinds, with the network's on top
        blame(error, Path(datasets.config.HF_DATASETS_CACHE), "HF_DATASETS_CACHE")
        script = _script(path, error)
        if script:
            raise InputError(
                f"data.source: {source} is script-based ({script}), and datasets no longer runs scripts: it needs a parquet "
                "conversion. On the hub that is usually the repository's branch refs/convert/parquet; download it and "
                "give the folder"
            ) from error
        where = f"{source}" + (f", configuration {config}" if config else "") + f", split {split}"
        hint = " (no such folder here, and the hub was not reached)" if not os.path.exists(path) else ""
        raise InputError(
            f"data.source: cannot open {where}{hint}: {(str(error).strip() or repr(error)).splitlines()[0]}"
        ) from error


def _check(source: str, columns: list[str], names: list[str]) -> None:
    missing = [column for column in columns if column not in names]
    if missing:
        raise InputError(f"data: {source} has no column {', '.join(map(repr, missing))}; its columns are {', '.join(names)}")


def _cache_of(folder: Path) -> str:
    """A cache for this folder as it is now: the library's own takes two folders of one name and README for the same."""
    import datasets

    files = sorted(path for path in folder.resolve().rglob("*") if path.is_file())
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return str(Path(datasets.config.HF_DATASETS_CACHE) / f"unmerge-{digest.of_json(stats)[:24]}")


def _embedded(source: str, config: str | None, split: str):  # type: ignore[no-untyped-def]
    import datasets

    if split != "train":
        raise InputError(f"data.split: {source} has no split {split!r}, only 'train'")
    return datasets.Dataset.from_list(importlib.import_module(f"clients.data.{source}").rows(config))


def _script(path: Path, error: Exception) -> str:
    """Name of the loading script that the library stumbled over, or that is all there is in a folder; else empty."""
    found = str(error).partition("scripts are no longer supported, but found ")[2].strip()
    if found:
        return found
    kinds = {file.suffix for file in path.rglob("*") if file.is_file()} if path.is_dir() else set()
    return next((file.name for file in sorted(path.glob("*.py"))), "") if kinds <= {".py", ".md", ""} else ""
