"""One processor for training clips and for the pipeline's videos: a video in any form -> `pixel_values_videos`.

    source -> stream_video -> align_clip -> evenly timed, magnified -> AlignedClip
           -> clip_sequence: what a clip is before its time is resampled
           -> model_input: time resampled (or jittered), scaled, (B, T, C, H, W)

The halves meet at `ClipFrames` and `ClipMotion`, which training keeps in memory: the second half runs in every step, on
the device, on a `FramesBatch` or a `MotionBatch`.
"""

import copy
import itertools
import math
import numbers
import os
import shutil
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from transformers import BaseVideoProcessor, BatchFeature
from transformers.image_utils import SizeDict
from transformers.processing_utils import VideosKwargs
from transformers.utils import cached_file

from .decoding_rcn import stream_video
from .errors_rcn import MerHfError
from .faces_rcn import ALIGNMENTS, FOLDER, MODELS, PROBLEMS, ClipFace, align_clip
from .motion_rcn import (
    FLOW_METHODS,
    SMALLEST_FLOW,
    apex_of,
    doubts,
    flow_picture,
    flow_sequence,
    magnify,
    motion_curve,
    optical_flow,
)
from .sources_rcn import BUDGET, Budget, VideoError, VideoSource, as_batch, name_of, naming
from .temporal_rcn import (
    KERNELS,
    TemporalJitter,
    apply_operator,
    linear_operator,
    resize_operator,
    retime_operator,
    tim_operator,
)

CHANNELS = {"geometric": (2, 3), "appearance": (1,), "sequence": (1, 2, 3)}
INTERPOLATIONS = ("linear", "tim", *KERNELS)
FACE_MODELS = (*MODELS, "NOTICE")
"""The files of the face models, which travel with a processor."""
MOST_FLOWS = 24
"""Flows of a sequence before its time is resampled: of more frames, as at 200 a second, neighbours are averaged, which
takes most of the sensor's noise out of them."""
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
        problems: what is wrong with the face, and what was noticed in the video; empty where nothing is.
    """

    frames: np.ndarray
    fps: float
    apex: int | None
    face: ClipFace
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClipFrames:
    """A clip before its time is resampled, for the connectivities that look at all of it.

    Attributes:
        frames: (S, C, H, W) grey or colour crops, uint8; or C = 2, flow from the onset to each frame, float32.
        problems: what is wrong with the face, where the processor flags it, and what is doubtful about the clip; empty
            where nothing is.
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
    clip_problems: str
    interpolation: str
    flow: str
    magnification: float
    magnification_band: list[float]
    magnification_wavelength: float
    apex_window: float
    onset_window: float


OPTIONS = (
    *RcnVideoKwargs.__annotations__.keys() - VideosKwargs.__annotations__.keys(),
    *("size", "crop_size", "num_frames", "image_mean", "image_std"),
)
"""What can be said to a processor; other options of transformers' video processors have no meaning here."""
WRITTEN = ("auto_map", "feature_extractor_type", "image_processor_type", "processor_class", "video_processor_type")
"""What transformers writes beside them."""
LOADING = (*HUB_OPTIONS, "code_revision", "return_unused_kwargs", "trust_remote_code", "_commit_hash", "_from_auto")
"""What `from_pretrained` may be given that is no option."""
LIMITS = {
    "margin": (0, 10),
    "magnification": (0, 1000),
    "magnification_wavelength": (1e-3, 1e6),
    "apex_window": (0, 10),
    "onset_window": (0, 10),
}
"""Lowest and highest value of the options that are numbers."""


