"""The papers' own stems as timm models: from a picture to the maps that the recurrent sections take.

rcn_stem, strcn_stem: convolution -> batch normalisation -> max-pooling -> ReLU -> dropout
rcn_wide_stem: three dilated convolutions side by side -> ReLU -> batch normalisation -> dropout
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, is_model, register_model
from torch import Tensor, nn
from transformers import initialization as init

from .errors_rcn import MerHfError
from .tuning_rcn import Dropout


def initialise_conv(conv: nn.Conv2d) -> None:
    """Kaiming's normal weights by fan-out, biases zero, as in the authors' release of 2020."""
    init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        init.zeros_(conv.bias)


class RcnStem(nn.Module):
    """One convolution, batch normalisation, max-pooling, ReLU, dropout.

    The papers have the ReLU before the pooling. Both keep the order of values, so the maps and their gradients are the
    same, and the ReLU has a quarter or less to do.
    """

    def __init__(
        self, in_chans: int, width: int, kernel_size: int, padding: int, pool: int, drop_rate: float, ceil_mode: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, kernel_size, padding=padding)
        self.norm = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(pool, ceil_mode=ceil_mode)
        self.act = nn.ReLU(inplace=True)
        self.drop = Dropout(drop_rate)
        self.feature_info = [{"num_chs": width, "reduction": pool, "module": "drop"}]
        initialise_conv(self.conv)


class WideConv(nn.Module):
    """Three 3x3 convolutions of stride 3 side by side, with dilation 1, 2 and 3 and 1/2, 1/4 and 1/4 of the maps.

    Where the width is no multiple of 4, the narrower dilations get what is left over; one without a map is left out.
    """

    def __init__(self, in_chans: int, width: int) -> None:
        super().__init__()
        half = (width + 1) // 2
        quarter = (width - half + 1) // 2
        branches = [
            nn.Conv2d(in_chans, maps, 3, stride=3, padding=dilation, dilation=dilation)
            for dilation, maps in enumerate((half, quarter, width - half - quarter), start=1)
            if maps
        ]
        for branch in branches:
            initialise_conv(branch)
        self.branches = nn.ModuleList(branches)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H / 3, W / 3), sides rounded up."""
        return torch.cat([branch(pictures) for branch in self.branches], 1)


class RcnWideStem(nn.Module):
    """The wide expansion of RCN-W: `WideConv`, then ReLU, and only then batch normalisation, dropout."""

    def __init__(self, in_chans: int, width: int, drop_rate: float) -> None:
        super().__init__()
        self.conv = WideConv(in_chans, width)
        self.act = nn.ReLU(inplace=True)
        self.norm = nn.BatchNorm2d(width)
        self.drop = Dropout(drop_rate)
        self.feature_info = [{"num_chs": width, "reduction": 3, "module": "drop"}]


class FieldStem(nn.Module):
    """For small fields of motion: one convolution whose windows touch, batch normalisation, ReLU."""

    def __init__(self, in_chans: int, width: int, kernel_size: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, tuple(kernel_size), stride=tuple(stride))
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)
        self.feature_info = [{"num_chs": width, "reduction": max(stride), "module": "act"}]
        initialise_conv(self.conv)


def _stem_cfg(**kwargs: object) -> dict[str, object]:
    return {"num_classes": 0, "first_conv": "conv", "classifier": None, **kwargs}


default_cfgs = generate_default_cfgs(
    {
        "rcn_stem": _stem_cfg(input_size=(3, 60, 60)),
        "rcn_wide_stem": _stem_cfg(input_size=(3, 60, 60)),
        "strcn_stem": _stem_cfg(input_size=(1, 300, 245)),
        "rcn_field_stem": _stem_cfg(input_size=(4, 16, 9)),
    }
)


def _build_stem(
    stem_class: type[nn.Module], variant: str, pretrained: bool, stem: dict[str, Any], **kwargs: Any
) -> nn.Module:
    if not kwargs.get("features_only"):
        raise MerHfError(f"{variant} has no classifier of its own: create it with features_only=True")
    return build_model_with_cfg(
        stem_class,
        variant,
        pretrained,
        feature_cfg={"flatten_sequential": True, "out_indices": (0,)},
        kwargs_filter=("num_classes", "global_pool", "img_size"),  # ty: ignore[invalid-argument-type] - any number
        **{**stem, **kwargs},
    )


def _register_once(entrypoint: FunctionType) -> Callable[..., nn.Module]:
    # a pushed model brings this file along: where mer_hf is imported as well, the two share timm's one registry
    return entrypoint if is_model(entrypoint.__name__) else register_model(entrypoint)


@_register_once
def rcn_stem(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """The stem of the RCNs of 2020: 5x5 convolution without padding, max-pooling 2, dropout .5, 32 maps."""
    stem = {"width": 32, "kernel_size": 5, "padding": 0, "pool": 2, "drop_rate": 0.5, "ceil_mode": True}
    return _build_stem(RcnStem, "rcn_stem", pretrained, stem, **kwargs)


@_register_once
def rcn_wide_stem(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """The stem of RCN-W, RCN-C and RCN-F, 2020: 3x3 convolutions of stride 3, dilation 1, 2, 3, dropout .5, 32 maps."""
    return _build_stem(RcnWideStem, "rcn_wide_stem", pretrained, {"width": 32, "drop_rate": 0.5}, **kwargs)


@_register_once
def strcn_stem(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """The stem of the STRCNs of 2018 and 2019: 3x3 convolution, max-pooling 4, 512 maps."""
    stem = {"width": 512, "kernel_size": 3, "padding": 1, "pool": 4, "drop_rate": 0.0, "ceil_mode": True}
    return _build_stem(RcnStem, "strcn_stem", pretrained, stem, **kwargs)


@_register_once
def rcn_field_stem(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """The stem of the network that watches a face: a field of 16 x 9 cells becomes maps of 5 x 4."""
    stem = {"width": 24, "kernel_size": (4, 3), "stride": (3, 2)}
    return _build_stem(FieldStem, "rcn_field_stem", pretrained, stem, **kwargs)


__all__ = ["initialise_conv", "rcn_field_stem", "rcn_stem", "rcn_wide_stem", "strcn_stem"]
