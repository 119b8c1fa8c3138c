"""One processor for training clips and for the pipeline's videos: a video in any form -> `pixel_values_videos`.

    source -> stream_video -> align_clip -> evenly timed, magnified -> AlignedClip
           -> clip_sequence: what a clip is before its time is resampled
           -> model_input: time resampled (or jittered), scaled, (B, T, C, H, W)

The halves meet at `ClipFrames` and `ClipMotion`, which training keeps in memory: the second half runs in every step, on
the device, on a `FramesBatch` or a `MotionBatch`.
"""

import copy
import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from transformers import BaseVideoProcessor, BatchFeature
from transformers.processing_utils import VideosKwargs
from transformers.utils import cached_file

from .decoding_rcn import VideoError, as_batch, stream_video
from .errors_rcn import MerHfError
from .faces_rcn import ALIGNMENTS, FOLDER, MODELS, PROBLEMS, ClipFace, align_clip
from .motion_rcn import FLOW_METHODS, flow_picture, magnify, optical_flow, spot_apex
from .temporal_rcn import (
    KERNELS,
    TemporalJitter,
    apply_operator,
    linear_operator,
    resize_operator,
    retime_operator,
    tim_operator,
)

CHANNELS = {"geometric": (2, 3), "appearance": (1,), "sequence": (1, 3)}
INTERPOLATIONS = ("linear", "tim", *KERNELS)
FACE_MODELS = (*MODELS, "NOTICE")
"""The files of the face models, which travel with a processor."""
EVEN = 0.5
"""Frames a time may lie off an even grid before the clip is put onto one: below, the container's rounding is enough to
explain it."""
RATED = 11
"""Frames from whose times the rate is told before the face is looked for; containers round them to a millisecond."""
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
"""What `from_pretrained` is told about where and how to look for files."""


@dataclass(frozen=True)
class AlignedClip:
    """The face of a clip, upright and at one size.

    Attributes:
        frames: (S, H, W) grey or (S, H, W, 3) RGB crops, uint8, evenly spaced in time.
        fps: frames per second.
        apex: index of the apex, where it was given.
        face: where it was found, and what is wrong with it.
    """

    frames: np.ndarray
    fps: float
    apex: int | None
    face: ClipFace


@dataclass(frozen=True)
class ClipFrames:
    """A clip before its time is resampled, for the connectivities that look at its pictures.

    Attributes:
        frames: (S, C, H, W) grey or colour crops, uint8.
        problems: what is wrong with the face, where the processor flags it; empty where nothing is.
    """

    frames: np.ndarray
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClipMotion:
    """The motion of a clip before an onset and an apex are drawn, for geometric connectivity.

    Attributes:
        motion: (S, C, H, W) flow from the onset to the frames around the apex, float32.
        apex: index of the flow to the apex in `motion`.
        onsets: (S', C, H, W) flow from the onset to the frames after it, among which jitter draws another onset; S' may
            be 0.
        problems: as of `ClipFrames`.
    """

    motion: np.ndarray
    apex: int
    onsets: np.ndarray
    problems: tuple[str, ...] = ()


class FramesBatch(NamedTuple):
    """`ClipFrames` of a batch: frames (B, S, C, H, W), padded, and how many of them each clip has (B,)."""

    frames: Tensor
    lengths: Tensor


class MotionBatch(NamedTuple):
    """`ClipMotion` of a batch, padded.

    Attributes:
        motion: (B, S, C, H, W), of which each clip has `lengths` (B,), that to its apex at index `apex` (B,).
        onsets: (B, S', C, H, W), of which each clip has `onset_lengths` (B,), all 0 or all positive.
    """

    motion: Tensor
    lengths: Tensor
    apex: Tensor
    onsets: Tensor
    onset_lengths: Tensor


class RcnVideoKwargs(VideosKwargs, total=False):
    """The options of `RcnVideoProcessor`; see there."""

    connectivity: str
    num_channels: int
    align: str
    margin: float
    face_problems: str
    interpolation: str
    flow: str
    magnification: float
    magnification_band: list[float]
    magnification_wavelength: float
    apex_window: float
    onset_window: float


