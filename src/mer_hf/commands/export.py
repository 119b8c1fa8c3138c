"""`mer-hf export`: write a network for other programs."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Write the network of a model as one file that needs no mer_hf, for any number of clips at once: ONNX (the extra onnx),
or a .pt2 of torch.export. It begins at the model input. How a video becomes one, face, crop and flow, is not in the
file: scripts/answer_onnx.py shows it from crops on, with numpy, OpenCV and onnxruntime alone. `spotter` takes a moment
at a time, state in and state out."""
EXAMPLE = "mer-hf export default --to onnx --out default.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("model", metavar="MODEL", help="name in the package, folder, or user/name on the Hub")
    parser.add_argument("--to", choices=("onnx", "pt2"), default="onnx", help="%(choices)s (%(default)s)")
    parser.add_argument("--out", metavar="FILE", type=Path, help="the file (the name of the model, in this folder)")


def run(arguments: argparse.Namespace) -> int:
    """Export, and say where it is."""
    from transformers.utils import logging

    from mer_hf.hub.export import FORMATS, export_model

    logging.disable_progress_bar()
    path = arguments.out or Path(Path(arguments.model).name + FORMATS[arguments.to])
    path.parent.mkdir(parents=True, exist_ok=True)
    export_model(arguments.model, path, arguments.to)
    print(f"{path}: {path.stat().st_size:,} bytes")
    return 0