class RcnVideoProcessor(BaseVideoProcessor):
    """Makes model inputs of videos, of the frames of a corpus, or of ready sequences.

    It differs from the video processors of transformers on purpose:

    - It reads videos itself, and tells one from several by the rules of `as_batch`; videos may differ in size.
    - `size` is that of the model input and has a height and a width (or is one number for both), for the face is
      brought to its place by one transform; there is no shortest edge.
    - `num_frames` and `fps` do not choose frames: all are used, and time is resampled; `fps` corrects what a video says
      of its rate.
    - There is nothing to switch off (`do_resize`, `do_rescale`, ...): what is no option of this class is an error.

    Args:
        connectivity: as `RcnConfig.connectivity`.
        num_channels: C of a model input; for geometric 2 (u, v) or 3 (with strain), otherwise 1 (grey) or 3 (colour); a
            sequence of 2 is flow (u, v) from the onset to every frame.
        num_frames: T of a model input.
        size: height and width of a model input.
        crop_size: of the face crop that flow is computed on, in pixels (flow only).
        align: `mesh` brings the eyes, nose and mouth of every face to the same places, by one transform a clip; `box`
            cuts out the square around the face; `none` takes the centred square of the picture, for the cropped
            releases of the corpora.
        margin: added on every side of the face crop, as a part of its side; at 0 it goes from the brows to the chin.
        face_problems: `raise` refuses a clip without a face, with several of similar size, with one that is too small
            or leaves the picture; `flag` prepares what there is and says what is wrong.
        clip_problems: `flag` says what is doubtful about a clip: that it is damaged, has gaps, is interlaced, that
            nothing moves in it, that it does not look like one expression; `raise` refuses it.
        interpolation: how time is resampled to T frames where it is not jittered: `linear`, `tim`, or a kernel of
            `temporal_rcn` (appearance and sequence only).
        flow: how motion is measured: `dis`, `farneback` or `tvl1` (flow only).
        magnification: alpha of Eulerian motion magnification, 0 for none.
        magnification_band: lowest and highest frequency that is magnified, in Hz.
        magnification_wavelength: in pixels of the crop; finer structures are magnified less.
        apex_window: seconds before and after the apex, from whose frames jitter draws an apex in training (geometric
            only).
        onset_window: seconds after the onset, from whose frames jitter draws an onset in training (geometric only).
        image_mean, image_std: of the values in [0, 1], for backbones that were trained on normalised pictures.
        face_models: the folder that holds the face models; found by `from_pretrained`, and not saved.
        budget: what one video may ask of the machine; not saved.

    Raises:
        MerHfError: for options that do not exist, or are outside of the above.
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
    clip_problems = "flag"
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

    def __init__(self, face_models: str | Path = FOLDER, budget: Budget = BUDGET, **kwargs: object) -> None:
        self._refuse_unknown(kwargs)
        for name in kwargs.keys() & {"size", "crop_size"}:
            kwargs[name] = _height_width(kwargs[name], name)
        options: dict[str, Any] = kwargs
        super().__init__(**options)
        self.face_models, self.budget = str(face_models), budget
        self._check()

    @classmethod
    def _refuse_unknown(cls, options: Mapping[str, object]) -> None:
        """Refuse what would be ignored; what transformers writes of its own defaults is let through."""
        for name, value in options.items():
            is_default = name in VideosKwargs.__annotations__ and value == getattr(cls, name, None)
            if name not in OPTIONS and name not in WRITTEN and not is_default:
                raise MerHfError(f"{name} is no option of RcnVideoProcessor; it has {', '.join(sorted(OPTIONS))}")

    def _check(self) -> None:
        choices: dict[str, Collection[str]] = {
            "connectivity": CHANNELS,
            "align": ALIGNMENTS,
            "face_problems": PROBLEMS,
            "clip_problems": PROBLEMS,
            "interpolation": INTERPOLATIONS,
            "flow": FLOW_METHODS,
        }
        for name, known in choices.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in known:
                raise MerHfError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if self.num_channels not in CHANNELS[self.connectivity] or isinstance(self.num_channels, bool):
            known = CHANNELS[self.connectivity]
            raise MerHfError(f"num_channels: {self.connectivity} takes {known} channels, got {self.num_channels!r}")
        if not _is_number(self.num_frames, 1, 2**31) or int(self.num_frames) != self.num_frames:
            raise MerHfError(f"num_frames must be a whole number of 1 or more, to {2**31}, got {self.num_frames!r}")
        self.num_frames = int(self.num_frames)  # a file may hold 8.0
        for name, (lowest, highest) in LIMITS.items():
            if not _is_number(getattr(self, name), lowest, highest):
                raise MerHfError(
                    f"{name} must be a number of {lowest} or more, to {highest}, got {getattr(self, name)!r}"
                )
        band = self.magnification_band
        is_pair = isinstance(band, list | tuple) and len(band) == 2
        if not is_pair or not all(_is_number(limit, 0, 1e6) for limit in band) or band[0] >= band[1]:
            raise MerHfError(f"magnification_band must be [lowest, highest] in Hz, got {band!r}")
        self._check_sizes()
        self._check_statistics()

    def _check_sizes(self) -> None:
        for name in ("size", "crop_size"):
            setattr(self, name, _height_width(getattr(self, name), name))
            self.budget.check_size(getattr(self, name)["width"], getattr(self, name)["height"], name)
        if self.sees_flow and min(self.crop_size.values()) < SMALLEST_FLOW:
            raise MerHfError(f"crop_size must be at least {SMALLEST_FLOW} pixels a side for flow, got {self.crop_size}")
        if self.connectivity == "geometric" and min(self.size.values()) < 2:
            raise MerHfError(f"size must be at least 2 pixels a side for the strain of flow, got {self.size}")
        values = self.num_frames * self.num_channels * self.size["height"] * self.size["width"]
        if 4 * values > self.budget.bytes:
            raise MerHfError(
                f"a model input of {self.num_frames} frames of {self.size} takes {4 * values >> 20} MiB, more than "
                f"{self.budget.bytes >> 20}; make it smaller, or pass budget=Budget(bytes=...)"
            )

    def _check_statistics(self) -> None:
        for name, lowest in (("image_mean", -1e3), ("image_std", 1e-6)):
            value = getattr(self, name)
            values = value if isinstance(value, list | tuple) else [value]
            if len(values) not in (1, self.num_channels) or not all(_is_number(v, lowest, 1e3) for v in values):
                raise MerHfError(
                    f"{name} must be a number, or one for each of {self.num_channels} channels, from {lowest:g} to "
                    f"1000, got {value!r}"
                )

    @property
    def sees_flow(self) -> bool:
        """Whether model inputs are flow: from onset to apex, or a sequence from the onset to every frame."""
        return self.connectivity == "geometric" or self.num_channels == 2

    @property
    def crop(self) -> dict[str, int]:
        """Height and width of the face crops that model inputs are made of."""
        return self.crop_size if self.sees_flow else self.size

    # --- the face models travel with the processor ---

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: object) -> Self:
        """Load a processor, as transformers does.

        Raises:
            MerHfError: for a file, or further options, that make none; it says which.
            OSError: there is none.
        """
        with naming(f"the video processor of {pretrained_model_name_or_path}"):
            options: dict[str, Any] = kwargs
            return super().from_pretrained(pretrained_model_name_or_path, **options)

    @classmethod
    def get_video_processor_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: object
    ) -> tuple[dict, dict]:
        """Read the options as transformers does, and find the face models beside them.

        They lie beside this file in mer_hf; but where it came with a model, only Python files were copied here.
        """
        named = [name for name in kwargs if name not in (*OPTIONS, *LOADING, "face_models", "budget")]
        if named and "_from_pipeline" not in kwargs and not kwargs.get("return_unused_kwargs"):
            cls._refuse_unknown(dict.fromkeys(named))
        try:
            options, unused = super().get_video_processor_dict(pretrained_model_name_or_path, **kwargs)
        except (TypeError, ValueError, RecursionError) as error:  # of transformers, for what is no JSON object
            raise MerHfError(f"its JSON cannot be read: {error}") from error
        if not isinstance(options, dict):
            raise MerHfError(f"its JSON holds a {type(options).__name__}; expected an object of options")
        for name in ("face_models", "budget"):  # no repository says where files lie on this machine, or what it can do
            options.pop(name, None)
        cls._refuse_unknown(options)
        if not all((FOLDER / name).exists() for name in FACE_MODELS):
            source: dict[str, Any] = {key: kwargs[key] for key in HUB_OPTIONS if key in kwargs}
            found = [cached_file(str(pretrained_model_name_or_path), name, **source) for name in FACE_MODELS]
            options["face_models"] = str(Path(cast(str, found[0])).parent)
        return options, unused

    def to_dict(self) -> dict[str, object]:
        """The options; where the face models lie, and what a video may ask for, are matters of the machine."""
        return {name: value for name, value in super().to_dict().items() if name not in ("face_models", "budget")}

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: object
    ) -> list[str]:
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
            options: dict[str, Any] = {"repo_id": folder.name, **kwargs}
            self.push_to_hub(**options)
        return saved

    # --- a clip on its way ---

    def aligned_clip(
        self,
        source: VideoSource,
        apex: int | None = None,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> AlignedClip:
        """Decode a clip frame by frame and cut out its face; full pictures are never all held in memory.

        Args:
            source: a video in any form that `stream_video` takes, from onset to offset.
            apex: index of its apex frame, where it is known.
            fps: frames per second, where the source does not tell, or tells it wrong.
            start, end: seconds of the part that is the clip, from onset to offset; all of the video by default.

        Raises:
            VideoError: for a video that cannot be read, is longer than the budget, or has a single frame, where there
                is no motion to see; with `clip_problems="raise"` for anything that is noticed in it.
            FaceError: for a face that cannot be used, with `face_problems="raise"`.
            MerHfError: for an apex outside the clip.
        """
        size, grey, noticed = self.crop, self.sees_flow or self.num_channels == 1, []
        most = max(2, self.budget.bytes // (size["height"] * size["width"] * (1 if grey else 3)))
        most = min(most, self.budget.frames)
        with naming(name_of(source)):
            stream = stream_video(source, fps, grey, start, end, most, self.budget, noticed)
            frames, times = _split(stream)
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
                self.budget.bytes,
            )
            crops, rate, apex = self._evened(crops, np.array(times), apex)
            self._refuse(noticed)
            return AlignedClip(crops, rate, apex, face, (*face.problems, *noticed))

    def _evened(self, crops: np.ndarray, seconds: np.ndarray, apex: int | None) -> tuple[np.ndarray, float, int | None]:
        """Crops at even times, magnified where that is asked for; frames per second; the index of the apex."""
        total = len(crops)
        if apex is not None and (not isinstance(apex, numbers.Integral) or not 0 <= apex < total):
            raise MerHfError(f"apex is frame {apex} of a clip of {total} frames; it must be one of 0 to {total - 1}")
        step = seconds[-1] / (total - 1)
        if np.abs(seconds - step * np.arange(total)).max() > EVEN * step:
            crops = _retimed(crops, seconds)
            apex = None if apex is None else round(seconds[apex] / step)
        if self.magnification:
            crops = magnify(crops, 1 / step, self.magnification, self.magnification_band, self.magnification_wavelength)
        return crops, 1 / step, apex

    def _refuse(self, noticed: Sequence[str]) -> None:
        if noticed and self.clip_problems == "raise":
            raise VideoError("; ".join(noticed))

    def clip_sequence(
        self,
        source: VideoSource,
        apex: int | None = None,
        fps: float | None = None,
        windows: bool = False,
        start: float | None = None,
        end: float | None = None,
    ) -> ClipFrames | ClipMotion:
        """A clip, from onset to offset, before its time is resampled.

        Args:
            source, apex, fps, start, end: as for `aligned_clip`; an unknown apex is spotted.
            windows: whether to include the frames around apex and onset that jitter draws from.

        Raises:
            VideoError, FaceError, MerHfError: as `aligned_clip`.
        """
        clip = self.aligned_clip(source, apex, fps, start, end)
        grey = clip.frames
        if grey.ndim == 4:
            grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in grey])
        curve, apex = None, clip.apex
        if apex is None:
            curve = motion_curve(grey)
            apex = apex_of(curve)
        apex = max(1, apex)  # the motion needs a frame before it
        with naming(name_of(source)):
            doubtful = doubts(grey, clip.fps, apex, curve)
            self._refuse(doubtful)
        problems = (*clip.problems, *doubtful)
        if self.connectivity == "geometric":
            motion, middle, onsets = self._flow_windows(grey, apex, clip.fps if windows else 0.0)
            return ClipMotion(motion, middle, onsets, problems)
        if self.sees_flow:
            pictures = fewer_frames(grey, MOST_FLOWS)
            return ClipFrames(self._flows(pictures, range(len(pictures))), problems)
        return ClipFrames(grey[:, None] if clip.frames.ndim == 3 else np.moveaxis(clip.frames, 3, 1), problems)

    def _flow_windows(self, grey: np.ndarray, apex: int, fps: float) -> tuple[np.ndarray, int, np.ndarray]:
        """Flow from the onset to the frames around the apex, the apex's place there, and flow to those after the onset.

        Without a rate, to the apex alone.
        """
        onsets = range(min(round(self.onset_window * fps) + 1, apex) if fps else 0)
        # as far on one side of the apex as on the other, so that jitter favours neither
        reach = min(round(self.apex_window * fps), apex - len(onsets), len(grey) - 1 - apex)
        return self._flows(grey, range(apex - reach, apex + reach + 1)), reach, self._flows(grey, onsets)

    def _flows(self, grey: np.ndarray, indices: range) -> np.ndarray:
        """Flow from the first of the crops to some of them, in the size of a model input, (S, 2, H, W) float32."""
        size = (self.size["width"], self.size["height"])
        flows = np.zeros((len(indices), 2, *size[::-1]), np.float32)  # the onset does not move against itself
        for flow, index in zip(flows, indices, strict=True):
            for channel, part in enumerate(optical_flow(grey[0], grey[index], self.flow) if index else ()):
                flow[channel] = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        return flows

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
        if self.sees_flow:
            # from the first moment, also where jitter dropped the onset, or a kernel mixed it with what follows
            flow = apply_operator(operators, frames)
            return flow_sequence(flow - flow[:, :1])
        mean, std = (torch.as_tensor(value, device=frames.device) for value in (self.image_mean, self.image_std))
        return (apply_operator(operators, frames) / 255 - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)

    def clip_inputs(self, clips: Sequence[ClipFrames | ClipMotion]) -> Tensor:
        """Clips as `clip_sequence` makes them -> model inputs, with nothing drawn, (B, T, C, H, W) float32."""
        return self.model_input(collate(clips))

    def preprocess(
        self,
        videos: VideoSource | Sequence[VideoSource],
        apex: int | None = None,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        return_tensors: str = "pt",
        **options: object,
    ) -> BatchFeature:
        """Model inputs of videos.

        Args:
            videos: a video or several, see `as_batch`.
            apex: index of the apex frame, where it is known, of every one of the videos.
            fps: frames per second of every one of them, where they do not tell, or tell it wrong.
            start, end: seconds of the part that is the clip, in every one of them; all of it by default.
            return_tensors: `"pt"` or `"np"`.
            options: of the processor, for this call.

        Returns:
            `pixel_values_videos`, (B, T, C, H, W) float32; and, with `face_problems="flag"`, `problems`, a list of
            texts for each video. Without that, the input is whole as it is (`model(**inputs)`), and what is doubtful
            about a clip is a warning.

        Raises:
            VideoError: for a video that cannot be read, or shows a single frame.
            FaceError: for a face that cannot be used, with `face_problems="raise"`.
            MerHfError: for an option that does not exist, or is out of its range.

        Warns:
            UserWarning: for what is doubtful, see `clip_problems`.
        """
        processor = self.with_options(**options)
        sources, is_one = as_batch(videos)
        sequences = []
        for number, source in enumerate(sources, 1):
            name = name_of(source) or (None if is_one else f"video {number} of {len(sources)}")
            with naming(name):
                sequences.append(processor.clip_sequence(source, apex, fps, start=start, end=end))
            if processor.face_problems != "flag":
                for text in sequences[-1].problems:
                    warnings.warn(f"{name or 'the video'}: {text}", stacklevel=2)
        inputs = [processor.clip_inputs([sequence]) for sequence in sequences]
        features = BatchFeature({"pixel_values_videos": torch.cat(inputs)}, tensor_type=return_tensors)
        if processor.face_problems == "flag":
            features["problems"] = [list(sequence.problems) for sequence in sequences]
        return features

    def with_options(self, **options: object) -> "RcnVideoProcessor":
        """A processor like this one but for some options, or its budget.

        Raises:
            MerHfError: for an option that does not exist, or is out of its range.
        """
        budget = options.pop("budget", self.budget)
        self._refuse_unknown({name: value for name, value in options.items() if name not in OPTIONS})
        changed = copy.copy(self)
        vars(changed).update(options, budget=budget)
        changed._check()
        return changed


def _is_number(value: object, lowest: float, highest: float) -> bool:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    number = cast(float, value)
    return lowest <= number <= highest and math.isfinite(number)


def _height_width(value: object, name: str) -> dict[str, int]:
    """A size as transformers takes it, one number or both -> both by name."""
    if isinstance(value, list | tuple) and len(value) == 2:
        value = dict(zip(("height", "width"), value, strict=True))
    if _is_number(value, 1, 2**20):
        value = {"height": value, "width": value}
    named: dict[str, Any] = dict(value) if isinstance(value, Mapping | SizeDict) else {}
    sides = list(named.values())
    if sorted(named) != ["height", "width"] or not all(_is_number(v, 1, 2**20) and int(v) == v for v in sides):
        raise MerHfError(
            f"{name} must be {{'height': ..., 'width': ...}} in pixels, or one number for both, got {value!r}"
        )
    return {"height": int(named["height"]), "width": int(named["width"])}


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
    operator, even = retime_operator(torch.from_numpy(seconds), len(frames)).numpy(), np.empty_like(frames)
    for row, picture in zip(operator, even, strict=True):
        (used,) = row.nonzero()  # two at most: the whole product would take the square of the length
        picture[...] = np.rint(np.tensordot(row[used], frames[used].astype(np.float32), 1))
    return even


def fewer_frames(frames: np.ndarray, most: int) -> np.ndarray:
    """Frames (S, H, W) uint8, or where there are more than `most`, so many means of neighbours, evenly spaced."""
    if len(frames) <= most:
        return frames
    operator = resize_operator(torch.ones(1, len(frames), dtype=torch.bool), most, ["box"])
    return apply_operator(operator, torch.from_numpy(frames)[None])[0].round().to(torch.uint8).numpy()


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


def collate(clips: Sequence[ClipFrames | ClipMotion]) -> FramesBatch | MotionBatch:
    """Clips of one kind, padded to the longest: what `RcnVideoProcessor.model_input` takes."""
    if isinstance(clips[0], ClipFrames):
        return FramesBatch(*_padded([clip.frames for clip in cast(Sequence[ClipFrames], clips)]))
    moving = cast(Sequence[ClipMotion], clips)
    motion, onsets = _padded([clip.motion for clip in moving]), _padded([clip.onsets for clip in moving])
    return MotionBatch(*motion, torch.tensor([clip.apex for clip in moving]), *onsets)


def _padded(arrays: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    parts = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True), torch.tensor([len(part) for part in parts])
