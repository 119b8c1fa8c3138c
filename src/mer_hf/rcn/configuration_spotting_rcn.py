"""The configuration of a network that finds micro-expressions in long video."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict

from .configuration_rcn import LIMITS, CheckedConfig, check_backbone, explained
from .errors_rcn import MerHfError


@explained
@strict
class RcnSpottingConfig(CheckedConfig):
    r"""What builds an `RcnForSpotting`.

    Args:
        backbone: any timm model, or a stem of the papers (see `RcnConfig`).
        backbone_kwargs: further arguments of `timm.create_model`.
        out_indices: feature levels of the backbone, as `RcnConfig.out_indices`.
        num_channels: of a moment: residual motion to the right and downwards, speed of the head, quality of its fit.
        image_size: rows and columns of the field of a moment.
        grid_size: rows and columns of the grid that the maps of a moment are averaged to.
        moment_size: numbers that a moment is told by.
        offsets: moments that are seen together, relative to the one that is told about, ascending; the last is the
            lookahead. Far from it they are a pair's .2 s apart, so that what moves between them is seen once.
        hidden_size: of the layer that sees them.
        dropout: of that layer, in training.
        rate: moments a second.
        threshold: least score of an event; from drawn sequences, at `false_a_minute`.
        false_a_minute: events that are none, in a minute of drawn validation sequences, at the threshold.
        name_and_version: of a network that comes with mer_hf, such as `"spotter 1"`; see `RcnConfig`.
        trained_on: what users of the network should know of its training.
        training_subjects: people on whose recordings it was trained, as `corpus/subject`.

    Raises:
        MerHfError: where fields contradict one another, or are out of range; the message says which.
    """

    model_type = "rcn_spotting"

    backbone: str = "rcn_field_stem"
    backbone_kwargs: dict[str, Any] | None = None
    out_indices: list[int] | tuple[int, ...] | None = None
    connectivity: Literal["sequence"] = "sequence"
    recurrent_steps: int = 1
    shared_weights: bool = True
    shared_norm: bool = True
    dense_shortcuts: bool = False
    ceil_mode: bool = True
    num_channels: int = 4
    image_size: list[int] | tuple[int, ...] = (16, 9)
    grid_size: list[int] | tuple[int, ...] = (5, 4)
    moment_size: int = 48
    offsets: list[int] | tuple[int, ...] = (
        *(-50, -45, -40, -35, -30, -25, -20, -15, -12, -10, -8, -6, -5, -4, -3, -2, -1, 0),
        *(1, 2, 3, 4, 5, 6, 8, 10, 12, 17, 22),
    )
    hidden_size: int = 112
    dropout: float | int = 0.0
    rate: float | int = 25
    threshold: float | int = 0.5
    false_a_minute: float | int | None = None
    name_and_version: str | None = None
    trained_on: str | None = None
    training_subjects: list[str] | tuple[str, ...] | None = None

    def validate_backbone(self) -> None:
        """Refuse a backbone and arguments that a configuration may not name, as `RcnConfig` does."""
        check_backbone(self.backbone, self.backbone_kwargs)

    def validate_offsets(self) -> None:
        """Refuse moments that are out of order, or none."""
        ascending = all(first < second for first, second in zip(self.offsets, self.offsets[1:], strict=False))
        if not self.offsets or not ascending or self.offsets[0] > 0 or self.offsets[-1] < 0:
            raise MerHfError(f"offsets must ascend from 0 or less to 0 or more, got {self.offsets}")

    def validate_numbers(self) -> None:
        """Refuse sizes, rates and thresholds that make no sense."""
        if min(self.num_channels, self.moment_size, self.hidden_size, *self.grid_size, *self.image_size) < 1:
            raise MerHfError("num_channels, image_size, grid_size, moment_size and hidden_size must be at least 1")
        sizes = (self.num_channels, self.moment_size, self.hidden_size, self.recurrent_steps, *self.offsets)
        if max(*sizes, *self.grid_size, *self.image_size, -self.offsets[0], len(self.offsets)) > LIMITS["width"]:
            raise MerHfError(f"a size of this network is above {LIMITS['width']} (LIMITS['width'])")
        if not self.rate > 0 or not 0 <= self.dropout < 1 or not 0 <= self.threshold <= 1:
            raise MerHfError("rate must be above 0, dropout in [0, 1), threshold in [0, 1]")


__all__ = ["RcnSpottingConfig"]
