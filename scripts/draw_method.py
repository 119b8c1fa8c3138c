"""Draw the pictures of the method for the documentation, from the package's own functions.

    python scripts/draw_method.py FOLDER

The faces are drawn, so anybody may see them; nothing is measured here. `mkdocs build` draws them anew, so they cannot
grow stale.
"""

import argparse
import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from transformers.utils import logging

from mer_hf import RcnVideoProcessor, open_model
from mer_hf.action_units import ACTION_UNITS, displacement
from mer_hf.analysis.pictures import flow_colours
from mer_hf.drawn.embedded import write_example
from mer_hf.drawn.fields import DrawingSettings, draw_fields
from mer_hf.drawn.images import face_crop, still_face
from mer_hf.inspection import ACCENT, INK, QUIET, Examination, draw_curve, draw_flow, draw_picture, examine
from mer_hf.rcn.motion_rcn import moving_pixels
from mer_hf.rcn.temporal_rcn import linear_operator, resize_operator, tim_operator

UNITS = (1, 2, 4, 9, 12, 14, 15, 17)
MASKED = (64, 48)  # height and width of the frames whose moving pixels are kept
FRAMES = 12  # of an input, to which a clip is resampled


def clip(emotion_class: str, processor: RcnVideoProcessor) -> Examination:
    """A clip of a drawn face of about a third of a second, taken as far as its motion."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        write_example(path, emotion_class=emotion_class)
        return examine(str(path), processor)


def draw_path(seen: Examination) -> Figure:
    """From a clip to what the network of 2020 sees: onset and apex, their difference, the flow; motion over time."""
    figure = Figure(figsize=(12, 5.6), dpi=100, layout="constrained")
    grid = figure.add_gridspec(2, 4, height_ratios=(1.6, 1))
    onset, apex = seen.clip.frames[0], seen.clip.frames[seen.apex]
    difference = np.clip(128 + 4.0 * (apex.astype(float) - onset), 0, 255).astype(np.uint8)
    draw_picture(figure.add_subplot(grid[0, 0]), onset, "onset, aligned")
    draw_picture(figure.add_subplot(grid[0, 1]), apex, "apex, aligned")
    draw_picture(figure.add_subplot(grid[0, 2]), difference, "apex - onset, x 4")
    draw_flow(figure.add_subplot(grid[0, 3]), seen)
    draw_curve(figure.add_subplot(grid[1, :]), seen)
    return figure


def draw_appearance() -> Figure:
    """The matrix of moving pixels over time, of one clip; the mask is that of three."""
    processor = RcnVideoProcessor(crop_size=dict(zip(("height", "width"), MASKED, strict=True)))
    seen = [clip(emotion_class, processor) for emotion_class in ("positive", "negative", "surprise")]
    frames, energies = seen[0].clip.frames, np.stack([each.energy for each in seen])
    mask = moving_pixels(energies)
    pixels = frames.transpose(0, 2, 1)[:, mask.T].T.astype(float)  # column by column, as the network keeps them
    figure = Figure(figsize=(11, 3.4), dpi=100, layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 2))
    draw_picture(axes[0], frames[0], "first frame, 64 x 48")
    draw_picture(axes[1], energies.mean(0), "energy, three clips", cmap="magma", vmin=0)
    draw_picture(axes[2], mask, "moving pixels", vmin=0, vmax=1)
    changes = pixels - pixels[:, :1]
    largest = np.percentile(np.abs(changes), 99)
    axes[3].imshow(changes, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest")
    axes[3].set_title(f"{len(pixels)} pixels x {len(frames)} frames, changes", fontsize=9, color=INK)
    axes[3].set_xlabel("frame", fontsize=8)
    axes[3].set_ylabel("pixel", fontsize=8)
    axes[3].tick_params(labelsize=7)
    return figure


def draw_jitter(seen: Examination) -> Figure:
    """Matrices over time, and what each makes of the motion of one clip."""
    curve = torch.from_numpy(seen.curve)
    length = torch.tensor([len(curve)])
    generator = torch.Generator().manual_seed(5)
    dropped = torch.rand(len(curve), generator=generator).argsort() >= round(0.4 * len(curve))
    whole = torch.ones(1, len(curve), dtype=torch.bool)
    operators = {
        "linear": linear_operator(length, FRAMES),
        "TIM": tim_operator(length, FRAMES),
        "Lanczos-3, all frames": resize_operator(whole, FRAMES, ["lanczos3"]),
        "box, 40 % dropped": resize_operator(dropped[None], FRAMES, ["box"]),
        "cubic, 40 % dropped": resize_operator(dropped[None], FRAMES, ["cubic"]),
    }
    figure = Figure(figsize=(11, 4.2), dpi=100, layout="constrained")
    axes = figure.subplots(2, len(operators), sharey="row", height_ratios=(1, 1.1))
    for column, (name, operator) in enumerate(operators.items()):
        matrix = operator[0]
        axes[0, column].imshow(matrix.numpy(), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
        axes[0, column].set_title(name, fontsize=8.5, color=INK)
        axes[0, column].set_xlabel("frame of the clip", fontsize=8)
        _draw_resampled(axes[1, column], curve, matrix)
    axes[0, 0].set_ylabel("frame of the input", fontsize=8)
    axes[1, 0].set_ylabel("motion, grey levels", fontsize=8)
    for each in axes.flat:
        each.tick_params(labelsize=7)
    return figure


def _draw_resampled(axes: Axes, curve: torch.Tensor, matrix: torch.Tensor) -> None:
    axes.plot(np.linspace(0, 1, len(curve)), curve, color=QUIET, linewidth=1, label="clip")
    axes.plot(np.linspace(0, 1, FRAMES), matrix @ curve, "o-", color=ACCENT, markersize=3, linewidth=1, label="R @ X")
    axes.set_xlabel("onset to offset", fontsize=8)
    axes.set_xticks([])
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="upper right")


def draw_action_units() -> Figure:
    """How the skin of a drawn face moves under some action units."""
    side = 220
    face, crop = still_face(3, side, side), face_crop(side, side)
    places = np.arange(side // 22, side, side // 22) / side
    grid = np.stack(np.meshgrid(places, places), -1)
    points = (grid - crop.eyes) * (crop.width, crop.height)
    figure = Figure(figsize=(10, 5.4), dpi=100, layout="constrained")
    for axes, number in zip(figure.subplots(2, len(UNITS) // 2).flat, UNITS, strict=True):
        moved = displacement(points, {number: 1.0})
        seen = np.hypot(*np.moveaxis(moved, -1, 0)) > 0.15
        draw_picture(axes, face, f"AU{number}: {ACTION_UNITS[number].name}")
        start, arrow = grid[seen] * side, moved[seen] * 18
        axes.quiver(*start.T, *arrow.T, color=ACCENT, angles="xy", scale_units="xy", scale=1, width=0.009)
    return figure


def draw_drawn() -> Figure:
    """Fields of motion that a training on drawn motion sees."""
    drawn = draw_fields(12, (56, 56), torch.Generator().manual_seed(4), DrawingSettings())
    figure = Figure(figsize=(10, 3.8), dpi=100, layout="constrained")
    names = ("negative", "positive", "surprise")
    order = drawn.label.argsort(stable=True)
    for axes, index in zip(figure.subplots(2, 6).flat, order.tolist(), strict=True):
        flow = drawn.flow[index].numpy()
        flow = flow - np.median(flow, axis=(1, 2), keepdims=True)
        colours = flow_colours(flow, float(np.percentile(np.hypot(*flow), 99)))
        units = [str(list(ACTION_UNITS)[unit]) for unit in drawn.units[index].nonzero()[:, 0].tolist()]
        draw_picture(axes, colours, f"{names[int(drawn.label[index])]}: AU {', '.join(units)}")
    return figure


def draw_states(seen: Examination) -> Figure:
    """What the packaged network makes of a clip: its input, then the states of its recurrent layer."""
    logging.disable_progress_bar()
    model, processor = open_model("default")
    network = model.networks()[0]
    pixels = processor([seen.clip.frames], align="none", return_tensors="pt")["pixel_values_videos"]
    with torch.no_grad():
        hidden = network(pixels, output_hidden_states=True).hidden_states
    strongest = hidden[1][0].mean((1, 2)).argsort(descending=True)[:4]
    names = ["stem", *(f"y{step}" for step in range(len(hidden) - 2)), "pooled"]
    figure = Figure(figsize=(10, 5.8), dpi=100, layout="constrained")
    axes = figure.subplots(len(strongest), 1 + len(hidden))
    for row, channel in enumerate(strongest.tolist()):
        for column, (name, maps) in enumerate(zip(names, hidden, strict=True), 1):
            draw_picture(axes[row, column], maps[0, channel].numpy(), name if row == 0 else "", cmap="viridis", vmin=0)
        axes[row, 0].set_axis_off()
    for row, name in enumerate(("u", "v", "strain")):
        picture = pixels[0, 0, row].numpy()
        largest = np.abs(picture).max()
        draw_picture(axes[row, 0], picture, f"input: {name}", cmap="RdBu_r", vmin=-largest, vmax=largest)
    return figure


def pictures() -> dict[str, bytes]:
    """All pictures as PNG, by name."""
    seen = clip("positive", RcnVideoProcessor())
    figures = {
        "path": draw_path(seen),
        "appearance": draw_appearance(),
        "jitter": draw_jitter(seen),
        "states": draw_states(seen),
        "action_units": draw_action_units(),
        "drawn": draw_drawn(),
    }
    drawn = {}
    for name, figure in figures.items():
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
        drawn[f"{name}.png"] = file.getvalue()
    return drawn


def main() -> None:
    """Write the pictures into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures().items():
        (folder / name).write_bytes(picture)
        print(folder / name)


if __name__ == "__main__":
    main()
