"""The configuration of a recurrent convolutional network, and the published settings by name."""

import copy
import json
from dataclasses import fields
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .errors_rcn import MerHfError

# STRCN, Xia et al., IEEE TMM 2020, authors' MATLAB release: three sections of depth 3, unshared. Here max-pooling
# keeps what does not fill a window: 30 columns would not outlast 4, 4, 2 and 2 otherwise
_STRCN: dict[str, Any] = {
    "backbone": "strcn_stem",
    "backbone_kwargs": {"width": 512},
    "shared_weights": False,
    "shared_norm": False,
    "section_pools": [4, 2, 2],
    "dropout": 0.0,
    "grid_size": 1,
}

# STRCN-A, on the P x T matrix of a clip: its five-fold script resamples to 30 columns, the other to 150
_STRCN_A = {**_STRCN, "connectivity": "appearance", "num_channels": 1, "num_frames": 30, "image_size": [64, 48]}

# RCN, Xia et al., IEEE TIP 2020, authors' PyTorch release: one recurrent section with shared weights on a flow picture
_RCN: dict[str, Any] = {
    "connectivity": "geometric",
    "backbone": "rcn_stem",
    "backbone_kwargs": {"width": 32},
    "num_channels": 3,
    "num_frames": 1,
    "image_size": [60, 60],
    "section_pools": [2],
    "ceil_mode": False,
    "grid_size": 5,
}
_WIDE = {"backbone": "rcn_wide_stem"}
_SHORTCUT = {"dense_shortcuts": True, "recurrent_steps": 3}

PRESETS: dict[str, dict[str, Any]] = {
    "rcn": _RCN,
    # The three parameter-free modules of the same paper, one at a time; the rest is the RCN
    "rcn-w": {**_RCN, **_WIDE},
    "rcn-s": {**_RCN, **_SHORTCUT},
    "rcn-a": {**_RCN, "attention": "output"},
    # All three together. RCN-C attends to the stem's maps by what the classes see in the picture itself, as the release
    # does; RCN-F to the first state, here with the third of its stems, in place of which the release runs the second
    # twice. RCN-P is missing: the released class cannot be built, and is not the searched mix that it is said to be
    "rcn-c": {**_RCN, **_WIDE, **_SHORTCUT, "attention": "stem"},
    "rcn-f": {**_RCN, **_WIDE, **_SHORTCUT, "attention": "state"},
    # The seed paper, Xia et al., IPTA 2018. What came out with STRCN has its inputs, jittering and training, not the
    # function that builds its network: the layers are STRCN's. Its own width, depth and T are unknown
    "mer-rcnn": _STRCN_A,
    "strcn-a": _STRCN_A,
    # On onset -> apex flow
    "strcn-g": {**_STRCN, "connectivity": "geometric", "num_channels": 2, "num_frames": 1, "image_size": [300, 245]},
}


SHARED = ("connectivity", "num_frames", "num_channels", "image_size", "id2label", "mirror_averaging")
"""Fields that the members of an ensemble have in common: they see the same clips, and name the same classes."""


