"""Files that are there whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, that is there whole or not at all."""
    unfinished = path.with_name(f".unfinished-{os.getpid()}")
    unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
    unfinished.replace(path)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write values by name as `write_atomically` does."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


__all__ = ["write_atomically", "write_json"]
