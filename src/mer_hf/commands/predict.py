"""`mer-hf predict`: name the micro-expression in videos."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, cast

from mer_hf.commands import CommandError
from mer_hf.errors import MerHfError

if TYPE_CHECKING:
    from mer_hf.rcn.pipeline_rcn import Answer

DESCRIPTION = """\
Print the labels of each video with their scores, the likeliest first. A video is a file or an http(s) address, cut to
the moment from onset to offset. Images are taken together as the frames of one video."""
EXAMPLE = "mer-hf predict clip.mp4 --model runs/composite --top-k 3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("videos", metavar="VIDEO", nargs="+", help="files or addresses, or the images of one video")
    parser.add_argument("--model", default="default", help="folder of a model, or its name on the Hub (%(default)s)")
    parser.add_argument("--top-k", type=int, help="how many labels to print (all)")
    parser.add_argument("--align", help="mesh, box or none (as the model was trained)")
    parser.add_argument("--fps", type=float, help="frames per second, where a video says it wrong")
    parser.add_argument("--start", type=float, help="seconds from where the expression lasts (the beginning)")
    parser.add_argument("--end", type=float, help="seconds until when it lasts (the end)")
    parser.add_argument("--json", action="store_true", help="print a JSON object a video and line")


def run(arguments: argparse.Namespace) -> int:
    """Classify one video after the other; those that cannot be read are named on stderr."""
    if arguments.top_k is not None and arguments.top_k < 1:
        raise CommandError(f"--top-k is {arguments.top_k}; it must be 1 or more")
    from transformers import pipeline
    from transformers.utils import logging

    from mer_hf.hub.connection import first_line
    from mer_hf.hub.models import model_folder
    from mer_hf.rcn.decoding_rcn import as_batch
    from mer_hf.rcn.pipeline_rcn import TASK

    logging.disable_progress_bar()
    sources, _ = as_batch(arguments.videos)
    options = {name: getattr(arguments, name) for name in ("top_k", "align", "fps", "start", "end")}
    given = {name: value for name, value in options.items() if value is not None}
    folder = model_folder(arguments.model)
    try:
        # ty: ignore[no-matching-overload] - the overloads name transformers' own tasks
        classify = pipeline(TASK, model=folder, on_error="return", **given)
    except Exception as error:  # whatever a file raises that was cut off, tampered with, or is of something else
        raise CommandError(f"--model {arguments.model} is no model that can be loaded: {first_line(error)}") from error
    status = 0
    for source in sources:
        names = [source] if isinstance(source, str) else cast(list[str], source)
        name = names[0] if isinstance(source, str) else f"{names[0]} ... {names[-1]}"
        answer: Answer = classify(source)
        if isinstance(answer, MerHfError):  # the other videos are still worth their answer
            status = 2
        print_answer(name, answer, arguments.json)
    return status


def print_answer(name: str, answer: "Answer", as_json: bool) -> None:
    """Print what is said of a video, or what is wrong with it."""
    if isinstance(answer, MerHfError):
        print(f"mer-hf: {answer}", file=sys.stderr)
        if as_json:
            print(json.dumps({"video": name, "error": str(answer)}))
        return
    problems = answer[0].get("problems", [])
    if as_json:
        labels = [{"label": label["label"], "score": label["score"]} for label in answer]
        said: dict[str, object] = {"video": name, "labels": labels, "problems": problems}
        if "confident" in answer[0]:
            said["confident"] = answer[0]["confident"]
        print(json.dumps(said))
        return
    lines = [f"  {label['label']:10}  {label['score']:.4f}" for label in answer]
    print("\n".join([name, *lines, *(f"  doubtful: {text}" for text in problems)]))
