"""Files that are there whole or not at all."""

import os
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, that is there whole or not at all."""
    unfinished = path.with_name(f".unfinished-{os.getpid()}")
    unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
    unfinished.replace(path)


__all__ = ["write_atomically"]
