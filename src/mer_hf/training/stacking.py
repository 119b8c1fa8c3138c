"""Layers of which vmap computes k as one, and the random numbers of dropout of each.

A mask of dropout comes from outside, and a batch normalisation leaves out the rows that only fill a batch up.
"""

import copy
import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.tuning_rcn import Dropout


class KeptDropout(nn.Module):
    """Dropout by a mask that is given."""

    kept: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones(()), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps times the mask."""
        return maps * self.kept.to(maps.dtype)


class RowsNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of those rows of a batch that count; torch's own where all do."""

    rows: Tensor
    ragged = False

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.register_buffer("rows", torch.ones(1), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B * T, C, h, w) of B rows, each of T frames."""
        if not self.ragged:
            return super().forward(input)
        maps, each = input.float(), len(input) // len(self.rows)
        weights = self.rows[:, None].expand(-1, each).reshape(-1, 1, 1, 1)
        count = weights.sum() * math.prod(maps.shape[2:])
        mean = (maps * weights).sum((0, 2, 3)) / count.clamp(min=1)
        centred = maps - mean[:, None, None]
        variance = (centred.square() * weights).sum((0, 2, 3)) / count.clamp(min=1)
        momentum = cast(float, self.momentum) * (count > 0)  # a fold that is through stays as it is
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            cast(Tensor, self.running_mean).add_(momentum * (mean - cast(Tensor, self.running_mean)))
            cast(Tensor, self.running_var).add_(momentum * (unbiased - cast(Tensor, self.running_var)))
            cast(Tensor, self.num_batches_tracked).add_((count > 0).long())
        scaled = centred * ((variance + self.eps).rsqrt() * self.weight)[:, None, None]
        return (scaled + self.bias[:, None, None]).to(input.dtype)


def stackable(model: RcnForVideoClassification) -> RcnForVideoClassification:
    """A copy of a network whose dropout and batch normalisation are those above, under the names that they had."""
    network = copy.deepcopy(model).to(memory_format=torch.contiguous_format).train()
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Dropout) and 0 < child.p < 1:
                setattr(module, name, KeptDropout())
            elif isinstance(child, nn.BatchNorm2d):
                setattr(module, name, RowsNorm(child))
    return network


# --- what dropout draws ---


class Dropped(NamedTuple):
    """A dropout layer, and the maps that come to it.

    Attributes:
        name: of the layer.
        p: part of the numbers that become zero.
        frames: number of maps of one row of a batch.
        shape: (C, h, w) of one of them.
        stride: of the maps in memory, whose order the random numbers have.
    """

    name: str
    p: float
    frames: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def mask(self, kept: Tensor) -> Tensor:
        """(k, rows * numbers of a row) in the order of memory -> (k, rows * frames, *shape)."""
        rows = kept.shape[1] // math.prod(self.shape)
        return kept.as_strided((len(kept), rows, *self.shape), (kept.shape[1], *self.stride))

    def numbers(self, rows: int) -> int:
        """How many numbers the maps of so many rows hold."""
        return rows * self.frames * math.prod(self.shape)


def dropouts_of(network: RcnForVideoClassification) -> list[Dropped]:
    """The dropout layers of a network in the order in which they are called, found with two blank clips."""
    found: list[Dropped] = []
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, Dropout) and 0 < module.p < 1:

            def note(module: nn.Module, inputs: tuple[Tensor], name: str = name, p: float = module.p) -> None:
                maps = inputs[0]
                found.append(Dropped(name, p, len(maps) // 2, maps.shape[1:], torch.empty_like(maps).stride()))

            hooks.append(module.register_forward_pre_hook(note))
    config = network.config
    blank = torch.zeros(2 * config.num_frames, config.num_channels, *config.image_size, device=network.device)
    blank = blank.contiguous(memory_format=torch.channels_last).unflatten(0, (2, -1))  # as batches of a training are
    with torch.no_grad():
        network.eval().single_network(blank)
    for hook in hooks:
        hook.remove()
    return found


def hashed_words(keys: Tensor, steps: Tensor, layer: int, count: int) -> Tensor:
    """Random words (k, count) int64 that follow from a key, a step and a layer alone, the same on every device.

    They are the finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014) of a counter, twice.

    Args:
        keys: (k,) int64, a fold's own.
        steps: (k,) int64, how many steps the fold has made.
        layer: which of its layers they are for.
        count: number of words.
    """
    streams = _mixed(_mixed(keys) + steps * 2**16 + layer)
    places = torch.arange(count, device=keys.device) * -7046029254386353131  # 2^64 over the golden ratio, as int64
    return _mixed(streams[:, None] + places)


def _mixed(words: Tensor) -> Tensor:
    """A bijection of int64 under which near words are far apart; products wrap around."""
    words = (words ^ (words >> 30 & (1 << 34) - 1)) * -4658895280553007687
    words = (words ^ (words >> 27 & (1 << 37) - 1)) * -7723592293110705685
    return words ^ (words >> 31 & (1 << 33) - 1)


__all__ = ["Dropped", "RowsNorm", "dropouts_of", "hashed_words", "stackable"]
