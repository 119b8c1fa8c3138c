"""A recurrent convolutional network that watches a face, and the decoder that makes events of what it says.

residual motion of moments (B, T, 2, rows, columns), head, fit
  -> moment_input: compressed, (B, T, 4, rows, columns)
  -> timm backbone: maps of each moment
  -> RecurrentConvLayer over moments, y_t = f(W_r * (x_t + y_{t-1})): its state goes in and comes out
  -> grid average -> linear layer: a few numbers a moment
  -> the numbers of moments before and after -> outputs (B, T, 11)
  -> EventDecoder: onset, apex, offset, score of each event

In evaluation the network takes one moment at a time, however many are given: so a video in chunks gives to the bit what
the whole gives.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.utils import ModelOutput

from .configuration_spotting_rcn import RcnSpottingConfig
from .errors_rcn import MerHfError
from .modeling_rcn import RcnBackbone, RcnPreTrainedModel, RecurrentConvLayer
from .motion_rcn import ResidualMotion

OUTPUTS = (
    *("upper expression", "upper onset", "upper apex", "upper offset"),
    *("lower expression", "lower onset", "lower apex", "lower offset"),
    *("speech", "blink", "macro"),
)
"""What the network says of a moment."""
RARE = {"expression": 3.0, "onset": 12.0, "apex": 12.0, "offset": 12.0}
"""What a positive target weighs in the loss."""
FLOOR = 0.004  # eye distances; below, motion is told by its length, above by the root of it


def moment_input(motion: ResidualMotion) -> Tensor:
    """What the network sees of residual motion, (..., 4, rows, columns).

    Lengths differ by a factor of a hundred between noise and speech, so they are compressed.
    """
    field, head = (part / FLOOR for part in (motion.field, motion.head))
    scaled = field * (1 + field.abs()).rsqrt()
    beside = torch.stack([head * (1 + head).rsqrt() - 2, 8 * (motion.fit - 0.6)], -1)
    beside = beside[..., None, None].expand(*beside.shape, *motion.field.shape[-2:])
    return torch.cat([scaled, beside], -3)


class SpottingState(NamedTuple):
    """What the network keeps of the moments that it has seen.

    Attributes:
        maps: (B, C, h, w), the state of the recurrent layer; None before the first moment.
        moments: (B, N, moment_size), the numbers of the last moments, zeros before the first.
        waiting: how many of them have not been told about.
    """

    maps: Tensor | None
    moments: Tensor
    waiting: int


@dataclass
class SpottingOutput(ModelOutput):
    """What `RcnForSpotting` gives.

    Attributes:
        loss: where targets were given.
        logits: (B, T', 11), in the order of `OUTPUTS`.
        state: to go on with; `SpottingState`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    state: SpottingState | None = None


class RcnForSpotting(RcnPreTrainedModel):
    """A recurrent convolutional network over residual motion that tells, moment by moment, what the face does."""

    config: RcnSpottingConfig  # ty: ignore[incompatible-attribute-override] - another kind of network
    config_class = RcnSpottingConfig
    main_input_name = "motion"

    def __init__(self, config: RcnSpottingConfig) -> None:
        super().__init__(config)  # ty: ignore[invalid-argument-type] - it has the fields that are read
        self.backbone = RcnBackbone(config)  # ty: ignore[invalid-argument-type] - it has the fields that are read
        channels = self.backbone.num_channels
        self.layer = RecurrentConvLayer(config, channels)  # ty: ignore[invalid-argument-type] - it has the fields that are read
        self.moment = nn.Linear(self.backbone.num_channels * math.prod(config.grid_size), config.moment_size)
        self.hidden = nn.Linear(config.moment_size * len(config.offsets), config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.outputs = nn.Linear(config.hidden_size, len(OUTPUTS))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            rare = module.out_features == len(OUTPUTS)  # at the beginning, nothing happens
            nn.init.constant_(module.bias, -3.0 if rare else 0.0)
        else:
            super()._init_weights(module)

    def first_state(self, count: int) -> SpottingState:
        """The state before the first moment of `count` videos."""
        before = -self.config.offsets[0]
        return SpottingState(None, self.moment.weight.new_zeros(count, before, self.config.moment_size), 0)

    def forward(
        self,
        motion: Tensor,
        state: SpottingState | None = None,
        last: bool = True,
        targets: Tensor | None = None,
    ) -> SpottingOutput:
        """Outputs for moments, as soon as what follows them has been seen.

        Args:
            motion: (B, T, channels, rows, columns), of `moment_input`, `config.rate` moments a second; T may be 0.
            state: of the moments before; None at the beginning.
            last: whether the video ends here: then the moments that still wait are told about too.
            targets: (B, T, 11) in [0, 1], NaN where nobody has told, of whole videos in one piece.

        Returns:
            Logits of the moments that waited or came, in their order, but for the last `config.offsets[-1]` where the
            video goes on.

        Raises:
            MerHfError: for another shape than the configuration's.
        """
        expected = (self.config.num_channels, *self.config.image_size)
        if motion.ndim != 5 or tuple(motion.shape[2:]) != tuple(expected):
            raise MerHfError(f"motion must be (B, T, {', '.join(map(str, expected))}), got {tuple(motion.shape)}")
        state = state or self.first_state(len(motion))
        pieces = (motion,) if self.training else (piece.clone() for piece in motion.split(1, 1) if piece.shape[1])
        logits = []
        for piece in pieces:
            maps, told = self._told_by(piece, state.maps)
            state = SpottingState(maps, torch.cat([state.moments, told], 1), state.waiting + told.shape[1])
            state = self._look(state, logits)
        if last:
            after = state.moments.new_zeros(len(motion), self.config.offsets[-1], self.config.moment_size)
            for piece in (after,) if self.training else after.split(1, 1):
                waiting = state.waiting + piece.shape[1]
                state = self._look(SpottingState(state.maps, torch.cat([state.moments, piece], 1), waiting), logits)
        told = torch.cat(logits, 1) if logits else motion.new_zeros(len(motion), 0, len(OUTPUTS))
        loss = None if targets is None else spotting_loss(told, targets)
        return SpottingOutput(loss=loss, logits=told, state=state)

    def _told_by(self, motion: Tensor, maps: Tensor | None) -> tuple[Tensor, Tensor]:
        """The state of the recurrent layer after some moments, and the numbers that tell of each of them."""
        inputs = self.backbone(motion.flatten(0, 1)).unflatten(0, motion.shape[:2])
        states = []
        for moment in inputs.unbind(1):
            maps = self.layer.first_state(moment) if maps is None else self.layer.step(moment + maps, 0)
            states.append(maps)
        pooled = torch.stack(states, 1).flatten(0, 1)
        rows, columns = self.config.grid_size
        if pooled.shape[2:] != (rows, columns):
            pooled = F.adaptive_avg_pool2d(pooled, (rows, columns))
        return states[-1], torch.tanh(self.moment(pooled.flatten(1))).unflatten(0, motion.shape[:2])

    def _look(self, state: SpottingState, logits: list[Tensor]) -> SpottingState:
        """Tell about the moments whose surroundings have been seen; forget what is not needed any more."""
        first, last = self.config.offsets[0], self.config.offsets[-1]
        ready = state.waiting - last
        if ready < 1:
            return state
        begin = state.moments.shape[1] - state.waiting + first
        seen = [state.moments[:, begin + offset - first :][:, :ready] for offset in self.config.offsets]
        hidden = F.relu(self.hidden(torch.cat(seen, 2)))
        logits.append(self.outputs(self.dropout(hidden)))
        return SpottingState(state.maps, state.moments[:, ready:], last)


def spotting_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy, (B, T, 11), in which expressions weigh more, and their rarer moments still more.

    The mean is of what is told: targets that are NaN count nowhere.
    """
    kinds = [name.split()[-1] for name in OUTPUTS]
    rare = torch.tensor([RARE.get(kind, 1.0) for kind in kinds], device=logits.device)
    told = ~targets.isnan()
    if told.all():
        return F.binary_cross_entropy_with_logits(logits.float(), targets, pos_weight=rare)
    each = F.binary_cross_entropy_with_logits(logits.float(), targets.nan_to_num(), pos_weight=rare, reduction="none")
    return (each * told).sum() / told.sum().clamp(min=1)


__all__ = ["OUTPUTS", "RcnForSpotting", "SpottingState", "moment_input"]
