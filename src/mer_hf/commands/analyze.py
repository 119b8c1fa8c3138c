"""`mer-hf analyze`: find the events in long videos, and write tables, pages and files for annotators."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mer_hf.commands import CommandError
from mer_hf.exports import FORMATS

if TYPE_CHECKING:
    from mer_hf.analysis.results import Analysis

DESCRIPTION = """\
Watch every face of every video, find its micro-expressions, and name them. A video is a file, an address, a pattern, a
folder of videos, or a folder that holds the images of one. In the folder of results: events.csv (a row an event),
spans.csv (what could not be judged, and why; blinks and speech), files.csv (a row a video), and a page for each video.
A bad file is named, and the others go on; started again, it goes on with what is not done. Nothing leaves the machine.
The exit status is 1 where nothing of some video could be watched."""
EXAMPLE = "mer-hf analyze interviews/ --out results --export eaf --num-proc 2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("videos", metavar="VIDEO", nargs="+", help="files, addresses, patterns, folders")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the results")
    parser.add_argument("--start", type=float, help="seconds from which on to watch (the beginning)")
    parser.add_argument("--end", type=float, help="seconds until which to watch (the end)")
    parser.add_argument("--segments", metavar="CSV", type=Path, help="file, start, end: only classify these")
    parser.add_argument("--faces", default="all", help="all, largest, or how many of the largest (%(default)s)")
    parser.add_argument("--kinds", default="micro,macro", help="kinds of events, with commas (%(default)s)")
    parser.add_argument("--min-score", type=float, help="least score of an event (the model's)")
    parser.add_argument("--fps", type=float, help="frames per second, where a video says it wrong")
    parser.add_argument("--export", default="", help=f"with commas: {', '.join(FORMATS)}")
    parser.add_argument(
        "--curves", action="store_true", help="also curves.parquet, what the network says of each moment"
    )
    parser.add_argument(
        "--pictures",
        action=argparse.BooleanOptionalAction,
        help="faces on the pages (of all videos but those in a folder named as a gated corpus)",
    )
    parser.add_argument("--model", default="default", help="folder or name of the model (the one in the package)")
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:0")
    parser.add_argument("--num-proc", type=int, default=1, help="number of processes, a video each (%(default)s)")
    parser.add_argument(
        "--part-seconds", type=float, default=600.0, help="a video of twice as long is watched in parts (%(default)g)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Watch, and say what came out."""
    from transformers.utils import logging

    from mer_hf.analysis.results import analyze
    from mer_hf.analysis.watching import Options

    logging.disable_progress_bar()
    options = Options(
        arguments.start,
        arguments.end,
        arguments.fps,
        _faces(arguments.faces),
        tuple(filter(None, arguments.kinds.split(","))),
        arguments.min_score,
        curves=arguments.curves,
    )
    analysis = analyze(
        arguments.videos,
        arguments.out,
        options,
        tuple(filter(None, arguments.export.split(","))),
        arguments.segments,
        arguments.pictures,
        arguments.model,
        arguments.device,
        arguments.num_proc,
        progress=True,
        part_seconds=arguments.part_seconds,
    )
    if analysis is None:  # one of several processes, and not the first
        return 0
    _say(analysis)
    return 1 if analysis.failed else 0


def _faces(text: str) -> int | None:
    if text in ("all", "largest"):
        return None if text == "all" else 1
    if not text.isdecimal():
        raise CommandError(f"--faces is {text!r}; give all, largest, or a number")
    return int(text)


def _say(analysis: "Analysis") -> None:
    for video, problems in analysis.doubtful.items():
        for problem in problems:
            print(f"mer-hf: {video}: {problem}", file=sys.stderr)
    for video, error in analysis.failed.items():
        print(f"mer-hf: {error if video in error else f'{video}: {error}'}", file=sys.stderr)
    done = analysis.videos - len(analysis.failed)
    print(f"{analysis.events} events in {done} of {analysis.videos} videos; results are in {analysis.folder}")
