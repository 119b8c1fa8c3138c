"""`mer-hf synthesize`: render the embedded corpus."""

import argparse
from pathlib import Path

from mer_hf.drawn.embedded import synthesize

DESCRIPTION = """\
Render faces whose action units move, and write them as a corpus on disk. The corpora of the field are handed out on
request only; this one needs no request, and trains and tests in minutes."""
EXAMPLE = "mer-hf synthesize corpora/synthetic --subjects 8 --clips 12"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="where to write the corpus")
    parser.add_argument("--subjects", type=int, default=8, help="number of people (%(default)s)")
    parser.add_argument("--clips", type=int, default=12, help="number of clips of each person (%(default)s)")
    parser.add_argument("--fps", type=float, default=200.0, help="frames per second (%(default)s)")
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed renders the same (%(default)s)")
    parser.add_argument("--num-proc", type=int, default=1, help="number of processes that render (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Render, and say where it is."""
    options = dict(vars(arguments))
    folder = synthesize(options.pop("folder"), **options)
    print(f"{arguments.subjects} subjects with {arguments.clips} clips each are in {folder}")
    return 0
