"""What batches are taken from: clips that lie on the device, fields of motion that are drawn there, or both at once.

    Plan, clips, seed -> training_source -> a `Batch` at a time: inputs or clips before their time is resampled, targets

Each source is a dataset whose `__getitems__` gives a whole batch, for gathering clip by clip takes longer than a step.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NotRequired, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from mer_hf.action_units import UNIT_SHARES
from mer_hf.drawn.courses import CourseSettings, draw_courses
from mer_hf.drawn.fields import DrawingSettings, as_published_picture, draw_fields
from mer_hf.drawn.images import ImageSettings, draw_images, drawn_faces
from mer_hf.rcn.configuration_rcn import RcnConfig
from mer_hf.rcn.motion_rcn import flow_picture, flow_sequence, optical_strain
from mer_hf.rcn.temporal_rcn import to_device
from mer_hf.rcn.video_processing_rcn import ClipFrames, ClipMotion, FramesBatch, MotionBatch, RcnVideoProcessor
from mer_hf.training.clips import Clip, ReadyInput

DRAWN_CLASSES = tuple(UNIT_SHARES)


class Batch(TypedDict):
    """What a step is trained on: inputs of models, or clips that become inputs in the step, and targets."""

    labels: Tensor
    pixel_values_videos: NotRequired[Tensor]
    clips: NotRequired[FramesBatch | MotionBatch]
    drawn: NotRequired[Tensor]
    action_units: NotRequired[Tensor]


class DrawnBatch(TypedDict):
    """Fields of motion, and what is known of them."""

    pixel_values_videos: Tensor
    labels: Tensor
    action_units: Tensor


BLOCK = 8192
"""Number of fields that are drawn at once on CUDA."""
REST = 0.1  # part of the fields in which no unit moves: a model that has seen stillness is less sure of what it is


class Order(torch.utils.data.Sampler[list[int]]):
    """The batches of an epoch as lists of indices, in an order that is drawn when the epoch begins.

    Args:
        count: number of clips or fields.
        batch_size: number of them in a batch.
        drop_last: whether a last batch of fewer is left out.
        generator: of the CPU, from which the order is drawn.
    """

    def __init__(self, count: int, batch_size: int, drop_last: bool, generator: torch.Generator) -> None:
        self.count, self.batch_size, self.drop_last, self.generator = count, batch_size, drop_last, generator

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return (self.count if self.drop_last else self.count + self.batch_size - 1) // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        """Each index once, or left out with the last batch."""
        order = torch.randperm(self.count, generator=self.generator).tolist()
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size]


class Packed:
    """Arrays of several lengths, one behind the other in one tensor on a device."""

    def __init__(self, arrays: Sequence[np.ndarray], device: torch.device) -> None:
        self.lengths = torch.tensor([len(array) for array in arrays], device=device)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.values = torch.from_numpy(np.concatenate(arrays)).to(device)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B,) -> arrays (B, S, ...), each filled up to the longest by its last entry, and lengths (B,)."""
        lengths = self.lengths[rows]
        steps = torch.arange(int(lengths.max()), device=rows.device)
        places = self.starts[rows, None] + torch.minimum(steps, lengths[:, None] - 1)
        return self.values.index_select(0, places.flatten()).unflatten(0, places.shape), lengths


