"""What a model sees of a clip, drawn on one page: face, crop, motion over time, flow and energy.

a video -> RcnVideoProcessor.aligned_clip -> examine: Examination -> draw: a figure, a PNG
                                                              `-> draw_picture, draw_curve, draw_flow: its parts
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mer_hf.analysis.pictures import flow_colours
from mer_hf.rcn.decoding_rcn import stream_video
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.motion_rcn import motion_curve, motion_energy, optical_flow, spot_apex
from mer_hf.rcn.sources_rcn import VideoSource
from mer_hf.rcn.video_processing_rcn import AlignedClip, RcnVideoProcessor

PATCHES = 5  # across a side of the model input; one is about an eye wide
SHIFTS = 3  # a patch, to where the next one lies
SHOWN_UNIT = 0.5  # probability from which an action unit is named
INK, ACCENT, QUIET, GOLD, GREEN = "#1b1f24", "#d1495b", "#8a939c", "#ffd166", "#3ddc97"


@dataclass(frozen=True)
class Examination:
    """What there is to see of a clip.

    Attributes:
        onset: (H, W, 3) uint8, the first frame as it was recorded.
        clip: the aligned crops, grey.
        apex: index of the apex among them.
        spotted: whether the apex was spotted, not given.
        curve: (T,) motion away from rest, which is the first and the last frame, as `motion_curve` gives it.
        flow: (2, H, W) float32, from onset to apex, in pixels of the crop.
        energy: (H, W) in [0, 1], how much each pixel changes.
    """

    onset: np.ndarray
    clip: AlignedClip
    apex: int
    spotted: bool
    curve: np.ndarray
    flow: np.ndarray
    energy: np.ndarray


@dataclass(frozen=True)
class Explanation:
    """What a model makes of a clip, and what of the clip that rests on.

    Attributes:
        scores: class -> score, the likeliest first.
        action_units: the units that moved, as "AU12" -> probability; empty where none did, or the model knows none.
        evidence: (h, w) float32 in the size of a model input: what the log-odds of the first class lose where a patch
            around the place does not move. Below 0, the motion there speaks against the class.
        doubt: why the answer is not confident; empty where it is.
    """

    scores: dict[str, float]
    action_units: dict[str, float]
    evidence: np.ndarray
    doubt: str

    @property
    def label(self) -> str:
        """The likeliest class."""
        return next(iter(self.scores))


def examine(
    source: VideoSource,
    processor: RcnVideoProcessor,
    apex: int | None = None,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
) -> Examination:
    """Take a clip as far as its motion, and keep what is on the way.

    Args:
        source: a video in any form, from onset to offset, that can be read twice (no open file).
        processor: says how the face is aligned; the motion is looked at in the grey crops that flow is computed on.
        apex: index of the apex frame from the onset, where it is known.
        fps: frames per second, where the source does not tell, or tells it wrong.
        start, end: seconds from where to where the expression lasts; all of the video by default.

    Raises:
        VideoError, FaceError, ValueError: as `RcnVideoProcessor.aligned_clip`.
    """
    geometric = processor.with_options(connectivity="geometric", num_channels=3, num_frames=1)
    clip = geometric.aligned_clip(source, apex, fps, start, end)
    onset, _ = next(stream_video(source, fps=fps, start=start))
    spotted = clip.apex is None
    apex = max(1, spot_apex(clip.frames) if spotted else clip.apex)
    return Examination(
        onset=onset,
        clip=clip,
        apex=apex,
        spotted=spotted,
        curve=motion_curve(clip.frames),
        flow=optical_flow(clip.frames[0], clip.frames[apex], geometric.flow),
        energy=motion_energy(clip.frames),
    )


@torch.no_grad()
def explain(
    source: VideoSource,
    model: RcnForVideoClassification,
    processor: RcnVideoProcessor,
    apex: int | None = None,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
) -> Explanation:
    """Classify a clip, then again and again with another patch of the face at rest.

    Args:
        source, apex, fps, start, end: as `examine` takes them.
        model: in evaluation mode.
        processor: that makes its inputs.

    Raises:
        VideoError, FaceError, MerHfError: as `RcnVideoProcessor.clip_sequence`.
    """
    inputs = processor.clip_inputs([processor.clip_sequence(source, apex, fps, start=start, end=end)])
    told, config = model(inputs), model.config
    scores = told.logits[0].double().softmax(0)
    ranked = sorted(zip(config.class_names(), scores.tolist(), strict=True), key=lambda item: -item[1])
    units = [] if told.action_unit_logits is None else told.action_unit_logits[0].double().sigmoid().tolist()
    named = {f"AU{unit}": p for unit, p in zip(config.action_units or (), units, strict=True) if p > SHOWN_UNIT}
    evidence = evidence_of(model, inputs, int(scores.argmax()))
    return Explanation(dict(ranked), named, evidence, config.doubt(ranked[0][1]) or "")


@torch.no_grad()
def evidence_of(model: RcnForVideoClassification, inputs: torch.Tensor, label: int) -> np.ndarray:
    """Where a clip shows its class, by occlusion (Zeiler and Fergus, ECCV 2014): see `Explanation.evidence`.

    At rest, flow is 0, and of grey or colour a frame is as the first is.

    Args:
        model: in evaluation mode.
        inputs: (1, T, C, h, w), as the processor makes them.
        label: number of the class.

    Returns:
        (h, w) float32, the mean over the patches that a place lies in.
    """
    is_flow = model.config.connectivity == "geometric" or model.config.num_channels == 2
    rest = torch.zeros_like(inputs) if is_flow else inputs[:, :1].expand_as(inputs)
    height, width = inputs.shape[-2:]
    side = max(2, round(min(height, width) / PATCHES))
    step = max(1, side // SHIFTS)
    lost, times = np.zeros((2, height, width), np.float32)
    before = _log_odds(model, inputs, label)
    for top in range(1 - side, height, step):
        rows = slice(max(0, top), top + side)
        places = [slice(max(0, left), left + side) for left in range(1 - side, width, step)]
        stilled = inputs.repeat(len(places), 1, 1, 1, 1)
        for clip, columns in zip(stilled, places, strict=True):
            clip[..., rows, columns] = rest[0, ..., rows, columns]
        for columns, after in zip(places, _log_odds(model, stilled, label), strict=True):
            lost[rows, columns] += float(before[0] - after)
            times[rows, columns] += 1
    return lost / times


def _log_odds(model: RcnForVideoClassification, inputs: torch.Tensor, label: int) -> torch.Tensor:
    logits = model(inputs).logits.double()
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], 1)
    return logits[:, label] - others.logsumexp(1)


def draw(seen: Examination, told: Explanation, path: str | Path, title: str) -> None:
    """Draw an examination and an explanation as a PNG of one page.

    Args:
        seen: what `examine` gives.
        told: what `explain` gives of the same clip.
        path: of the picture; its folder exists.
        title: of the page, such as the names of the video and the model.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08)
    figure = Figure(figsize=(12, 9.4), dpi=100, layout=layout, facecolor="white")
    figure.suptitle(f"{title}: {answer_line(told)}", x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    grid = figure.add_gridspec(3, 4, height_ratios=(1.25, 0.8, 1.0))
    _draw_face(figure.add_subplot(grid[0, :2]), seen)
    draw_picture(figure.add_subplot(grid[0, 2]), seen.clip.frames[0], "onset, aligned")
    draw_picture(figure.add_subplot(grid[0, 3]), seen.clip.frames[seen.apex], "apex, aligned")
    draw_curve(figure.add_subplot(grid[1, :]), seen)
    draw_flow(figure.add_subplot(grid[2, 0]), seen)
    _draw_arrows(figure.add_subplot(grid[2, 1]), seen)
    draw_picture(figure.add_subplot(grid[2, 2]), seen.energy, "motion energy", cmap="magma", vmin=0, vmax=1)
    draw_evidence(figure.add_subplot(grid[2, 3]), seen, told)
    figure.savefig(path)


def answer_line(told: Explanation) -> str:
    """The class, the units that moved, and whether the answer is confident, in a line."""
    units = ", ".join(f"{unit} {p:.2f}" for unit, p in told.action_units.items())
    said = [f"{told.label} {told.scores[told.label]:.2f}", units, "not confident" if told.doubt else ""]
    return "; ".join(filter(None, said))


def draw_evidence(axes: Axes, seen: Examination, told: Explanation) -> None:
    """Draw where the evidence for the first class lies, over the aligned apex, on matplotlib's axes."""
    most = float(told.evidence.max())
    draw_picture(axes, seen.clip.frames[seen.apex], f"evidence for {told.label} (log-odds, up to {most:.1f})")
    height, width = seen.clip.frames.shape[1:3]
    evidence = cv2.resize(told.evidence, (width, height), interpolation=cv2.INTER_CUBIC)
    share = np.clip(evidence / max(most, 1e-6), 0, 1)
    axes.imshow(share, cmap="inferno", vmin=0, vmax=1, alpha=0.75 * share)


def draw_picture(
    axes: Axes,
    picture: np.ndarray,
    title: str,
    cmap: str = "gray",
    vmin: float | None = None,
    vmax: float | None = None,
) -> None:
    """Draw a picture, (H, W) grey, in levels or in [0, 1], or (H, W, 3) RGB, on matplotlib's axes.

    `cmap`, `vmin` and `vmax` are those of `Axes.imshow`, for what is grey; levels go from 0 to 255 by default.
    """
    if picture.ndim == 2 and picture.max() > 1 and vmin is None and vmax is None:
        vmin, vmax = 0, 255
    axes.imshow(picture, cmap=cmap, vmin=vmin, vmax=vmax)
    axes.set_title(title, fontsize=9, color=INK)
    axes.set_axis_off()


def _draw_face(axes: Axes, seen: Examination) -> None:
    draw_picture(axes, seen.onset, "onset frame, as recorded")
    face, crop = seen.clip.face.face, cv2.invertAffineTransform(seen.clip.face.frame_to_crop)
    bottom, right = np.array(seen.clip.frames.shape[1:3]) - 0.5
    corners = np.array([(-0.5, -0.5), (right, -0.5), (right, bottom), (-0.5, bottom), (-0.5, -0.5)])
    axes.plot(*(crop[:, :2] @ corners.T + crop[:, 2:]), color=ACCENT, linewidth=1.5)
    if face is not None:
        axes.scatter(*face.landmarks.T, s=1.5, color=GREEN, linewidths=0)
        left, top, right, bottom = face.box
        axes.plot((left, right, right, left, left), (top, top, bottom, bottom, top), color=GOLD, ls="--", linewidth=1)
    height, width = seen.onset.shape[:2]
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def draw_curve(axes: Axes, seen: Examination) -> None:
    """Draw the motion away from rest over seconds, with onset, apex and offset, on matplotlib's axes."""
    seconds = np.arange(len(seen.curve)) / seen.clip.fps
    axes.fill_between(seconds, seen.curve, color=QUIET, alpha=0.25, linewidth=0)
    axes.plot(seconds, seen.curve, color=INK, linewidth=1.5)
    marks = {"onset": 0, f"apex{' (spotted)' if seen.spotted else ''}": seen.apex, "offset": len(seen.curve) - 1}
    top = max(float(seen.curve.max()), 1e-6) * 1.25
    for name, index in marks.items():
        is_apex = name.startswith("apex")
        axes.axvline(seconds[index], color=ACCENT, linewidth=1.2, linestyle="-" if is_apex else ":")
        axes.text(
            seconds[index],
            top * (0.97 if is_apex else 0.85),  # they may lie close together
            f" {name}, frame {index}, {seconds[index]:.3f} s ",
            ha="left" if 2 * index < len(seconds) else "right",
            va="top",
            fontsize=8,
            color=ACCENT,
        )
    axes.set_ylim(0, top)
    axes.set_xlim(seconds[0], seconds[-1])
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_title("motion away from rest, in grey levels", fontsize=9, color=INK, loc="left")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def draw_flow(axes: Axes, seen: Examination) -> None:
    """Draw the flow from onset to apex in colours, with the wheel that explains them, on matplotlib's axes."""
    flow, largest = _without_the_head(seen)
    draw_picture(axes, flow_colours(flow, largest), f"flow, onset to apex (full colour: {largest:.2f} px)")
    _draw_wheel(axes.inset_axes((0.78, 0.78, 0.2, 0.2)))


def _without_the_head(seen: Examination) -> tuple[np.ndarray, float]:
    """The flow as the network sees it, and the length of its longest vectors but for outliers."""
    flow = seen.flow - np.median(seen.flow, axis=(1, 2), keepdims=True)
    return flow, float(np.percentile(np.hypot(*flow), 99))


def _draw_arrows(axes: Axes, seen: Examination) -> None:
    flow, largest = _without_the_head(seen)
    draw_picture(axes, seen.clip.frames[seen.apex], "flow as arrows, lengthened")
    step = flow.shape[1] // 20 or 1
    y, x = np.mgrid[step // 2 : flow.shape[1] : step, step // 2 : flow.shape[2] : step]
    u, v = flow[:, y, x] * (1.6 * step / max(largest, 1e-6))
    axes.quiver(x, y, u, v, color=GOLD, angles="xy", scale_units="xy", scale=1, width=0.005)


def _draw_wheel(axes: Axes) -> None:
    y, x = np.mgrid[-1:1:65j, -1:1:65j]
    wheel = flow_colours(np.stack([x, y]), 1.0)
    axes.imshow(np.dstack([wheel, np.where(np.hypot(x, y) <= 1, 255, 0).astype(np.uint8)]))
    axes.set_axis_off()


__all__ = [
    "Examination",
    "Explanation",
    "answer_line",
    "draw",
    "draw_curve",
    "draw_evidence",
    "draw_flow",
    "draw_picture",
    "evidence_of",
    "examine",
    "explain",
    "flow_colours",
]
