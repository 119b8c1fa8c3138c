"""The command line: `mer-hf COMMAND`, one file of this folder a command.

A file holds what the command reads and prints, and calls one public function for the work. It is imported when its
command is given, and what does the work is imported when it runs: `mer-hf --help` and `mer-hf COMMAND --help` answer at
once.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from mer_hf import __version__
from mer_hf.errors import MerHfError

COMMANDS = {
    "predict": "name the micro-expression in videos",
    "analyze": "find the micro-expressions in long videos",
    "watch": "find micro-expressions before a camera, as they happen",
    "inspect": "draw what a model sees of a video",
    "corpora": "list the corpora, or check a copy of one",
    "synthesize": "render the embedded corpus, to try everything with",
    "prepare": "find faces and motion in a corpus once, for every training",
    "train": "train and test a model by a recipe",
    "score": "score a saved model on a corpus",
    "scores": "score the predictions of a run, or of another system",
    "spot-scores": "score the model that finds events on the long recordings of a corpus",
    "compare": "whether two systems differ by more than chance",
    "report": "a page of scores, errors and confidence",
    "audit": "what leaks in a dataset",
    "push": "put a trained model on the Hub",
    "models": "list the models in the package",
    "export": "write a network for other programs: ONNX, or torch.export's",
    "env": "print what a report of a fault needs",
}
OF_A_RECIPE = ("train", "prepare")
"""Commands whose options are those of a recipe, which has a parser of its own."""
INTERRUPTED, CUT_OFF = 130, 141


class CommandError(MerHfError):
    """A command was given something that it cannot work with."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after `mer-hf`; those of the process by default.

    Returns:
        The exit status: 0; 1 where a check found something; 2 with one line on stderr where the input was at fault;
        130 with one line after Ctrl-C; 141 where whoever read what is printed, `head` say, has seen enough.
    """
    if "_ARGCOMPLETE" in os.environ:  # a shell asks how the words so far can go on
        from mer_hf.commands.completion import complete

        complete(COMMANDS)
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["--version"]:
        print(f"mer-hf {__version__}")
        return 0
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0 if argv else 2
    try:
        status = _run(argv[0], argv[1:])
        sys.stdout.flush()
        return status
    except (MerHfError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return CUT_OFF
        print(f"mer-hf: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mer-hf: stopped; what was finished is kept, and the same command goes on from there", file=sys.stderr)
        return INTERRUPTED


def _nobody_reads() -> bool:
    """Whether a line more breaks the pipe as well, and not only one to another process; what is left goes nowhere."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _usage() -> str:
    lines = [f"  {name:{max(map(len, COMMANDS))}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: mer-hf COMMAND ...    (mer-hf COMMAND --help)", "", *lines])


def _run(name: str, argv: list[str]) -> int:
    if name not in COMMANDS:
        raise CommandError(f"there is no command {name!r}; there are {', '.join(COMMANDS)}")
    command = _module_of(name)
    if name in OF_A_RECIPE:
        return command.run(argv)
    parser = parser_of(name, command)
    return command.run(parser.parse_args(argv))


def _module_of(name: str) -> ModuleType:
    return importlib.import_module(f"mer_hf.commands.{name.replace('-', '_')}")


def parser_of(name: str, command: ModuleType) -> argparse.ArgumentParser:
    """The parser of a command: its description, its example, and the options that it adds."""
    parser = argparse.ArgumentParser(
        prog=f"mer-hf {name}",
        description=command.DESCRIPTION,
        epilog=f"example:\n  {command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    return parser
