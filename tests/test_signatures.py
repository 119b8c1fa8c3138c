"""What every function of the package owes its reader: a size that fits a screen, and types that say something."""

import ast
from pathlib import Path

import pytest

import mer_hf

PACKAGE = Path(mer_hf.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
LONGEST = 60
PAINTING = "drawn/portraits/"
"""Pictures of faces are painted stroke by stroke."""


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def too_long(tree):
    return [node.name for node in functions(tree) if node.end_lineno - node.lineno >= LONGEST]


def vague(tree):
    """Public functions that take or give `Any`."""
    found = []
    for node in functions(tree):
        everything = node.args
        arguments = [*everything.posonlyargs, *everything.args, *everything.kwonlyargs]
        arguments += [each for each in (everything.vararg, everything.kwarg) if each is not None]
        annotations = [each for each in (node.returns, *(each.annotation for each in arguments)) if each is not None]
        names = {part.id for each in annotations for part in ast.walk(each) if isinstance(part, ast.Name)}
        if "Any" in names and not (node.name.startswith("_") and not node.name.endswith("__")):
            found.append(node.name)
    return found


@pytest.mark.parametrize("path", FILES)
def test_functions_fit_a_screen_and_public_ones_say_what_they_take(path):
    tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
    assert vague(tree) == []
    if not path.startswith(PAINTING):
        assert too_long(tree) == []


def test_what_is_too_long_or_vague_is_found():
    lines = "\n".join(["def long():", *["    pass"] * LONGEST])
    tree = ast.parse(f"{lines}\ndef vague(a: list[Any]): ...\ndef _own(a: Any): ...\ndef clear(**a: object): ...")
    assert (too_long(tree), vague(tree)) == (["long"], ["vague"])
