"""The configuration of a recurrent convolutional network, and the published settings by name."""

import copy
import functools
import json
import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, ParamSpec, Self, TypeVar

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from .errors_rcn import MerHfError
from .names_rcn import check_name

logger = logging.getLogger(__name__)

Config = TypeVar("Config", bound=PreTrainedConfig)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

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


LIMITS: dict[str, int] = {
    "labels": 10_000,
    "members": 1_000,
    "layers": 5_000,
    "width": 2**16,
    "values": 2**28,
    "weights": 2**30,
}
"""The most that a configuration may ask for, so that a file from elsewhere cannot take all memory: classes or action
units; networks of an ensemble; sections, steps or blocks; any other number in them; numbers of one model input; weights
of the whole model. Who needs more sets an entry, before the model is loaded."""

STEMS = ("rcn_stem", "rcn_wide_stem", "strcn_stem", "rcn_field_stem")
"""The papers' own backbones."""

BACKBONE_KWARGS: dict[str, str] = {
    **dict.fromkeys(("width", "kernel_size", "pool", "patch_size", "embed_dim", "num_heads", "output_stride"), "count"),
    "depth": "depth",
    "padding": "padding",
    **dict.fromkeys(("drop_rate", "drop_path_rate", "proj_drop_rate", "attn_drop_rate"), "rate"),
    **dict.fromkeys(("ceil_mode", "strict_img_size", "dynamic_img_size", "dynamic_img_pad"), "switch"),
    **dict.fromkeys(("img_size", "window_size"), "size"),
    "depths": "depths",
    **dict.fromkeys(("dims", "embed_dims"), "counts"),
}
"""What a configuration may say to `timm.create_model`, and of which kind it is. All of it shapes the network: nothing
here names weights, a path, an address or code."""

_FROM_FILE = {"model_type", "transformers_version", "_name_or_path", "auto_map", "custom_pipelines", "num_labels"}
_FROM_FILE |= {"torch_dtype", "use_cache"}  # of earlier versions of transformers

SHARED = ("connectivity", "num_frames", "num_channels", "image_size", "id2label", "mirror_averaging")
"""Fields that the members of an ensemble have in common: they see the same clips, and name the same classes."""


