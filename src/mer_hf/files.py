"""Files that are written whole or not at all, and tables that people hand in."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from mer_hf.errors import MerHfError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, that is there whole or not at all."""
    unfinished = path.with_name(f".unfinished-{os.getpid()}")
    unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
    unfinished.replace(path)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write values by name as `write_atomically` does."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def read_cells(path: Path, error: type[MerHfError]) -> tuple[pd.DataFrame, int]:
    """A CSV file as text, and how many lines of remarks it begins with: one or none, which begins with "# ".

    Args:
        path: of the file.
        error: what is raised.

    Raises:
        MerHfError: `error`; it is no table.
        OSError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            remarks = int(file.readline().startswith("# "))
            file.seek(0)
            # a class may be called "none"
            return pd.read_csv(file, dtype=str, keep_default_na=False, skiprows=remarks), remarks
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as raised:
        raise error(f"{path} is not a CSV table: {raised}") from raised


def check_columns(table: pd.DataFrame, path: Path, needed: Iterable[str], error: type[MerHfError]) -> None:
    """Refuse a table that lacks a needed column.

    Raises:
        MerHfError: `error`; it does.
    """
    missing = [column for column in needed if column not in table]
    if missing:
        raise error(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(table.columns)}")


__all__ = ["check_columns", "read_cells", "write_atomically", "write_json"]
