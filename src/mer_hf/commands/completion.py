"""What a shell is told of how a command line can go on, by argcomplete.

Whoever presses Tab does not wait seconds until torch is loaded. So the options are read from the source of a command,
which writes each of them out, and nothing is imported.
"""

import argparse
import ast
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).parent


def complete(commands: Mapping[str, str]) -> None:
    """Answer the shell, and end the process; needs the extra `complete`.

    Args:
        commands: name -> what it does.
    """
    import argcomplete

    parser = argparse.ArgumentParser(prog="mer-hf")
    each, typed = parser.add_subparsers(), os.environ["COMP_LINE"].split()[1:]
    for name, text in commands.items():
        command = each.add_parser(name, help=text)
        command.add_argument("files", nargs="*")
        for option, is_switch in options_of(name) if typed[:1] == [name] else ():
            command.add_argument(option, action="store_true" if is_switch else "store")
    argcomplete.autocomplete(parser)


def options_of(command: str) -> Iterator[tuple[str, bool]]:
    """The options of a command, and whether each is a switch, without a value."""
    if command in ("train", "prepare"):  # their options are those of a recipe
        recipe = ast.parse((HERE.parent / "training" / "recipe.py").read_text(encoding="utf-8"))
        (told,) = (
            node.value
            for node in recipe.body
            if isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "HELP"
            and isinstance(node.value, ast.Dict)
        )
        names = (ast.literal_eval(key) for key in told.keys if key is not None)
        yield from ((f"--{name.replace('_', '-')}", False) for name in names)
        return
    source = ast.parse((HERE / f"{command.replace('-', '_')}.py").read_text(encoding="utf-8"))
    for call in (node for node in ast.walk(source) if isinstance(node, ast.Call)):
        first = call.args[0] if call.args else None
        if isinstance(first, ast.Constant) and str(first.value).startswith("--"):
            yield str(first.value), any(keyword.arg == "action" for keyword in call.keywords)


__all__ = ["complete", "options_of"]
