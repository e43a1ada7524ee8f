"""Opens tables alike, whether ``source`` is a hub id, a folder in hub layout, or one file."""

import os
from pathlib import Path

from clients.errors import InputError

FILE_KINDS = {".csv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}


def open_table(source: str, config: str | None, split: str, columns: list[str]):  # type: ignore[no-untyped-def]
    """One split as a ``datasets.Dataset``.

    Raises:
        InputError: nothing there, not readable, or a column is missing.
    """
    import datasets

    datasets.disable_progress_bars()
    path = Path(source).expanduser()
    try:
        if path.is_file():
            if path.suffix not in FILE_KINDS:
                raise InputError(f"data.source: {source} is not one of {', '.join(FILE_KINDS)}")
            table = datasets.load_dataset(FILE_KINDS[path.suffix], data_files=str(path), split="train")
        elif path.is_dir():
            table = datasets.load_dataset(str(path), config, split=split)
        elif source.startswith((".", "/", "~")) or path.suffix in FILE_KINDS or source.count("/") > 1:
            raise InputError(f"data.source: there is no file or folder {source}")
        else:
            table = datasets.load_dataset(source, config, split=split)
    except InputError:
        raise
    except Exception as error:  # the library raises a dozen kinds, with the network's on top
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