class ResidentClips(torch.utils.data.Dataset):
    """The clips of one training on its device; a batch is taken out of them at once, not clip by clip.

    Where jitter has something to draw, a batch holds clips before their time is resampled, which become model inputs in
    every step. Otherwise the inputs are made here, once.

    Args:
        clips: clips of one kind.
        processor: makes inputs of them.
        device: where they are kept.
        jittered: whether jitter may be drawn for them.
    """

    def __init__(
        self, clips: Sequence[Clip], processor: RcnVideoProcessor, device: torch.device, jittered: bool = False
    ) -> None:
        self.labels = torch.tensor([clip.label for clip in clips], device=device)
        units = [clip.units for clip in clips if clip.units is not None]
        self.units = torch.from_numpy(np.stack(units)).to(device) if units else None
        self.inputs: Tensor | None = None
        contents = [clip.content for clip in clips]
        lone = False
        if isinstance(contents[0], ClipMotion):
            moving = cast(list[ClipMotion], contents)
            self.motion = Packed([content.motion for content in moving], device)
            self.onsets = Packed([content.onsets for content in moving], device)
            self.apex = torch.tensor([int(content.apex) for content in moving], device=device)
            # a lone picture of flow has no neighbours to draw from
            lone = max(len(self.motion.values), len(self.onsets.values)) == len(clips)
            self.unfinished = self._motion_batch
        elif isinstance(contents[0], ClipFrames):
            self.frames = Packed([content.frames for content in cast(list[ClipFrames], contents)], device)
            self.unfinished = self._frames_batch
        else:
            ready = [content.pixels for content in cast(list[ReadyInput], contents)]
            self.inputs = torch.from_numpy(np.stack(ready)).to(device)
        if self.inputs is None and (lone or not jittered):
            parts = torch.arange(len(clips), device=device).split(64)
            self.inputs = torch.cat([processor.model_input(self.unfinished(rows)) for rows in parts])

    def __len__(self) -> int:
        """How many clips there are."""
        return len(self.labels)

    def class_counts(self, num_classes: int) -> list[int]:
        """How many clips of each class there are."""
        counts = Counter(self.labels.tolist())
        return [counts[label] for label in range(num_classes)]

    def __getitems__(self, indices: list[int]) -> Batch:
        """A batch: `labels`, `pixel_values_videos` or, before time is resampled, `clips`; `action_units` if targets."""
        rows = to_device(torch.tensor(indices), self.labels.device)
        batch: Batch = {"labels": self.labels[rows]}
        if self.units is not None:
            batch["action_units"] = self.units[rows]
        if self.inputs is None:
            return {**batch, "clips": self.unfinished(rows)}
        return {**batch, "pixel_values_videos": self.inputs.index_select(0, rows)}

    def _motion_batch(self, rows: Tensor) -> MotionBatch:
        return MotionBatch(*self.motion.take(rows), self.apex[rows], *self.onsets.take(rows))

    def _frames_batch(self, rows: Tensor) -> FramesBatch:
        return FramesBatch(*self.frames.take(rows))


