"""The weights of the authors' release of 2020 (Xia et al., IEEE TIP), under their names there.

state dict -> released_config: what it was built with -> copy_released: its entries into a model of that kind

Their modules are Sequentials: a convolution is entry 0 of one, its batch normalisation entry 1, or 2 in the wide stem,
where the ReLU comes between them.
"""

import math
import re
from collections import Counter
from typing import Any, cast

from torch import Tensor
from transformers import PreTrainedModel

from .configuration_rcn import RcnConfig
from .errors_rcn import MerHfError

RELEASED = ("rcn", "rcn-a", "rcn-s", "rcn-w", "rcn-c")
"""The presets whose released network computes what it is defined to."""

DEAD = re.compile(r"num_batches_tracked$|^dbl\.\d+\.conv3\.|^ebl\.")
"""Entries that the released forward passes never use: ebl is built in RCN-C, and left out of its forward pass."""


def released_config(state_dict: dict[str, Tensor], preset: str) -> RcnConfig:
    """The configuration of a released network: its preset, with the sizes that its weights have.

    Raises:
        ValueError: for a preset that was not released, or not in working order.
    """
    if preset not in RELEASED:
        raise MerHfError(f"there are no released weights for the preset {preset!r}; choose from {', '.join(RELEASED)}")
    config = RcnConfig.preset(preset)
    name, _, _ = _section_names(config)
    sections = {int(found[1]) for key in state_dict if (found := re.match(rf"{name}\.(\d+)\.", key))}
    widths = Counter(
        len(entry) for key, entry in state_dict.items() if key.startswith(f"{name}.") and not DEAD.search(key)
    )
    changes: dict[str, Any] = {"section_pools": [2] * (max(sections, default=0) + 1)}
    width = (config.backbone_kwargs or {})["width"]
    if widths:  # most of the entries, should one be of a wrong shape
        width = widths.most_common(1)[0][0]
        changes["backbone_kwargs"] = {"width": width}
    if "classifier.bias" in state_dict:
        changes["num_labels"] = len(state_dict["classifier.bias"])
    if "classifier.weight" in state_dict:
        grid = math.isqrt(state_dict["classifier.weight"].shape[-1] // width)
        changes["grid_size"] = max(grid, 2 if config.attention else 1)
    return RcnConfig.preset(preset, **changes)


def copy_released(state_dict: dict[str, Tensor], model: PreTrainedModel) -> None:
    """Copy a released state dict into an `RcnForVideoClassification` of the same kind.

    Raises:
        ValueError: for entries that are missing, unknown or of a wrong shape; the message names each.
    """
    own = released_entries(model)
    given = {name: entry for name, entry in state_dict.items() if not DEAD.search(name)}
    problems = [f"{name} is missing" for name in own if name not in given]
    problems += [f"{name} is unknown" for name in given if name not in own]
    problems += [
        f"{name} is {tuple(given[name].shape)}, expected {tuple(entry.shape)}"
        for name, entry in own.items()
        if name in given and given[name].shape != entry.shape
    ]
    if problems:
        raise MerHfError(f"these weights are not those of the released network: {'; '.join(problems)}")
    for name, entry in own.items():
        entry.copy_(given[name])


def released_entries(model: PreTrainedModel) -> dict[str, Tensor]:
    """The weights of a model by their names in the release: views, so that what is copied into them is in the model."""
    config = cast(RcnConfig, model.config)
    stem = "rcn.backbone.model"
    modules = {"classifier": "classifier"}
    entries = {}
    if config.backbone == "rcn_wide_stem":
        widths = [
            len(branch.get_parameter("weight")) for branch in model.get_submodule(f"{stem}.conv.branches").children()
        ]
        modules |= {f"stream{number}.0": f"{stem}.conv.branches.{number - 1}" for number in range(1, len(widths) + 1)}
        for key, joined in model.get_submodule(f"{stem}.norm").state_dict().items():
            if joined.ndim:
                parts = joined.split(widths)
                entries |= {f"stream{number}.2.{key}": part for number, part in enumerate(parts, start=1)}
    else:
        modules |= {"conv1.0": f"{stem}.conv", "conv1.1": f"{stem}.norm"}
    section, feed_forward, recurrent = _section_names(config)
    for number in range(len(config.section_pools)):
        layer = f"rcn.sections.{number}.layer"
        modules |= {
            f"{section}.{number}.{feed_forward}.0": f"{layer}.feed_forward",
            f"{section}.{number}.{feed_forward}.1": f"{layer}.feed_forward_norm",
            f"{section}.{number}.{recurrent}.0": f"{layer}.recurrent.0",
            f"{section}.{number}.{recurrent}.1": f"{layer}.recurrent_norm.0",
        }
    for name, path in modules.items():
        entries |= {f"{name}.{key}": entry for key, entry in model.get_submodule(path).state_dict().items()}
    return {name: entry for name, entry in entries.items() if not DEAD.search(name)}


def _section_names(config: RcnConfig) -> tuple[str, str, str]:
    """What the release calls the sections, their feed-forward and their recurrent convolution."""
    return ("dbl", "conv1", "conv2") if config.dense_shortcuts else ("rcls", "ffconv", "rrconv")


__all__ = ["copy_released", "released_config", "released_entries"]
