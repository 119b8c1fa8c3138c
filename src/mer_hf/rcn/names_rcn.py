"""Names of classes, corpora and subjects: text in one line, of which everything can be seen."""

import unicodedata

from .errors_rcn import MerHfError

# zero-width joiners belong to scripts and stay; these turn the direction of a text, so that it reads as another one
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_unseen(char: str) -> bool:
    """Whether a character breaks a line, controls something, or turns the direction of a text."""
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _TURNS


def check_name(name: str, what: str) -> str:
    """Give back a name that fits on one line, or refuse it.

    Args:
        name: of a class, a corpus, a subject, a file.
        what: the place where it stands, for the error: "results.json: classes".

    Raises:
        MerHfError: for line breaks, control characters, and characters that turn the direction of the text.
    """
    if any(map(is_unseen, name)):
        raise MerHfError(f"{what}: {name[:80]!r} has a line break or a control character; names have one line of text")
    return name


__all__ = ["check_name", "is_unseen"]