class RcnVideoProcessor(BaseVideoProcessor):
    """Makes model inputs of videos, of the frames of a corpus, or of ready sequences.

    Args:
        connectivity: as `RcnConfig.connectivity`.
        num_channels: C of a model input; for geometric 2 (u, v) or 3 (with strain), otherwise 1 (grey) or 3 (colour).
        num_frames: T of a model input.
        size: height and width of a model input.
        crop_size: of the face crop that flow is computed on, in pixels (geometric only).
        align: `mesh` brings the eyes, nose and mouth of every face to the same places, by one transform a clip; `box`
            cuts out the square around the face; `none` takes the centred square of the picture, for the cropped
            releases of the corpora.
        margin: added on every side of the face crop, as a part of its side; at 0 it goes from the brows to the chin.
        face_problems: `raise` refuses a clip without a face, with several of similar size, with one that is too small
            or leaves the picture; `flag` prepares what there is and says what is wrong.
        interpolation: how time is resampled to T frames where it is not jittered: `linear`, `tim`, or a kernel of
            `temporal_rcn` (appearance and sequence only).
        flow: how motion is measured: `dis`, `farneback` or `tvl1` (geometric only).
        magnification: alpha of Eulerian motion magnification, 0 for none.
        magnification_band: lowest and highest frequency that is magnified, in Hz.
        magnification_wavelength: in pixels of the crop; finer structures are magnified less.
        apex_window: seconds before and after the apex, from whose frames jitter draws an apex in training (geometric
            only).
        onset_window: seconds after the onset, from whose frames jitter draws an onset in training (geometric only).
        image_mean, image_std: of the values in [0, 1], for backbones that were trained on normalised pictures.
        face_models: the folder that holds the face models; found by `from_pretrained`, and not saved.

    Raises:
        ValueError: for options outside the above.
    """

    valid_kwargs = RcnVideoKwargs
    model_input_names = ("pixel_values_videos",)
    connectivity = "geometric"
    num_channels = 3
    num_frames = 1
    size = {"height": 60, "width": 60}  # noqa: RUF012 - transformers copies the defaults from the class
    crop_size = {"height": 128, "width": 128}  # noqa: RUF012
    align = "mesh"
    margin = 0.1
    face_problems = "raise"
    interpolation = "linear"
    flow = "dis"
    magnification = 0.0
    magnification_band = [1.0, 10.0]  # noqa: RUF012 - Hz; a micro-expression of .1 to .5 s is a period or half of one
    magnification_wavelength = 32.0  # a quarter of the crop; at an eighth sensor noise is seen
    apex_window = 0.04
    onset_window = 0.02
    image_mean = 0.0
    image_std = 1.0
    resample = None

    def __init__(self, face_models: str | Path = FOLDER, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.face_models = str(face_models)
        self._check()

    def _check(self) -> None:
        choices = {"connectivity": CHANNELS, "align": ALIGNMENTS, "face_problems": PROBLEMS}
        choices |= {"interpolation": INTERPOLATIONS, "flow": FLOW_METHODS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise MerHfError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.num_channels not in CHANNELS[self.connectivity]:
            raise MerHfError(
                f"{self.connectivity} takes {CHANNELS[self.connectivity]} channels, got {self.num_channels}"
            )
        for name in ("margin", "magnification", "apex_window", "onset_window"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise MerHfError(f"{name} must be 0 or more, got {getattr(self, name)}")

    # --- the face models travel with the processor ---

    @classmethod
    def get_video_processor_dict(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> tuple[dict, dict]:
        """Read the options as transformers does, and find the face models beside them.

        They lie beside this file in mer_hf; but where it came with a model, only Python files were copied here.
        """
        options, unused = super().get_video_processor_dict(pretrained_model_name_or_path, **kwargs)
        options.pop("face_models", None)  # no repository says where they lie on this machine
        if not all((FOLDER / name).exists() for name in FACE_MODELS):
            source = {key: kwargs[key] for key in HUB_OPTIONS if key in kwargs}
            found = [cached_file(str(pretrained_model_name_or_path), name, **source) for name in FACE_MODELS]
            options["face_models"] = str(Path(found[0]).parent)
        return options, unused

    def to_dict(self) -> dict[str, Any]:
        """The options; where the face models lie is a matter of the machine."""
        options = super().to_dict()
        options.pop("face_models")
        return options

    def save_pretrained(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """Save the options and the face models; push both in one commit with `push_to_hub`.

        The keyword arguments are those of the method `push_to_hub`; `repo_id` is the name of the folder by default.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        for name in FACE_MODELS:
            if not (folder / name).exists():
                shutil.copyfile(Path(self.face_models) / name, folder / name)
        saved = super().save_pretrained(save_directory)
        if push_to_hub:  # transformers would only push what it has written itself
            self.push_to_hub(kwargs.pop("repo_id", folder.name), **kwargs)
        return saved

    # --- a clip on its way ---

    def aligned_clip(self, source: Any, apex: int | None = None, fps: float | None = None) -> AlignedClip:
        """Decode a clip frame by frame and cut out its face; full pictures are never all held in memory.

        Args:
            source: a video in any form that `stream_video` takes, from onset to offset.
            apex: index of its apex frame, where it is known.
            fps: frames per second, where the source does not tell, or tells it wrong.

        Raises:
            VideoError: for a video that cannot be read, or a single frame, where there is no motion to see.
            FaceError: for a face that cannot be used, with `face_problems="raise"`.
            ValueError: for an apex outside the clip.
        """
        geometric = self.connectivity == "geometric"
        size = self.crop_size if geometric else self.size
        frames, times = _split(stream_video(source, fps, grey=geometric or self.num_channels == 1))
        opening = list(itertools.islice(frames, RATED))
        if len(opening) < 2:
            raise VideoError(f"a clip needs at least 2 frames to show a motion, this one has {len(opening)}")
        crops, face = align_clip(
            itertools.chain(opening, frames),
            (len(opening) - 1) / times[-1],
            size["height"],
            size["width"],
            self.align,
            self.margin,
            self.face_problems,
            Path(self.face_models),
        )
        total = len(crops)
        if apex is not None and not 0 <= apex < total:
            raise MerHfError(f"apex is frame {apex} of a clip of {total} frames")
        seconds = np.array(times)
        step = seconds[-1] / (total - 1)
        if np.abs(seconds - step * np.arange(total)).max() > EVEN * step:
            crops = _retimed(crops, seconds)
            apex = None if apex is None else round(seconds[apex] / step)
        if self.magnification:
            crops = magnify(crops, 1 / step, self.magnification, self.magnification_band, self.magnification_wavelength)
        return AlignedClip(crops, 1 / step, apex, face)

    def clip_sequence(
        self, source: Any, apex: int | None = None, fps: float | None = None, windows: bool = False
    ) -> ClipFrames | ClipMotion:
        """A clip, from onset to offset, before its time is resampled.

        Args:
            source, apex, fps: as for `aligned_clip`; an unknown apex is spotted where it is needed.
            windows: whether to include the frames around apex and onset that jitter draws from.

        Raises:
            VideoError, FaceError, ValueError: as `aligned_clip`.
        """
        clip = self.aligned_clip(source, apex, fps)
        if self.connectivity != "geometric":
            frames = clip.frames[:, None] if clip.frames.ndim == 3 else np.moveaxis(clip.frames, 3, 1)
            return ClipFrames(frames, clip.face.problems)
        apex = spot_apex(clip.frames) if clip.apex is None else clip.apex
        apex = max(1, apex)  # the motion needs a frame before its apex
        return self._clip_motion(clip, apex, clip.fps if windows else 0.0)

    def _clip_motion(self, clip: AlignedClip, apex: int, fps: float) -> ClipMotion:
        """Flow from the onset to the frames around the apex, and to those after the onset; to the apex alone at 0 fps."""
        grey = clip.frames
        onsets = range(min(round(self.onset_window * fps) + 1, apex) if fps else 0)
        # as far on one side of the apex as on the other, so that jitter favours neither
        reach = min(round(self.apex_window * fps), apex - len(onsets), len(grey) - 1 - apex)
        size = (self.size["width"], self.size["height"])

        def flows(indices: range) -> np.ndarray:
            pictures = np.zeros((len(indices), 2, *size[::-1]), np.float32)  # the onset does not move against itself
            for picture, index in zip(pictures, indices, strict=True):
                for channel, part in enumerate(optical_flow(grey[0], grey[index], self.flow) if index else ()):
                    picture[channel] = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
            return pictures

        motion = flows(range(apex - reach, apex + reach + 1))
        return ClipMotion(motion, reach, flows(onsets), clip.face.problems)

    def model_input(
        self,
        batch: FramesBatch | MotionBatch,
        jitter: TemporalJitter | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Clips of a batch -> model inputs, on their device.

        Args:
            batch: as `collate` or `mer_hf.training` makes it.
            jitter: draws the operators over time, in training; None resamples by `interpolation`.
            generator: a CPU generator for `jitter`.

        Returns:
            pixel_values_videos, (B, T, C, H, W) float32.
        """
        if isinstance(batch, MotionBatch):
            return flow_picture(_apex_motion(batch, jitter, generator), self.num_channels)
        frames, lengths = batch
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

    def preprocess(
        self,
        videos: Any,
        apex: int | None = None,
        fps: float | None = None,
        return_tensors: str = "pt",
        **options: Any,
    ) -> BatchFeature:
        """Model inputs of videos.

        Args:
            videos: a video or a list of them, each in any form that `stream_video` takes.
            apex: index of the apex frame, where it is known, of every one of the videos.
            fps: frames per second of every one of them, where they do not tell, or tell it wrong.
            return_tensors: `"pt"` or `"np"`.
            options: of the processor, for this call.

        Returns:
            `pixel_values_videos`, (B, T, C, H, W) float32; and, with `face_problems="flag"`, `problems`, a list of
            texts for each video.

        Raises:
            VideoError: for a video that cannot be read, or shows a single frame.
            FaceError: for a face that cannot be used, with `face_problems="raise"`.
            ValueError: for an option that does not exist, or is out of its range.
        """
        processor = self.with_options(**options)
        sources, _ = as_batch(videos)
        sequences = [processor.clip_sequence(source, apex, fps) for source in sources]
        inputs = [processor.model_input(collate([sequence])) for sequence in sequences]
        features = BatchFeature({"pixel_values_videos": torch.cat(inputs)}, tensor_type=return_tensors)
        if processor.face_problems == "flag":
            features["problems"] = [list(sequence.problems) for sequence in sequences]
        return features

    def with_options(self, **options: Any) -> "RcnVideoProcessor":
        """A processor like this one but for some options.

        Raises:
            ValueError: for an option that does not exist, or is out of its range.
        """
        unknown = sorted(set(options) - set(self.valid_kwargs.__annotations__))
        if unknown:
            raise MerHfError(f"the video processor has no options {unknown}; see RcnVideoProcessor")
        changed = copy.copy(self)
        vars(changed).update(options)
        changed._check()
        return changed


def _split(stream: Iterator[tuple[np.ndarray, float]]) -> tuple[Iterator[np.ndarray], list[float]]:
    """The frames of a stream, and the list that fills with their times as they are taken."""
    times: list[float] = []

    def frames() -> Iterator[np.ndarray]:
        for frame, seconds in stream:
            times.append(seconds)
            yield frame

    return frames(), times


def _retimed(frames: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Frames at any growing times -> as many frames at even ones, uint8."""
    operator = retime_operator(torch.from_numpy(seconds), len(frames))
    return apply_operator(operator[None], torch.from_numpy(frames)[None])[0].round().byte().numpy()


def _apex_motion(batch: MotionBatch, jitter: TemporalJitter | None, generator: torch.Generator | None) -> Tensor:
    """The flow from onset to apex of each clip, (B, 1, C, H, W); between drawn ones, where there is jitter."""
    if jitter is None:
        rows = torch.arange(len(batch.motion), device=batch.motion.device)
        return batch.motion[rows, batch.apex][:, None]
    flow = _drawn_frame(batch.motion, batch.lengths, jitter, generator)
    if batch.onsets.shape[1]:
        # motion from a later onset is, to first order, the motion from the first frame less that to the onset
        flow = flow - _drawn_frame(batch.onsets, batch.onset_lengths, jitter, generator)
    return flow


def _drawn_frame(clips: Tensor, lengths: Tensor, jitter: TemporalJitter, generator: torch.Generator | None) -> Tensor:
    """One frame of each jittered clip, drawn evenly: (B, S, C, H, W) -> (B, 1, C, H, W)."""
    operators = jitter(lengths, clips.shape[1], generator, clips.shape[1])
    rows = torch.randint(clips.shape[1], lengths.shape, generator=generator).to(clips.device)
    return apply_operator(operators[torch.arange(len(clips), device=clips.device), rows][:, None], clips)


def collate(clips: Sequence[ClipFrames] | Sequence[ClipMotion]) -> FramesBatch | MotionBatch:
    """Clips of one kind, padded to the longest: what `RcnVideoProcessor.model_input` takes."""
    if isinstance(clips[0], ClipFrames):
        return FramesBatch(*_padded([clip.frames for clip in clips]))
    motion, onsets = (_padded([getattr(clip, name) for clip in clips]) for name in ("motion", "onsets"))
    return MotionBatch(*motion, torch.tensor([clip.apex for clip in clips]), *onsets)


def _padded(arrays: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    parts = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True), torch.tensor([len(part) for part in parts])
