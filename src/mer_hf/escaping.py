"""Texts that others wrote, in pages that this package writes: escaped for the place where they stand.

A name (of a class, a corpus, a subject) has one line and nothing that cannot be seen: `check_name` refuses the rest.
What passes is still written by others: `markdown`, `code` and `code_block` keep it from becoming a heading, a link, raw
HTML or a further cell of a table; `html` does so for HTML. YAML needs nothing here: PyYAML quotes what it writes.
"""

import html as html_entities
import re

from mer_hf.rcn.names_rcn import check_name, is_unseen

_BREAKS = re.compile("[\r\n\t\v\f\x1c-\x1e\x85\u2028\u2029]+")
# entities where a backslash would not do: it is one itself, or means something else in code or in a table
_ESCAPES = str.maketrans(
    {**{char: f"\\{char}" for char in "*_[]<>~$#&"}, **{char: f"&#{ord(char)};" for char in "\\`|"}}
)
# what a renderer makes a link of without being asked: addresses, hosts and mail
_LINKED = re.compile(r"://|@|[\w-]\.[a-z]{2}", re.IGNORECASE)


class Markdown(str):
    """Text that is Markdown already, and is not escaped again."""

    __slots__ = ()


def one_line(text: str) -> str:
    """A text with spaces for line breaks, without what cannot be seen."""
    return "".join(char for char in _BREAKS.sub(" ", text) if not is_unseen(char))


def markdown(text: object) -> Markdown:
    """A text as it is, anywhere inside a line of Markdown, cells of a table included.

    Words of which a renderer would make a link are shown as code. `Markdown` is given back unchanged.
    """
    if isinstance(text, Markdown):
        return text
    pieces = re.split(r"([ |\\])", one_line(str(text)))
    return Markdown("".join(code(piece) if _LINKED.search(piece) else piece.translate(_ESCAPES) for piece in pieces))


def code(text: object) -> Markdown:
    """A text as code inside a line of Markdown; as `markdown` where a vertical bar would end a cell even in code."""
    line = one_line(str(text)).strip()
    if "|" in line or not line:
        return markdown(line)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if "`" in (line[0], line[-1]) else ""
    return Markdown(f"{fence}{space}{line}{space}{fence}")


def code_block(text: str, language: str = "") -> Markdown:
    """Lines as a block of code, whose fence is longer than any within it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return Markdown(f"{fence}{language}\n{text}\n{fence}")


def html(text: object) -> str:
    """A text as it is, inside an element of HTML or an attribute in quotes."""
    return html_entities.escape(one_line(str(text)))


def is_web_address(text: str) -> bool:
    """Whether a text is an http or https address and nothing else."""
    return re.fullmatch(r"https?://[\w.-]+(:\d+)?(/[\w./~%?&=#+:@,;-]*)?", text, re.ASCII) is not None


__all__ = ["Markdown", "check_name", "code", "code_block", "html", "is_web_address", "markdown", "one_line"]
