"""The configuration of a recurrent convolutional network, and the published settings by name."""

from dataclasses import fields
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

# Xia et al., IEEE TMM 2020, authors' MATLAB release: three sections of depth 3, unshared
_STRCN: dict[str, Any] = {
    "backbone": "strcn_stem",
    "backbone_kwargs": {"width": 512},
    "shared_weights": False,
    "shared_norm": False,
    "section_pools": [4, 2, 2],
    "grid_size": 1,
}

PRESETS: dict[str, dict[str, Any]] = {
    # Xia et al., IEEE TIP 2020, authors' PyTorch release: one recurrent section with shared weights on a flow picture
    "rcn": {
        "connectivity": "geometric",
        "backbone": "rcn_stem",
        "backbone_kwargs": {"width": 32},
        "num_channels": 3,
        "num_frames": 1,
        "image_size": [60, 60],
        "section_pools": [2],
        "grid_size": 5,
    },
    # on the P x T matrix of a clip
    "strcn-a": {**_STRCN, "connectivity": "appearance", "num_channels": 1, "num_frames": 30, "image_size": [64, 48]},
    # on onset -> apex flow
    "strcn-g": {**_STRCN, "connectivity": "geometric", "num_channels": 2, "num_frames": 1, "image_size": [300, 245]},
}


@strict
class RcnConfig(PreTrainedConfig):
    r"""What builds an `RcnModel`.

    Args:
        connectivity: how time meets space. `"appearance"`: T grey frames become one matrix of P moving pixels x T;
            `"geometric"`: one picture of onset -> apex flow; `"sequence"`: features of T frames, recurrence over them.
        backbone: any timm model, or the papers' own stems `rcn_stem` and `strcn_stem`, which timm knows after import.
        backbone_kwargs: further arguments of `timm.create_model`, such as `width` of the stems or `img_size`.
        out_indices: feature levels of the backbone (timm's); several are pooled to the smallest and concatenated. None
            is the last level.
        num_channels: channels of a frame: grey 1, colour 3, flow (u, v) 2, flow with strain 3.
        num_frames: T, frames of a model input (1 for geometric).
        image_size: height and width of a model input in pixels.
        num_pixels: P of the matrix (appearance only); None is all pixels. Fitting a mask of moving pixels sets it.
        hidden_size: maps of the recurrent sections; None takes the backbone's, otherwise a 1x1 convolution leads over.
        recurrent_steps: K of the recurrent layer, where the input does not change over time.
        shared_weights: one recurrent convolution for all steps (RCN 2020), or one a step (STRCN).
        shared_norm: one batch normalisation for all recurrent steps, or one a step.
        section_pools: a recurrent section each, max-pooled by this factor.
        dropout: after each section.
        grid_size: side of the grid the last maps are averaged to before the linear layer (1 is global average).
        loss: `"cross_entropy"`, `"focal"` (Lin et al., ICCV 2017) or `"class_balanced"` (Cui et al., CVPR 2019).
        focal_gamma: exponent of the focal loss.
        class_counts: training clips of each class, which the class-balanced loss needs.
        class_balance_beta: beta of the effective number (1 - beta^n) / (1 - beta).
        label_smoothing: of the targets, in [0, 1).

    Raises:
        StrictDataclassClassValidationError: where fields contradict one another; the message says which.
    """

    model_type = "rcn"

    connectivity: Literal["appearance", "geometric", "sequence"] = "geometric"
    backbone: str = "rcn_stem"
    backbone_kwargs: dict[str, Any] | None = None
    out_indices: list[int] | tuple[int, ...] | None = None
    num_channels: int = 3
    num_frames: int = 1
    image_size: list[int] | tuple[int, ...] = (60, 60)
    num_pixels: int | None = None
    hidden_size: int | None = None
    recurrent_steps: int = 2
    shared_weights: bool = True
    shared_norm: bool = True
    section_pools: list[int] | tuple[int, ...] = (2,)
    dropout: float | int = 0.5
    grid_size: int = 5
    loss: Literal["cross_entropy", "focal", "class_balanced"] = "cross_entropy"
    focal_gamma: float | int = 2.0
    class_counts: list[int] | tuple[int, ...] | None = None
    class_balance_beta: float = 0.999
    label_smoothing: float | int = 0.0

    def validate_shapes(self) -> None:
        """Refuse inputs that the connectivity cannot take."""
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ValueError(f"image_size must be [height, width] in pixels, got {self.image_size}")
        if self.connectivity == "geometric" and self.num_frames != 1:
            raise ValueError(f"geometric connectivity takes one flow picture: num_frames is {self.num_frames}, not 1")
        if self.connectivity == "appearance" and self.num_channels != 1:
            raise ValueError(f"appearance connectivity takes grey frames: num_channels is {self.num_channels}, not 1")
        if self.connectivity == "sequence" and not (self.shared_weights and self.shared_norm):
            raise ValueError(
                "recurrence over frames needs shared_weights and shared_norm: it has as many steps as frames"
            )
        if min(self.num_frames, self.num_channels, self.grid_size, *self.section_pools) < 1 or not self.section_pools:
            raise ValueError("num_frames, num_channels, grid_size and every one of section_pools must be at least 1")
        if self.recurrent_steps < 0:
            raise ValueError(f"recurrent_steps must be 0 or more, got {self.recurrent_steps}")

    def validate_loss(self) -> None:
        """Refuse a loss whose numbers are missing or out of range."""
        if not 0 <= self.label_smoothing < 1 or not 0 <= self.dropout < 1 or not 0 <= self.class_balance_beta < 1:
            raise ValueError("label_smoothing, dropout and class_balance_beta must lie in [0, 1)")
        if self.class_counts is not None and len(self.class_counts) != self.num_labels:
            raise ValueError(f"class_counts has {len(self.class_counts)} entries for {self.num_labels} labels")

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "RcnConfig":
        """A published setting by name, with fields changed at will.

        Args:
            name: `"rcn"` (Xia et al., TIP 2020), `"strcn-a"` or `"strcn-g"` (Xia et al., TMM 2020); authors' code.
            overrides: any field of the configuration.

        Raises:
            ValueError: for another name, or a field that no configuration has.
        """
        if name not in PRESETS:
            raise ValueError(f"no preset {name!r}; choose from {', '.join(PRESETS)}")
        known = {field.name for field in fields(cls)} | {"num_labels"}
        unknown = sorted(set(overrides) - known)
        if unknown:
            raise ValueError(f"a configuration has no fields {unknown}; see the list in RcnConfig's docstring")
        return cls(**{**PRESETS[name], **overrides})


__all__ = ["PRESETS", "RcnConfig"]
