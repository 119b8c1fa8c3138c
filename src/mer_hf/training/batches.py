"""What batches are taken from: clips that lie on the device, fields of motion that are drawn there, or both at once.

Each is a dataset whose `__getitems__` gives a whole batch, for gathering clip by clip would take longer than a step.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mer_hf.action_units import UNIT_SHARES
from mer_hf.drawn.fields import DrawingSettings, as_published_picture, draw_fields
from mer_hf.rcn.configuration_rcn import RcnConfig
from mer_hf.rcn.motion_rcn import flow_picture, optical_strain
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor

DRAWN_CLASSES = tuple(UNIT_SHARES)
REST = 0.1  # share of fields in which no unit moves: a model that has seen stillness is less sure of what it is


class Packed:
    """Arrays of several lengths, one behind the other in one tensor on a device."""

    def __init__(self, arrays: Sequence[np.ndarray], device: torch.device) -> None:
        self.lengths = torch.tensor([len(array) for array in arrays], device=device)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.values = torch.from_numpy(np.concatenate(arrays)).to(device)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B,) -> arrays (B, S, ...), each filled up to the longest by its own last entry, and lengths (B,)."""
        lengths = self.lengths[rows]
        steps = torch.arange(int(lengths.max()), device=rows.device)
        places = self.starts[rows, None] + torch.minimum(steps, lengths[:, None] - 1)
        return self.values.index_select(0, places.flatten()).unflatten(0, places.shape), lengths


class ResidentClips(torch.utils.data.Dataset):
    """The clips of one training on its device; a batch is taken out of them at once, not clip by clip.

    Where jitter has something to draw, a batch holds sequences, which become model inputs in every step. Otherwise the
    inputs are made here, once.

    Args:
        clips: as `preparation.samples` makes them.
        processor: of the clips.
        device: where they are kept.
        jittered: whether jitter may be drawn for them.
    """

    def __init__(
        self, clips: list[dict[str, Any]], processor: RcnVideoProcessor, device: torch.device, jittered: bool = False
    ) -> None:
        self.labels = torch.tensor([clip["label"] for clip in clips], device=device)
        self.inputs: Tensor | None = None
        if "sequence" not in clips[0]:
            self.inputs = torch.from_numpy(np.stack([clip["pixel_values_videos"] for clip in clips])).to(device)
            return
        self.frames = Packed([clip["sequence"].frames for clip in clips], device)
        self.reference = Packed([clip["sequence"].reference for clip in clips], device)
        # a lone picture of flow has no neighbours to draw from
        most = max(len(self.frames.values), len(self.reference.values))
        lone = processor.connectivity == "geometric" and most == len(clips)
        if not jittered or lone:
            parts = torch.arange(len(clips), device=device).split(64)
            self.inputs = torch.cat([processor.model_input(**self._sequences(rows)) for rows in parts])

    def __len__(self) -> int:
        """How many clips there are."""
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """A batch: `labels`, and `pixel_values_videos` or the sequences that `RcnVideoProcessor.model_input` takes."""
        rows = torch.tensor(indices, device=self.labels.device)
        if self.inputs is None:
            return {**self._sequences(rows), "labels": self.labels[rows]}
        return {"pixel_values_videos": self.inputs.index_select(0, rows), "labels": self.labels[rows]}

    def _sequences(self, rows: Tensor) -> dict[str, Tensor]:
        frames, lengths = self.frames.take(rows)
        reference, reference_lengths = self.reference.take(rows)
        return {
            "frames": frames,
            "lengths": lengths,
            "reference": reference,
            "reference_lengths": reference_lengths,
        }


class DrawnClips(torch.utils.data.Dataset):
    """Fields that are drawn when they are asked for, half of them in the form of published flow pictures.

    Args:
        count: of the fields in an epoch.
        config: of the model; its image size and channels.
        seed: of the fields.
        device: where they are drawn.
        settings: how they are drawn.
    """

    def __init__(
        self, count: int, config: RcnConfig, seed: int, device: torch.device, settings: DrawingSettings | None = None
    ) -> None:
        self.count, self.config, self.device = count, config, device
        self.settings = settings or DrawingSettings(rest=REST)
        self.draws = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        """How many fields an epoch has."""
        return self.count

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """A batch: `pixel_values_videos` (B, 1, C, H, W), `labels` (-1 where no unit moves), `action_units` (B, U)."""
        return self.draw(len(indices))

    def draw(self, count: int, published: bool | None = None) -> dict[str, Tensor]:
        """As `__getitems__`: so many fields; all as signed flow, all in the published form, or (None) half of each."""
        drawn = draw_fields(count, tuple(self.config.image_size), self.draws, self.settings, self.device)
        channels = self.config.num_channels
        part = {None: count // 2, False: 0, True: count}[published]
        pictures = as_published_picture(torch.cat([drawn.flow, optical_strain(drawn.flow)], 1)[:part])
        pixels = torch.cat([flow_picture(pictures, channels), flow_picture(drawn.flow[part:], channels)])
        return {
            "pixel_values_videos": pixels[:, None],
            "labels": drawn.label,
            "action_units": (drawn.units > 0).float(),
        }


class JointClips(torch.utils.data.Dataset):
    """Clips, and in every batch fields of drawn motion behind them.

    The units of a clip are not known (NaN), and the fields are there as inputs (`drawn`), not as sequences.

    Args:
        clips: of which an epoch has each once.
        drawn: of the same classes and more, the fields.
        per_clip: how many fields go beside a clip.
        classes: of the labels, in their order; those of the fields are among them.
    """

    def __init__(self, clips: ResidentClips, drawn: DrawnClips, per_clip: int, classes: Sequence[str]) -> None:
        self.clips, self.drawn, self.per_clip = clips, drawn, per_clip
        numbers = [*(classes.index(name) for name in DRAWN_CLASSES), -1]  # the last, -1, is rest
        self.numbers = torch.tensor(numbers, device=clips.labels.device)

    def __len__(self) -> int:
        """How many clips there are."""
        return len(self.clips)

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """A batch as of `ResidentClips`; `drawn` (D, 1, C, H, W), and `labels` and `action_units` of B clips and D."""
        clips, fields = self.clips.__getitems__(indices), self.drawn.draw(self.per_clip * len(indices))
        unknown = torch.full((len(indices), fields["action_units"].shape[1]), torch.nan, device=self.numbers.device)
        return {
            **clips,
            "drawn": fields["pixel_values_videos"],
            "labels": torch.cat([clips["labels"], self.numbers[fields["labels"]]]),
            "action_units": torch.cat([unknown, fields["action_units"]]),
        }


__all__ = ["DRAWN_CLASSES", "DrawnClips", "JointClips", "ResidentClips"]
