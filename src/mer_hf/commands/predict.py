"""`mer-hf predict`: name the micro-expression in videos."""

import argparse
import json
import sys

from transformers import pipeline
from transformers.utils import logging

from mer_hf.commands import CommandError
from mer_hf.errors import MerHfError
from mer_hf.hub.connection import first_line
from mer_hf.hub.models import model_folder
from mer_hf.rcn.decoding_rcn import as_batch
from mer_hf.rcn.pipeline_rcn import TASK

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
    parser.add_argument("--json", action="store_true", help="print a JSON object a video and line")


def run(arguments: argparse.Namespace) -> int:
    """Classify one video after the other; those that cannot be read are named on stderr."""
    if arguments.top_k is not None and arguments.top_k < 1:
        raise CommandError(f"--top-k is {arguments.top_k}; it must be 1 or more")
    logging.disable_progress_bar()
    sources, _ = as_batch(arguments.videos)
    folder = model_folder(arguments.model)
    try:
        classify = pipeline(TASK, model=folder)
    except Exception as error:  # whatever a file raises that was cut off, tampered with, or is of something else
        raise CommandError(f"--model {arguments.model} is no model that can be loaded: {first_line(error)}") from error
    status = 0
    for source in sources:
        name = source if isinstance(source, str) else f"{source[0]} ... {source[-1]}"
        try:
            labels = classify(source, top_k=arguments.top_k, align=arguments.align, fps=arguments.fps)
        except MerHfError as error:  # the other videos are still worth their answer
            status = 2
            print(
                json.dumps({"video": name, "error": str(error)}) if arguments.json else f"{name}: {error}",
                file=sys.stderr,
            )
            continue
        if arguments.json:
            print(json.dumps({"video": name, "labels": labels}))
        else:
            print("\n".join([name, *(f"  {label['label']:10}  {label['score']:.4f}" for label in labels)]))
    return status
