"""One processor for training clips and for the pipeline's videos: a video in any form -> `pixel_values_videos`.

    source -> load_video -> crop_frames -> clip_sequence: what a clip is before its time is resampled
                                              -> model_input: time resampled (or jittered), scaled, (B, T, C, H, W)

The halves meet at `ClipSequence`, which training keeps in memory: the second half runs in every step, on the device.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from transformers import BaseVideoProcessor, BatchFeature
from transformers.processing_utils import VideosKwargs

from .decoding_rcn import Video, VideoError, as_batch, load_video
from .motion_rcn import flow_picture, optical_flow, spot_apex
from .temporal_rcn import KERNELS, TemporalJitter, apply_operator, linear_operator, resize_operator, tim_operator

INTERPOLATIONS = ("linear", "tim", *KERNELS)


@dataclass(frozen=True)
class ClipSequence:
    """A clip before its time is resampled.

    Attributes:
        frames: (S, C, H, W): grey or colour crops, uint8; or flow from the onset to the frames around the apex, which
            is the middle one, float32.
        reference: (S', C, H, W): flow from the onset to the frames after it, among which jitter draws another onset.
            Otherwise S' is 0.
    """

    frames: np.ndarray
    reference: np.ndarray


def crop_frames(frames: np.ndarray, size: int) -> np.ndarray:
    """The largest centred square of each frame, resized: (T, H, W[, 3]) uint8 -> (T, size, size[, 3]) uint8."""
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frames[:, top : top + side, left : left + side]
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, (size, size), interpolation=interpolation) for frame in square])


def to_grey(frames: np.ndarray) -> np.ndarray:
    """Luma of colour frames: (T, H, W, 3) uint8 -> (T, H, W) uint8."""
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])


class RcnVideoKwargs(VideosKwargs, total=False):
    """The options of `RcnVideoProcessor`; see there."""

    connectivity: str
    num_channels: int
    interpolation: str
    apex_window: float
    onset_window: float


class RcnVideoProcessor(BaseVideoProcessor):
    """Makes model inputs of videos, of the frames of a corpus, or of ready sequences.

    Args:
        connectivity: as `RcnConfig.connectivity`.
        num_channels: C of a model input; for geometric 2 (u, v) or 3 (with strain), otherwise 1 (grey) or 3 (colour).
        num_frames: T of a model input.
        size: height and width of a model input.
        crop_size: the face crop that flow is computed on, in pixels (geometric only).
        interpolation: how time is resampled to T frames where it is not jittered: `linear`, `tim`, or a kernel of
            `temporal_rcn` (appearance and sequence only).
        apex_window: seconds before and after the apex, from whose frames jitter draws an apex in training (geometric
            only).
        onset_window: seconds after the onset, from whose frames jitter draws an onset in training (geometric only).
        image_mean, image_std: of the values in [0, 1], for backbones that were trained on normalised pictures.

    Raises:
        ValueError: for options outside the above.
    """

    valid_kwargs = RcnVideoKwargs
    model_input_names = ("pixel_values_videos",)
    connectivity = "geometric"
    num_channels = 3
    num_frames = 1
    size = {"height": 60, "width": 60}  # noqa: RUF012 - transformers reads and copies the defaults from the class
    crop_size = {"height": 128, "width": 128}  # noqa: RUF012
    interpolation = "linear"
    apex_window = 0.04
    onset_window = 0.02
    image_mean = 0.0
    image_std = 1.0
    resample = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {self.interpolation!r}")
        channels = {"geometric": (2, 3), "appearance": (1,), "sequence": (1, 3)}
        if self.connectivity not in channels:
            raise ValueError(f"connectivity must be one of {', '.join(channels)}, got {self.connectivity!r}")
        if self.num_channels not in channels[self.connectivity]:
            raise ValueError(
                f"{self.connectivity} takes {channels[self.connectivity]} channels, got {self.num_channels}"
            )

    def clip_sequence(self, video: Video, apex: int | None = None, windows: bool = False) -> ClipSequence:
        """A clip, from onset to offset, before its time is resampled.

        Args:
            video: at least two frames.
            apex: index of its apex frame; spotted where it is None and needed.
            windows: whether to include the frames around apex and onset that jitter draws from.

        Raises:
            VideoError: for a single frame, where there is no motion to see.
            ValueError: for an apex outside the clip.
        """
        total = len(video.frames)
        if total < 2:
            raise VideoError(f"a clip needs at least 2 frames to show a motion, this one has {total}")
        if apex is not None and not 0 <= apex < total:
            raise ValueError(f"apex is frame {apex} of a clip of {total} frames")
        if self.connectivity == "geometric":
            grey = to_grey(crop_frames(video.frames, self.crop_size["height"]))
            apex = max(1, spot_apex(grey) if apex is None else apex)  # the motion needs a frame before its apex
            return self._flow_sequence(grey, apex, video.fps if windows else 0.0)
        height, width = self.size["height"], self.size["width"]
        frames = crop_frames(video.frames, max(height, width))
        if self.num_channels == 1:
            frames = to_grey(frames)[..., None]
        # the face stands upright in its square crop: a narrower input sees its middle columns, as the papers' crops do
        left, top = (frames.shape[2] - width) // 2, (frames.shape[1] - height) // 2
        frames = frames[:, top : top + height, left : left + width]
        return ClipSequence(np.moveaxis(frames, 3, 1), np.empty((0, self.num_channels, height, width), np.uint8))

    def _flow_sequence(self, grey: np.ndarray, apex: int, fps: float) -> ClipSequence:
        onsets = range(min(round(self.onset_window * fps) + 1, apex))
        # as far on one side of the apex as on the other, so that it stays in the middle
        reach = min(round(self.apex_window * fps), apex - len(onsets), len(grey) - 1 - apex)
        size = (self.size["width"], self.size["height"])

        def flows(indices: range) -> np.ndarray:
            fields = [optical_flow(grey[0], grey[index]) for index in indices]
            return np.stack([[cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in f] for f in fields])

        return ClipSequence(flows(range(apex - reach, apex + reach + 1)), flows(onsets))

    def model_input(
        self,
        frames: Tensor,
        lengths: Tensor,
        reference: Tensor,
        reference_lengths: Tensor,
        jitter: TemporalJitter | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Sequences of a padded batch -> model inputs, on their device.

        Args:
            frames: (B, S, C, H, W), as `ClipSequence.frames`, padded.
            lengths: (B,) frame counts.
            reference: (B, S', C, H, W), as `ClipSequence.reference`, padded.
            reference_lengths: (B,) frame counts, all 0 or all positive.
            jitter: draws the operators over time, in training; None resamples by `interpolation`.
            generator: a CPU generator for `jitter`.

        Returns:
            pixel_values_videos, (B, T, C, H, W) float32.
        """
        frames = frames.float()
        if self.connectivity == "geometric":
            if jitter is None:
                apex = frames[torch.arange(len(frames), device=frames.device), lengths // 2]
                return flow_picture(apex[:, None], self.num_channels)
            flow = _drawn_frame(frames, lengths, jitter, generator)
            if reference.shape[1]:
                # motion from a later onset is, to first order, the motion from the first frame less that to the onset
                flow = flow - _drawn_frame(reference, reference_lengths, jitter, generator)
            return flow_picture(flow, self.num_channels)
        if jitter is not None:
            operators = jitter(lengths, self.num_frames, generator, frames.shape[1])
        elif self.interpolation == "linear":
            operators = linear_operator(lengths, self.num_frames, frames.shape[1])
        elif self.interpolation == "tim":
            operators = tim_operator(lengths, self.num_frames, frames.shape[1])
        else:
            keep = torch.arange(frames.shape[1], device=lengths.device) < lengths[:, None]
            operators = resize_operator(keep, self.num_frames, [self.interpolation] * len(lengths))
        mean, std = (torch.as_tensor(value, device=frames.device) for value in (self.image_mean, self.image_std))
        return (apply_operator(operators, frames) / 255 - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)

    def preprocess(self, videos: Any, apex: int | None = None, return_tensors: str = "pt") -> BatchFeature:
        """Model inputs of videos.

        Args:
            videos: a video or a list of them, each in any form that `load_video` takes.
            apex: index of the apex frame, where it is known, of every one of the videos.
            return_tensors: `"pt"` or `"np"`.

        Returns:
            `pixel_values_videos`, (B, T, C, H, W) float32.

        Raises:
            VideoError: for a video that cannot be read, or shows a single frame.
        """
        sources, _ = as_batch(videos)
        inputs = []
        for source in sources:
            sequence = self.clip_sequence(load_video(source), apex)
            inputs.append(self.model_input(**collate_sequences([sequence])))
        return BatchFeature({"pixel_values_videos": torch.cat(inputs)}, tensor_type=return_tensors)


def _drawn_frame(clips: Tensor, lengths: Tensor, jitter: TemporalJitter, generator: torch.Generator) -> Tensor:
    """One frame of each jittered clip, drawn evenly: (B, S, C, H, W) -> (B, 1, C, H, W)."""
    operators = jitter(lengths, clips.shape[1], generator, clips.shape[1])
    rows = torch.randint(clips.shape[1], lengths.shape, generator=generator).to(clips.device)
    return apply_operator(operators[torch.arange(len(clips), device=clips.device), rows][:, None], clips.float())


def collate_sequences(sequences: list[ClipSequence]) -> dict[str, Tensor]:
    """Pad sequences to the longest: the tensors that `RcnVideoProcessor.model_input` takes."""
    batch = {}
    for name, lengths_name in (("frames", "lengths"), ("reference", "reference_lengths")):
        parts = [torch.from_numpy(np.ascontiguousarray(getattr(sequence, name))) for sequence in sequences]
        batch[name] = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
        batch[lengths_name] = torch.tensor([len(part) for part in parts])
    return batch


__all__ = ["RcnVideoProcessor"]