class DrawnFields(torch.utils.data.Dataset):
    """Fields that are drawn when they are asked for, half of them in the form of published flow pictures.

    Args:
        count: number of fields in an epoch.
        config: configuration of the model, for its image size and channels.
        seed: of the fields.
        device: where they are drawn.
        settings: how they are drawn.
    """

    def __init__(
        self, count: int, config: RcnConfig, seed: int, device: torch.device, settings: DrawingSettings | None = None
    ) -> None:
        self.count, self.config, self.device = count, config, device
        self.settings = settings or DrawingSettings(rest=REST)
        self.generator = torch.Generator().manual_seed(seed)
        self.block: tuple[int, DrawnBatch] | None = None
        self.left = 0  # batches of the block that were not given yet

    def __len__(self) -> int:
        """How many fields an epoch has."""
        return self.count

    def __getitems__(self, indices: list[int]) -> DrawnBatch:
        """A batch: `pixel_values_videos` (B, 1, C, H, W), `labels` (-1 where no unit moves), `action_units` (B, U)."""
        return self.next_batch(len(indices))

    def next_batch(self, count: int) -> DrawnBatch:
        """A batch of `count` fields, half of each form; on CUDA out of a block that is drawn at once.

        A batch has too little for such a device: drawing 256 fields takes it as long as 2,000.
        """
        if self.device.type != "cuda":
            return self.draw(count)
        if self.block is None or self.left == 0 or self.block[0] != count:
            self.left = -(-BLOCK // count)
            self.block = count, self.draw(count * self.left)
        self.left -= 1
        whole, rows = self.block[1], slice(self.left, None, len(self.block[1]["labels"]) // count)
        return cast(DrawnBatch, {name: cast(Tensor, values)[rows] for name, values in whole.items()})

    def draw(self, count: int, published: bool | None = None) -> DrawnBatch:
        """A batch of `count` fields: all as signed flow, all in the published form, or (None) half of each."""
        height, width = self.config.image_size
        drawn = draw_fields(count, (height, width), self.generator, self.settings, self.device)
        channels = self.config.num_channels
        part = count // 2 if published is None else count * int(published)
        pictures = as_published_picture(torch.cat([drawn.flow, optical_strain(drawn.flow)], 1)[:part])
        pixels = torch.cat([flow_picture(pictures, channels), flow_picture(drawn.flow[part:], channels)])
        return {
            "pixel_values_videos": pixels[:, None],
            "labels": drawn.label,
            "action_units": (drawn.units > 0).float(),
        }


class DrawnClips(torch.utils.data.Dataset):
    """Sequences that are drawn when they are asked for: of flow for models of two channels, of pictures for others.

    Args:
        count: number of sequences in an epoch.
        config: configuration of the model, for its frames, channels and image size.
        seed: of the sequences.
        device: where they are drawn.
        settings: how they are drawn: `CourseSettings` of flow, `ImageSettings` of pictures.
        faces: still faces that the pictures show, see `draw_images`; drawn ones by default.
    """

    def __init__(
        self,
        count: int,
        config: RcnConfig,
        seed: int,
        device: torch.device,
        settings: CourseSettings | None = None,
        faces: Tensor | None = None,
    ) -> None:
        self.count, self.config, self.device = count, config, device
        self.settings = settings or sequence_settings(config, rest=REST)
        self.generator = torch.Generator().manual_seed(seed)
        if config.num_channels == 1:
            self.faces = (drawn_faces(*config.image_size) if faces is None else faces).to(device)

    def __len__(self) -> int:
        """How many sequences an epoch has."""
        return self.count

    def __getitems__(self, indices: list[int]) -> DrawnBatch:
        """A batch: `pixel_values_videos` (B, T, C, H, W), `labels` (-1 where no unit moves), `action_units` (B, U)."""
        return self.draw(len(indices))

    def draw(self, count: int) -> DrawnBatch:
        """A batch of `count` sequences."""
        frames, (height, width) = self.config.num_frames, self.config.image_size
        if self.config.num_channels == 1:
            drawn = draw_images(count, frames, self.faces, self.generator, cast(ImageSettings, self.settings))
            pixels = drawn.frames / 255
        else:
            drawn = draw_courses(count, frames, (height, width), self.generator, self.settings, self.device)
            pixels = flow_sequence(drawn.flow)
        return {
            "pixel_values_videos": pixels,
            "labels": drawn.label,
            "action_units": (drawn.units > 0).float(),
        }


def sequence_settings(config: RcnConfig, rest: float = 0.0) -> CourseSettings:
    """How sequences for a model are drawn: of pictures for one channel, of flow for two."""
    return ImageSettings(rest=rest) if config.num_channels == 1 else CourseSettings(rest=rest)


def drawn_source(count: int, config: RcnConfig, seed: int, device: torch.device) -> DrawnFields | DrawnClips:
    """What is drawn for a model: fields for geometric connectivity, sequences for the others."""
    kind = DrawnFields if config.connectivity == "geometric" else DrawnClips
    return kind(count, config, seed, device)


class JointClips(torch.utils.data.Dataset):
    """Clips, and in every batch fields of drawn motion behind them.

    The units of a clip are not known (NaN) unless they are targets, and the fields are there as inputs (`drawn`), not
    as sequences.

    Args:
        clips: the clips, of which an epoch has each once.
        drawn: the fields, whose classes are among those of the clips.
        per_clip: number of fields that go with a clip.
        classes: the classes in the order of the labels.
    """

    def __init__(self, clips: ResidentClips, drawn: DrawnFields, per_clip: int, classes: Sequence[str]) -> None:
        self.clips, self.drawn, self.per_clip = clips, drawn, per_clip
        numbers = [*(classes.index(name) for name in DRAWN_CLASSES), -1]  # the last, -1, is rest
        self.numbers = torch.tensor(numbers, device=clips.labels.device)

    def __len__(self) -> int:
        """How many clips there are."""
        return len(self.clips)

    def class_counts(self, num_classes: int) -> list[int]:
        """How many clips and fields of each class an epoch has; the fields are of each class as often."""
        counts = self.clips.class_counts(num_classes)
        for label in self.numbers[:-1].tolist():
            counts[label] += self.per_clip * len(self.clips) // len(DRAWN_CLASSES)
        return counts

    def __getitems__(self, indices: list[int]) -> Batch:
        """A batch as of `ResidentClips`; `drawn` (D, 1, C, H, W), and `labels` and `action_units` of B clips and D."""
        clips, fields = self.clips.__getitems__(indices), self.drawn.next_batch(self.per_clip * len(indices))
        unknown = torch.full((len(indices), fields["action_units"].shape[1]), torch.nan, device=self.numbers.device)
        return {
            **clips,
            "drawn": fields["pixel_values_videos"],
            "labels": torch.cat([clips["labels"], self.numbers[fields["labels"]]]),
            "action_units": torch.cat([clips.get("action_units", unknown), fields["action_units"]]),
        }


__all__ = [
    "DRAWN_CLASSES",
    "Batch",
    "DrawnClips",
    "DrawnFields",
    "JointClips",
    "Order",
    "ResidentClips",
    "drawn_source",
]