def _is_count(value: object, most: int, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_of_kind(value: object, kind: str) -> bool:
    """Whether an argument of a backbone is of a kind that `BACKBONE_KWARGS` names."""
    most = LIMITS["layers" if kind in ("depth", "depths") else "width"]
    if kind == "switch":
        return isinstance(value, bool)
    if kind == "rate":
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    if kind == "size" and isinstance(value, list | tuple):
        return len(value) == 2 and all(_is_count(side, most) for side in value)
    if kind in ("counts", "depths"):
        return isinstance(value, list | tuple) and len(value) < 100 and all(_is_count(each, most) for each in value)
    return _is_count(value, most, least=0 if kind == "padding" else 1)


def _shown(value: object) -> str:
    """A value of a file from elsewhere, at a length that a message can hold."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _reason(error: BaseException) -> str:
    """What an error of strict dataclasses, or any other, says: in one line that a message can hold."""
    cause = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
    said = " ".join(str(cause).split())
    said = said if isinstance(cause, MerHfError | TypeError) else f"{type(cause).__name__}: {said}"
    return said if len(said) <= 500 else f"{said[:500]}..."


def _explained(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A method of a strict dataclass, whose errors become the package's own."""

    @functools.wraps(method)
    def explained(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return method(*args, **kwargs)
        except StrictDataclassError as error:
            raise MerHfError(_reason(error)) from error

    return explained


def explained(config_class: type[Config]) -> type[Config]:
    """Let a strict dataclass raise `MerHfError`: `strict` itself raises errors that no ValueError catches."""
    for name in ("__init__", "__setattr__", "validate"):
        setattr(config_class, name, _explained(getattr(config_class, name)))
    return config_class


def check_backbone(backbone: str, backbone_kwargs: Mapping[str, object] | None) -> None:
    """Refuse a backbone that timm has not registered by this name, and arguments that are not on the list."""
    if not re.fullmatch(r"\w+(\.\w+)?", backbone, re.ASCII):
        raise MerHfError(
            f"backbone must be the name of a model in timm, without source or path, got {_shown(backbone)}"
        )
    if backbone not in STEMS:
        from timm.models import is_model  # takes seconds, for which the papers' own stems do not wait

        if not is_model(backbone):
            raise MerHfError(f"timm has no model {backbone!r}; see timm.list_models()")
    for name, value in (backbone_kwargs or {}).items():
        if name == "pretrained":
            raise MerHfError(
                "backbone_kwargs cannot ask for pretrained weights, which would be fetched at every loading; begin "
                "with them by RcnForVideoClassification.with_pretrained_backbone(config)"
            )
        if name not in BACKBONE_KWARGS:
            raise MerHfError(f"backbone_kwargs may hold {', '.join(BACKBONE_KWARGS)}; got {_shown(name)}")
        if not _is_of_kind(value, BACKBONE_KWARGS[name]):
            raise MerHfError(f"backbone_kwargs[{name!r}] is no {BACKBONE_KWARGS[name]} in LIMITS: {_shown(value)}")


class CheckedConfig(PreTrainedConfig):
    """A configuration that may come from somebody else: read by a list of fields, saved without code from elsewhere."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: object) -> Self:
        """Read a configuration, as transformers does.

        Raises:
            MerHfError: where the file is no configuration of this kind; it names the file and the field.
            OSError: where it cannot be had.
        """
        options: dict[str, Any] = kwargs
        try:
            return super().from_pretrained(pretrained_model_name_or_path, **options)
        except OSError:
            raise
        except Exception as error:  # whatever transformers raises over what others wrote
            raise MerHfError(f"the configuration of {pretrained_model_name_or_path}: {_reason(error)}") from error

    @classmethod
    def from_dict(cls, config_dict: dict[str, object], **kwargs: object) -> Self:
        """A configuration of what a file says; what a configuration cannot say is left out, with a warning.

        Raises:
            MerHfError: as `from_pretrained`.
        """
        where = f"the configuration of {kwargs['name_or_path']}: " if "name_or_path" in kwargs else ""
        try:
            return super().from_dict(cls._allowed(config_dict), **kwargs)
        except Exception as error:  # whatever transformers raises over what others wrote
            raise MerHfError(f"{where}{_reason(error)}") from error

    @classmethod
    def _allowed(cls, config_dict: dict[str, object]) -> dict[str, Any]:
        """What of a file is read: no field that only transformers' other models have, no wish for timm's weights."""
        if not isinstance(config_dict, dict) or config_dict.get("model_type", cls.model_type) != cls.model_type:
            raise MerHfError(f"it is no table with model_type {cls.model_type!r}")
        names = {field.name for field in fields(cls)} | _FROM_FILE
        if unknown := sorted(set(map(str, config_dict)) - names):
            logger.warning("a configuration has no fields %s, which are left out", _shown(unknown))
        allowed: dict[str, Any] = copy.deepcopy({name: value for name, value in config_dict.items() if name in names})
        for name in ("auto_map", "custom_pipelines"):
            if not isinstance(allowed.get(name, {}), dict):
                raise MerHfError(f"{name} must be a table of classes, got {_shown(allowed[name])}")
        members = allowed.get("members")
        for changes in [allowed, *(members if isinstance(members, list | tuple) else [])]:
            if isinstance(changes, dict) and isinstance(changes.get("backbone_kwargs"), dict):
                changes["backbone_kwargs"].pop("pretrained", None)  # of earlier versions; the weights lie beside
        return allowed

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: object) -> None:
        """Save the configuration, as transformers does; it names no code but that which lies beside it.

        What else `auto_map` or `custom_pipelines` of a file from elsewhere named is left out of the new file.
        """
        there = {path.stem for path in Path(save_directory).glob("*.py")} | {type(self).__module__.split(".")[-1]}
        if isinstance(getattr(self, "auto_map", None), dict):
            self.auto_map = {key: code for key, code in self.auto_map.items() if str(code).split(".")[0] in there}
        pipelines = self.__dict__.get("custom_pipelines")
        if isinstance(pipelines, dict):
            kept = {task: entry for task, entry in pipelines.items() if str(entry["impl"]).split(".")[0] in there}
            self.__dict__["custom_pipelines"] = kept
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)


def rule_of_confidence(abstain_below: float, abstain_because: str | None) -> str:
    """When an answer is not confident, in a sentence; pipelines, cards and pages say it in these words.

    Args:
        abstain_below: see `RcnConfig`.
        abstain_because: likewise.
    """
    said = "No answer is confident" if abstain_below > 1 else f"Below {abstain_below:.2f}, an answer is not confident"
    return f"{said}: {abstain_because}." if abstain_because else f"{said}."


@explained
@strict
class RcnConfig(CheckedConfig):
    r"""What builds an `RcnModel`.

    A file from elsewhere is read by a list of what it may say: the fields below, those of every configuration of
    transformers, and of a backbone's arguments those in `BACKBONE_KWARGS`; other fields are left out with a warning.
    Nothing in it can name weights, files, addresses or code, and nothing exceeds `LIMITS`.

    Args:
        connectivity: how time meets space. `"appearance"`: T grey frames become one matrix of P moving pixels x T;
            `"geometric"`: one picture of onset -> apex flow; `"sequence"`: features of T frames, recurrence over them.
        backbone: any model that timm has registered, by its name alone, or the papers' own stems `rcn_stem`,
            `rcn_wide_stem` (RCN-W) and `strcn_stem`, which timm knows after import.
        backbone_kwargs: further arguments of `timm.create_model`, such as `width` of the stems or `img_size`: those of
            `BACKBONE_KWARGS`. Weights that timm publishes are no part of a configuration: see
            `RcnForVideoClassification.with_pretrained_backbone`.
        out_indices: feature levels of the backbone (timm's); several are pooled to the smallest and concatenated. None
            is the last level.
        num_channels: channels of a frame: grey 1, colour 3, flow (u, v) 2, flow with strain 3.
        changes: the network sees how each grey frame differs from the first, against the contrast of its surroundings
            (see `modeling_rcn.changes_of`), in place of its grey levels.
        num_frames: T, frames of a model input (1 for geometric).
        image_size: height and width of a model input in pixels.
        num_pixels: P of the matrix (appearance only); None is all pixels. Fitting a mask of moving pixels sets it.
        hidden_size: maps of the recurrent sections; None takes the backbone's, otherwise a 1x1 convolution leads over.
        recurrent_steps: K of the recurrent layer, where the input does not change over time. Over frames it takes one
            step a frame, or with 0 none: each frame by itself, and their mean in the end.
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
        name_and_version: of a model that comes with mer_hf, such as `"default 1"`; other weights have another. None for
            any other model.
        trained_on: what users of the model should know of its training, in a sentence or two; pipelines say it once.
        temperature: T of softmax(logits / T) in evaluation, with which scores are right as often as they say; it was
            fitted on clips that the networks had not seen, and changes no prediction.
        abstain_below: least score of the first class of a confident answer; above 1 no answer is. None: not known.
        abstain_because: what that threshold stands for, in half a sentence.
        training_subjects: whom the clips of its training show, by their names in the dataset: no clip of theirs can say
            how good the model is. None where there are none, or they are not known.
        members: of an ensemble, whose predictions are averaged: for each network the fields in which it is of another
            kind than this configuration, often none (see `RcnForVideoClassification.average`). None: a single network.
        votes: of the members, summing to 1; None: equal ones.

    Raises:
        MerHfError: for a field of a wrong type or beyond its range, or fields that contradict one another; the message
            names them.
    """

    model_type = "rcn"

    connectivity: Literal["appearance", "geometric", "sequence"] = "geometric"
    backbone: str = "rcn_stem"
    backbone_kwargs: dict[str, Any] | None = None
    out_indices: list[int] | tuple[int, ...] | None = None
    num_channels: int = 3
    num_frames: int = 1
    changes: bool = False
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
    name_and_version: str | None = None
    trained_on: str | None = None
    temperature: float | int = 1.0
    abstain_below: float | int | None = None
    abstain_because: str | None = None
    training_subjects: list[str] | tuple[str, ...] | None = None
    members: list[dict] | tuple[dict, ...] | None = None
    votes: list[float] | tuple[float, ...] | None = None

    def __post_init__(self, **kwargs: object) -> None:
        """Refuse what the classes above would act on before anything is validated.

        `custom_pipelines` is taken only where this file came with a model: `pipeline()` follows it before it looks
        among its own tasks, and then demands `trust_remote_code`. Where mer_hf is installed its task is registered, and
        needs no such lead; `save_pretrained` of the pipeline writes it.
        """
        if __name__.startswith("mer_hf."):
            kwargs.pop("custom_pipelines", None)
        count = kwargs.get("num_labels")
        if count is not None and not _is_count(count, LIMITS["labels"]):
            raise MerHfError(f"num_labels must be 1 to {LIMITS['labels']} (LIMITS['labels']), got {_shown(count)}")
        if self.id2label is not None and {str(key) for key in self.id2label} != set(
            map(str, range(len(self.id2label)))
        ):
            raise MerHfError(f"id2label must name each class, from 0 without a gap, got {_shown(self.id2label)}")
        dtype = kwargs.get("torch_dtype", self.dtype)
        if isinstance(dtype, str | int | float | list | dict) and dtype not in (
            "float32",
            "float16",
            "bfloat16",
            "float64",
        ):
            raise MerHfError(f"dtype must be float32, float16, bfloat16 or float64, got {_shown(dtype)}")
        super().__post_init__(**kwargs)

    def validate_sizes(self) -> None:
        """Refuse sizes that no network has, before anything is allocated."""
        at_least = {"num_frames": 1, "num_channels": 1, "grid_size": 1, "num_pixels": 1, "hidden_size": 1}
        at_least |= {"recurrent_steps": 0, "section_pools": 1, "image_size": 1, "out_indices": -100, "action_units": 1}
        for name, least in at_least.items():
            value = getattr(self, name)
            sizes = value if isinstance(value, list | tuple) else [least if value is None else value]
            most = LIMITS["layers" if name == "recurrent_steps" else "values" if name == "num_pixels" else "width"]
            if len(sizes) > LIMITS["layers"] or not all(least <= size <= most for size in sizes):
                raise MerHfError(
                    f"{name} must be at least {least} and at most {most} (see LIMITS), got {_shown(value)}"
                )
        steps = 1 if self.shared_weights and self.shared_norm else 1 + self.recurrent_steps
        if (layers := steps * len(self.section_pools) * len(self.members or [self])) > LIMITS["layers"]:
            raise MerHfError(f"{layers} recurrent layers are more than {LIMITS['layers']} (LIMITS['layers'])")
        for name in ("members", "action_units", "section_pools", "out_indices"):
            if getattr(self, name) is not None and not len(getattr(self, name)):
                raise MerHfError(f"{name} must have an entry, got an empty list")
        if not 1 <= (labels := len(self.class_names())) <= LIMITS["labels"]:
            raise MerHfError(f"there must be 1 to {LIMITS['labels']} labels (see LIMITS), got {labels}")
        if len(self.image_size) != 2:
            raise MerHfError(f"image_size must be [height, width] in pixels, got {_shown(self.image_size)}")
        if (values := self.num_frames * self.num_channels * math.prod(self.image_size)) > LIMITS["values"]:
            raise MerHfError(
                f"an input of {self.num_frames} frames, {self.num_channels} channels and {self.image_size} pixels has "
                f"{values} numbers, more than {LIMITS['values']}; who needs more sets LIMITS['values']"
            )
        if self.num_pixels is not None and self.num_pixels > math.prod(self.image_size):
            raise MerHfError(f"num_pixels is {self.num_pixels}, more than image_size {self.image_size} has")

    def validate_names(self) -> None:
        """Refuse names that are no text in one line: they are shown in tables, cards and pages."""
        shown = {
            "id2label": self.class_names(),
            "training_subjects": self.training_subjects or (),
            "abstain_because": [self.abstain_because or ""],
            "name_and_version": [self.name_and_version or ""],
        }
        for what, names in shown.items():
            for name in names:
                check_name(name, what)

    def validate_shapes(self) -> None:
        """Refuse inputs that the connectivity cannot take."""
        if self.connectivity == "geometric" and self.num_frames != 1:
            raise MerHfError(f"geometric connectivity takes one flow picture: num_frames is {self.num_frames}, not 1")
        if self.connectivity == "appearance" and self.num_channels != 1:
            raise MerHfError(f"appearance connectivity takes grey frames: num_channels is {self.num_channels}, not 1")
        if self.changes and (self.num_channels != 1 or self.num_frames < 2):
            raise MerHfError(
                f"changes are between grey frames: num_channels is {self.num_channels}, num_frames {self.num_frames}"
            )
        if self.connectivity == "sequence" and not (self.shared_weights and self.shared_norm):
            raise MerHfError(
                "recurrence over frames needs shared_weights and shared_norm: it has as many steps as frames"
            )
        if self.connectivity == "sequence" and (self.dense_shortcuts or self.attention is not None):
            raise MerHfError("dense_shortcuts and attention are for one map a clip, not for recurrence over frames")
        if self.attention is not None and self.grid_size < 2:
            raise MerHfError("attention compares the places of the grid: grid_size must be at least 2")

    def validate_backbone(self) -> None:
        """Refuse a backbone that timm has not registered by this name, and arguments that are not on the list."""
        check_backbone(self.backbone, self.backbone_kwargs)

    def validate_loss(self) -> None:
        """Refuse a loss whose numbers are missing or out of range, or that this model is not trained by."""
        for name in ("label_smoothing", "dropout", "class_balance_beta"):
            if not 0 <= getattr(self, name) < 1:
                raise MerHfError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        for name in ("focal_gamma", "logit_adjustment"):
            if not 0 <= getattr(self, name) < math.inf:
                raise MerHfError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.class_counts is not None and len(self.class_counts) != self.num_labels:
            raise MerHfError(f"class_counts has {len(self.class_counts)} entries for {self.num_labels} labels")
        if self.problem_type not in (None, "single_label_classification"):
            raise MerHfError(f"problem_type is {self.problem_type!r}, but a clip has one label: leave it out")

    def validate_confidence(self) -> None:
        """Refuse a temperature or a threshold that no score has."""
        if not 0 < self.temperature < math.inf:
            raise MerHfError(f"temperature must be above 0 and finite, got {self.temperature}")
        if self.abstain_below is not None and not 0 <= self.abstain_below < math.inf:
            raise MerHfError(f"abstain_below must be 0 or more and finite, got {self.abstain_below}")

    def validate_members(self) -> None:
        """Refuse members of another kind than an ensemble can have, each by its own fields."""
        if (count := len(self.members or ())) > LIMITS["members"]:
            raise MerHfError(f"{count} members are more than {LIMITS['members']} (LIMITS['members'])")
        if self.votes is not None and len(self.votes) != count:
            raise MerHfError(f"votes has {len(self.votes)} entries for {count} members")
        if self.votes is not None and not (min(self.votes) > 0 and abs(sum(self.votes) - 1) < 1e-6):
            raise MerHfError(f"votes must be above 0 and sum to 1, got {_shown(self.votes)}")
        for number, changes in enumerate(self.members or ()):
            if unknown := sorted(set(map(str, changes)) - MEMBER_FIELDS):
                raise MerHfError(f"members[{number}] cannot have {_shown(unknown)} of its own")
        for number, config in enumerate(self.member_configs()):
            try:
                config.validate()
            except MerHfError as error:
                raise MerHfError(f"members[{number}]: {error}") from error

    def doubt(self, score: float) -> str | None:
        """Why an answer is not confident, by the score of its first class; None where it is, or that is not known."""
        if self.abstain_below is None or score >= self.abstain_below:
            return None
        return f"the first score is {score:.2f}. {rule_of_confidence(self.abstain_below, self.abstain_because)}"

    def class_names(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        return [*(self.id2label or {}).values()]

    def differences(self, other: "RcnConfig") -> dict[str, object]:
        """The fields, the labels among them, in which another configuration is of another kind, and what they are."""
        # as written to a file, where tuples are lists
        names = sorted({*MEMBER_FIELDS, *SHARED})
        written = {name: (json.dumps(getattr(self, name)), json.dumps(getattr(other, name))) for name in names}
        return {name: json.loads(theirs) for name, (ours, theirs) in written.items() if ours != theirs}

    def member_configs(self) -> list["RcnConfig"]:
        """The configuration of each network of an ensemble; none for a single network."""
        configs = []
        single = copy.copy(self)
        single.members = single.votes = None
        for changes in self.members or ():
            config = copy.deepcopy(single)
            for name, value in changes.items():
                setattr(config, name, value)
            configs.append(config)
        return configs

    def member_votes(self) -> list[float]:
        """What part each network has in the mean prediction; a single one has all of it."""
        count = len(self.members or [self])
        return list(self.votes or [1 / count] * count)

    @classmethod
    def preset(cls, name: str, **overrides: object) -> "RcnConfig":
        """A published setting by name, with fields changed at will.

        Args:
            name: `"mer-rcnn"`, the seed paper's (Xia et al., IPTA 2018), as far as it is known; `"strcn-a"`,
                `"strcn-g"` (Xia et al., TMM 2020); `"rcn"`, and with wide expansion, shortcuts, attention or all three
                `"rcn-w"`, `"rcn-s"`, `"rcn-a"`, `"rcn-c"`, `"rcn-f"` (Xia et al., TIP 2020); authors' code throughout.
            overrides: any field of the configuration.

        Raises:
            MerHfError: for another name, a field that no configuration has, or a value that it cannot have.
        """
        if name not in PRESETS:
            raise MerHfError(f"no preset {name!r}; choose from {', '.join(PRESETS)}")
        known = {field.name for field in fields(cls)} | {"num_labels"}
        unknown = sorted(set(overrides) - known)
        if unknown:
            raise MerHfError(f"a configuration has no fields {unknown}; see the list in RcnConfig's docstring")
        chosen: dict[str, Any] = {**PRESETS[name], **overrides}
        return cls(**chosen)


# how many clips a network learnt from, and how many it is one of, does not make it another kind
OF_THE_WEIGHTS: dict[str, Any] = {
    "name_and_version": None,
    "trained_on": None,
    "temperature": 1.0,
    "abstain_below": None,
    "abstain_because": None,
}
"""Fields that say something of certain weights, and what they are where nothing is known of these."""
_NO_KIND = {"class_counts", "members", "votes", "training_subjects", *OF_THE_WEIGHTS}
MEMBER_FIELDS = set(RcnConfig.__annotations__) - _NO_KIND - set(SHARED)
"""Fields in which the members of an ensemble may differ."""

__all__ = [
    "BACKBONE_KWARGS",
    "LIMITS",
    "OF_THE_WEIGHTS",
    "PRESETS",
    "CheckedConfig",
    "RcnConfig",
    "check_backbone",
    "explained",
    "rule_of_confidence",
]