@strict
class RcnConfig(PreTrainedConfig):
    r"""What builds an `RcnModel`.

    Args:
        connectivity: how time meets space. `"appearance"`: T grey frames become one matrix of P moving pixels x T;
            `"geometric"`: one picture of onset -> apex flow; `"sequence"`: features of T frames, recurrence over them.
        backbone: any timm model, or the papers' own stems `rcn_stem`, `rcn_wide_stem` (RCN-W) and `strcn_stem`, which
            timm knows after import.
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
        dense_shortcuts: a recurrent step sees the sum of all states before it, not the last alone (RCN-S).
        section_pools: a recurrent section each, max-pooled by this factor.
        ceil_mode: max-pooling keeps the rows and columns that do not fill a window, as P x T matrices of few columns
            need, or drops them (RCN 2020).
        attention: parameter-free attention to where the classes find their evidence (see `class_activation`): in the
            stem's maps, for the `"output"` of the sections (RCN-A); in the input of a section, for its first `"state"`
            (RCN-F); in the picture, for the maps of the `"stem"` (RCN-C).
        dropout: after each section.
        grid_size: side of the grid the last maps are averaged to before the linear layer (1 is global average).
        loss: `"cross_entropy"`, `"focal"` (Lin et al., ICCV 2017) or `"class_balanced"` (Cui et al., CVPR 2019).
        focal_gamma: exponent of the focal loss.
        class_counts: training clips of each class, which the class-balanced loss and the logit adjustment need.
        class_balance_beta: beta of the effective number (1 - beta^n) / (1 - beta).
        logit_adjustment: tau of logits + tau * log(share of the class), of which the loss is taken (Menon et al., ICLR
            2021): 1 trains for the mean recall of the classes, .5 for half of the way. The logits of a prediction are
            without it.
        label_smoothing: of the targets, in [0, 1).
        mirror_averaging: in evaluation, average the prediction with that for the mirrored clip.
        action_units: numbers (FACS) of the facial action units that a second linear layer tells apart; None without it.
        trained_on: what users of the model should know of its training, in a sentence or two; pipelines say it once.
        training_subjects: whom the clips of its training show, by their names in the dataset: no clip of theirs can say
            how good the model is. None where there are none, or they are not known.
        members: of an ensemble, whose predictions are averaged: for each network the fields in which it is of another
            kind than this configuration, often none (see `RcnForVideoClassification.average`). None: a single network.
        votes: of the members, summing to 1; None: equal ones.

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
    dense_shortcuts: bool = False
    section_pools: list[int] | tuple[int, ...] = (2,)
    ceil_mode: bool = True
    attention: Literal["stem", "state", "output"] | None = None
    dropout: float | int = 0.5
    grid_size: int = 5
    loss: Literal["cross_entropy", "focal", "class_balanced"] = "cross_entropy"
    focal_gamma: float | int = 2.0
    class_counts: list[int] | tuple[int, ...] | None = None
    class_balance_beta: float = 0.999
    logit_adjustment: float | int = 0.0
    label_smoothing: float | int = 0.0
    mirror_averaging: bool = False
    action_units: list[int] | tuple[int, ...] | None = None
    trained_on: str | None = None
    training_subjects: list[str] | tuple[str, ...] | None = None
    members: list[dict] | tuple[dict, ...] | None = None
    votes: list[float] | tuple[float, ...] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Take what transformers takes; `custom_pipelines` only where this file came with a model.

        `pipeline()` follows that key before it looks among its own tasks, and then demands `trust_remote_code`. Where
        mer_hf is installed its task is registered, and needs no such lead; `save_pretrained` of the pipeline writes it.
        """
        if __name__.startswith("mer_hf."):
            kwargs.pop("custom_pipelines", None)
        super().__post_init__(**kwargs)

    def validate_shapes(self) -> None:
        """Refuse inputs that the connectivity cannot take."""
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise MerHfError(f"image_size must be [height, width] in pixels, got {self.image_size}")
        if self.connectivity == "geometric" and self.num_frames != 1:
            raise MerHfError(f"geometric connectivity takes one flow picture: num_frames is {self.num_frames}, not 1")
        if self.connectivity == "appearance" and self.num_channels != 1:
            raise MerHfError(f"appearance connectivity takes grey frames: num_channels is {self.num_channels}, not 1")
        if self.connectivity == "sequence" and not (self.shared_weights and self.shared_norm):
            raise MerHfError(
                "recurrence over frames needs shared_weights and shared_norm: it has as many steps as frames"
            )
        if self.connectivity == "sequence" and (self.dense_shortcuts or self.attention is not None):
            raise MerHfError("dense_shortcuts and attention are for one map a clip, not for recurrence over frames")
        if self.attention is not None and self.grid_size < 2:
            raise MerHfError("attention compares the places of the grid: grid_size must be at least 2")
        if min(self.num_frames, self.num_channels, self.grid_size, *self.section_pools) < 1 or not self.section_pools:
            raise MerHfError("num_frames, num_channels, grid_size and every one of section_pools must be at least 1")
        for name in ("members", "action_units"):
            if getattr(self, name) is not None and not len(getattr(self, name)):
                raise MerHfError(f"{name} is None or has an entry, got an empty list")
        if self.votes is not None and len(self.votes) != len(self.members or ()):
            raise MerHfError(f"votes has {len(self.votes)} entries for {len(self.members or ())} members")
        if self.recurrent_steps < 0:
            raise MerHfError(f"recurrent_steps must be 0 or more, got {self.recurrent_steps}")

    def validate_loss(self) -> None:
        """Refuse a loss whose numbers are missing or out of range."""
        if not 0 <= self.label_smoothing < 1 or not 0 <= self.dropout < 1 or not 0 <= self.class_balance_beta < 1:
            raise MerHfError("label_smoothing, dropout and class_balance_beta must lie in [0, 1)")
        if self.logit_adjustment < 0:
            raise MerHfError(f"logit_adjustment must be 0 or more, got {self.logit_adjustment}")
        if self.class_counts is not None and len(self.class_counts) != self.num_labels:
            raise MerHfError(f"class_counts has {len(self.class_counts)} entries for {self.num_labels} labels")

    def differences(self, other: "RcnConfig") -> dict[str, Any]:
        """The fields, the labels among them, in which another configuration is of another kind, and what they are."""
        # how many clips a network learnt from, and how many it is one of, does not make it another kind
        beside = {"class_counts", "members", "votes", "trained_on", "training_subjects"}
        names = sorted(set(RcnConfig.__annotations__) - beside | {"id2label"})
        # as written to a file, where tuples are lists
        told = {name: (json.dumps(getattr(self, name)), json.dumps(getattr(other, name))) for name in names}
        return {name: json.loads(theirs) for name, (ours, theirs) in told.items() if ours != theirs}

    def member_configs(self) -> list["RcnConfig"]:
        """The configuration of each network of an ensemble; none for a single network."""
        configs = []
        for changes in self.members or ():
            config = copy.deepcopy(self)
            config.members = config.votes = None
            for name, value in changes.items():
                setattr(config, name, value)
            configs.append(config)
        return configs

    def member_votes(self) -> list[float]:
        """What part each network has in the mean prediction; a single one has all of it."""
        count = len(self.members or [self])
        return list(self.votes or [1 / count] * count)

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "RcnConfig":
        """A published setting by name, with fields changed at will.

        Args:
            name: `"mer-rcnn"`, the seed paper's (Xia et al., IPTA 2018), as far as it is known; `"strcn-a"`,
                `"strcn-g"` (Xia et al., TMM 2020); `"rcn"`, and with wide expansion, shortcuts, attention or all three
                `"rcn-w"`, `"rcn-s"`, `"rcn-a"`, `"rcn-c"`, `"rcn-f"` (Xia et al., TIP 2020); authors' code throughout.
            overrides: any field of the configuration.

        Raises:
            ValueError: for another name, or a field that no configuration has.
        """
        if name not in PRESETS:
            raise MerHfError(f"no preset {name!r}; choose from {', '.join(PRESETS)}")
        known = {field.name for field in fields(cls)} | {"num_labels"}
        unknown = sorted(set(overrides) - known)
        if unknown:
            raise MerHfError(f"a configuration has no fields {unknown}; see the list in RcnConfig's docstring")
        return cls(**{**PRESETS[name], **overrides})


__all__ = ["PRESETS", "RcnConfig"]
