"""Opens tables alike, whether ``source`` is embedded, a hub id, a folder in hub layout, or one file."""

import importlib
import os
from pathlib import Path

from clients.errors import InputError
from clients.exact import digest

FILE_KINDS = {".csv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
EMBEDDED = ("microblog", "forum", "digits")  # modules beside this one whose rows(config) makes the table


def open_table(source: str, config: str | None, split: str, columns: list[str]):  # type: ignore[no-untyped-def]
    """One split as a ``datasets.Dataset``; an embedded table has the split ``train`` only.

    Raises:
        InputError: nothing there, not readable, or a column is missing.
    """
    import datasets

    datasets.disable_progress_bars()
    path = Path(source).expanduser()
    try:
        if source in EMBEDDED:
            table = _embedded(source, config, split)
        elif path.is_file():
            if path.suffix not in FILE_KINDS:
                raise InputError(f"data.source: {source} is not one of {', '.join(FILE_KINDS)}")
            table = datasets.load_dataset(FILE_KINDS[path.suffix], data_files=str(path), split="train")
        elif path.is_dir():
            table = datasets.load_dataset(str(path), config, split=split, cache_dir=_cache_of(path))
        elif source.startswith((".", "/", "~")) or path.suffix in FILE_KINDS or source.count("/") > 1:
            raise InputError(f"data.source: there is no file or folder {source}")
        else:
            table = datasets.load_dataset(source, config, split=split)
    except InputError:
        raise
    except Exception as error:  # the library raises a dozen kinds, with the network's on top
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
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise InputError(
            f"data: {source} has no column {', '.join(map(repr, missing))}; its columns are {', '.join(table.column_names)}"
        )
    return table


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
