"""`mer-hf inspect`: draw what a model sees of a video."""

import argparse
from pathlib import Path

from mer_hf.commands import CommandError
from mer_hf.hub.models import open_model
from mer_hf.rcn.decoding_rcn import as_batch

DESCRIPTION = """\
Draw a clip on one page: the face and its landmarks on the onset frame, the aligned crop, the motion over time with
onset, apex and offset, the flow from onset to apex, and the pixels that move. Needs matplotlib:
pip install "mer-hf[inspect]\""""
EXAMPLE = "mer-hf inspect clip.mp4 --out report.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("video", metavar="VIDEO", nargs="+", help="a file or address, or the images of one video")
    parser.add_argument("--out", type=Path, default=Path("report.png"), help="the picture (%(default)s)")
    parser.add_argument("--model", default="default", help="the model whose processor is used (%(default)s)")
    parser.add_argument("--align", help="mesh, box or none (as the model)")
    parser.add_argument("--fps", type=float, help="frames per second, where the video says it wrong")
    parser.add_argument("--apex", type=int, help="index of the apex frame, from 0 (spotted)")


def run(arguments: argparse.Namespace) -> int:
    """Draw the page, and say what is on it."""
    try:
        from mer_hf.inspection import draw, examine
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("matplotlib"):
            raise
        raise CommandError('the page is drawn with matplotlib: pip install "mer-hf[inspect]"') from error
    sources, _ = as_batch(arguments.video)
    if len(sources) > 1:
        raise CommandError(f"one video makes a page, got {len(sources)}")
    align = {} if arguments.align is None else {"align": arguments.align}
    processor = open_model(arguments.model).processor.with_options(face_problems="flag", **align)
    seen = examine(sources[0], processor, arguments.apex, arguments.fps)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    draw(seen, arguments.out, title=Path(str(arguments.video[0])).name)
    how = "spotted" if seen.spotted else "given"
    print(f"{len(seen.clip.frames)} frames at {seen.clip.fps:.1f} a second, apex {how} at frame {seen.apex}")
    print("\n".join(seen.clip.problems) or "nothing is wrong with the clip")
    print(f"drawn in {arguments.out}")
    return 0
