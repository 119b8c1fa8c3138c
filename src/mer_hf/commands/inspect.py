"""`mer-hf inspect`: draw what a model sees of a video."""

import argparse
from pathlib import Path

from mer_hf.commands import CommandError

DESCRIPTION = """\
Draw a clip on one page: the face and its landmarks on the onset frame, the aligned crop, the motion over time with
onset, apex and offset, the flow from onset to apex, the class and action units that the model names, and where in the
face it finds them: what the log-odds of the class lose where a patch does not move. Needs matplotlib:
pip install "mer-hf[inspect]\""""
EXAMPLE = "mer-hf inspect clip.mp4 --out report.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("video", metavar="VIDEO", nargs="+", help="a file or address, or the images of one video")
    parser.add_argument("--out", type=Path, default=Path("report.png"), help="the picture (%(default)s)")
    parser.add_argument("--model", default="default", help="the model that looks (%(default)s)")
    parser.add_argument("--align", help="mesh, box or none (as the model)")
    parser.add_argument("--fps", type=float, help="frames per second, where the video says it wrong")
    parser.add_argument("--start", type=float, help="seconds from where the expression lasts (the beginning)")
    parser.add_argument("--end", type=float, help="seconds until when it lasts (the end)")
    parser.add_argument("--apex", type=int, help="index of the apex frame, from 0 at the start (spotted)")


def run(arguments: argparse.Namespace) -> int:
    """Draw the page, and say what is on it."""
    try:
        from mer_hf.inspection import answer_line, draw, examine, explain
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("matplotlib"):
            raise
        raise CommandError('the page is drawn with matplotlib: pip install "mer-hf[inspect]"') from error
    from transformers.utils import logging

    from mer_hf.hub.models import open_model
    from mer_hf.rcn.decoding_rcn import as_batch

    logging.disable_progress_bar()
    sources, _ = as_batch(arguments.video)
    if len(sources) > 1:
        raise CommandError(f"one video makes a page, got {len(sources)}")
    align = {} if arguments.align is None else {"align": arguments.align}
    model, processor = open_model(arguments.model)
    processor = processor.with_options(face_problems="flag", **align)
    clip = (arguments.apex, arguments.fps, arguments.start, arguments.end)
    seen = examine(sources[0], processor, *clip)
    told = explain(sources[0], model, processor, *clip)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    name = model.config.name_and_version or Path(arguments.model).name
    draw(seen, told, arguments.out, title=f"{Path(str(arguments.video[0])).name}, {name}")
    how = "spotted" if seen.spotted else "given"
    print(f"{len(seen.clip.frames)} frames at {seen.clip.fps:.1f} a second, apex {how} at frame {seen.apex}")
    print(f"{name}: {answer_line(told)}")
    print("\n".join(seen.clip.problems) or "nothing is wrong with the clip")
    print(f"drawn in {arguments.out}")
    return 0
