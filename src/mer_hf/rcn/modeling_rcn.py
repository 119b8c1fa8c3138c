"""Recurrent convolutional networks over a timm backbone: stem -> recurrent convolutional sections -> logits.

pixel_values_videos (B, T, C, H, W)
  -> arrange: one map or a sequence of maps, by connectivity
  -> timm backbone: features
  -> RecurrentSection(s): RecurrentConvLayer, max-pooling, dropout
  -> grid average -> linear layer -> logits (B, classes), and the loss where labels come
"""

import math
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, is_model, register_model
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, ImageClassifierOutput

from .configuration_rcn import RcnConfig


class RcnStem(nn.Module):
    """The papers' own stem as a timm model: one convolution, batch normalisation, ReLU, max-pooling, dropout."""

    def __init__(self, in_chans: int, width: int, kernel_size: int, padding: int, pool: int, drop_rate: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, kernel_size, padding=padding)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(pool, ceil_mode=True)
        self.drop = nn.Dropout(drop_rate)
        self.feature_info = [{"num_chs": width, "reduction": pool, "module": "drop"}]
        _initialise_conv(self.conv)


def _stem_cfg(**kwargs: Any) -> dict[str, Any]:
    return {"num_classes": 0, "first_conv": "conv", "classifier": None, **kwargs}


default_cfgs = generate_default_cfgs(
    {
        "rcn_stem": _stem_cfg(input_size=(3, 60, 60)),
        "strcn_stem": _stem_cfg(input_size=(1, 300, 245)),
    }
)


def _build_stem(variant: str, pretrained: bool, stem: dict[str, Any], **kwargs: Any) -> nn.Module:
    if not kwargs.get("features_only"):
        raise ValueError(f"{variant} has no classifier of its own: create it with features_only=True")
    return build_model_with_cfg(
        RcnStem,
        variant,
        pretrained,
        feature_cfg={"flatten_sequential": True, "out_indices": (0,)},
        kwargs_filter=("num_classes", "global_pool", "img_size"),
        **{**stem, **kwargs},
    )


def _register_once(entrypoint: Any) -> Any:
    # a pushed model brings this file along: where mer_hf is imported as well, the two share timm's one registry
    return entrypoint if is_model(entrypoint.__name__) else register_model(entrypoint)


@_register_once
def rcn_stem(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The stem of the RCNs of 2020: 5x5 convolution without padding, max-pooling 2, dropout .5, 32 maps."""
    stem = {"width": 32, "kernel_size": 5, "padding": 0, "pool": 2, "drop_rate": 0.5}
    return _build_stem("rcn_stem", pretrained, stem, **kwargs)


@_register_once
def strcn_stem(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The stem of the STRCNs of 2018 and 2019: 3x3 convolution, max-pooling 4, 512 maps."""
    stem = {"width": 512, "kernel_size": 3, "padding": 1, "pool": 4, "drop_rate": 0.0}
    return _build_stem("strcn_stem", pretrained, stem, **kwargs)


def _initialise_conv(conv: nn.Conv2d) -> None:
    init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # authors' release, 2020
    if conv.bias is not None:
        init.zeros_(conv.bias)


class RcnBackbone(nn.Module):
    """Any timm model as a feature extractor; several levels are averaged to the smallest and concatenated."""

    def __init__(self, config: RcnConfig) -> None:
        super().__init__()
        kwargs = dict(config.backbone_kwargs or {})
        if config.out_indices is not None:
            kwargs["out_indices"] = tuple(config.out_indices)
        self.model = timm.create_model(config.backbone, features_only=True, in_chans=config.num_channels, **kwargs)
        self.levels = slice(-1, None) if config.out_indices is None else slice(None)
        self.num_channels = sum(self.model.feature_info.channels()[self.levels])

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, channels, h, w)."""
        maps = self.model(pictures)[self.levels]
        if str(getattr(self.model, "output_fmt", "NCHW")).endswith("NHWC"):
            maps = [level.permute(0, 3, 1, 2) for level in maps]
        smallest = min((level.shape[-2:] for level in maps), key=lambda size: size[0] * size[1])
        return torch.cat([F.adaptive_avg_pool2d(level, smallest) for level in maps], 1)


class RecurrentConvLayer(nn.Module):
    """A convolution whose output returns as its input (Liang & Hu, CVPR 2015): y_k = f(W_r * (x + y_{k-1})).

    It starts from y_0 = f(W_f * x), with f = BN + ReLU, W_f 1x1 and W_r 3x3, both without a change of width. Driven by
    one map, it runs `recurrent_steps` steps on it; driven by the maps of T frames, it takes one step a frame,
    y_t = f(W_r * (x_t + y_{t-1})), and its states are the maps of T frames again.
    """

    def __init__(self, config: RcnConfig, channels: int) -> None:
        super().__init__()
        steps = 1 if config.connectivity == "sequence" else config.recurrent_steps
        self.steps = steps
        self.feed_forward = nn.Conv2d(channels, channels, 1)
        self.feed_forward_norm = nn.BatchNorm2d(channels)
        num_convs = min(steps, 1) if config.shared_weights else steps
        num_norms = min(steps, 1) if config.shared_norm else steps
        self.recurrent = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(num_convs))
        self.recurrent_norm = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(num_norms))

    def step(self, inputs: Tensor, state: Tensor, index: int) -> Tensor:
        """One recurrent step: (B, C, h, w) inputs and state -> the next state."""
        conv = self.recurrent[index % len(self.recurrent)]
        norm = self.recurrent_norm[index % len(self.recurrent_norm)]
        return F.relu(norm(conv(inputs + state)))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, T, C, h, w) -> (B, T, C, h, w)."""
        state = F.relu(self.feed_forward_norm(self.feed_forward(maps[:, 0])))
        if maps.shape[1] == 1:
            for index in range(self.steps):
                state = self.step(maps[:, 0], state, index)
            return state[:, None]
        states = [state]
        for inputs in maps[:, 1:].unbind(1):
            states.append(self.step(inputs, states[-1], 0))
        return torch.stack(states, 1)


class RecurrentSection(GradientCheckpointingLayer):
    """A recurrent convolutional layer, then max-pooling and dropout of each of its maps."""

    def __init__(self, config: RcnConfig, channels: int, pool: int) -> None:
        super().__init__()
        self.layer = RecurrentConvLayer(config, channels)
        self.pool = nn.MaxPool2d(pool, ceil_mode=True)  # ceil: a side of one pixel stays, as it must with P x T maps
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, T, C, h, w) -> (B, T, C, h / pool, w / pool)."""
        states = self.layer(maps)
        return self.dropout(self.pool(states.flatten(0, 1))).unflatten(0, states.shape[:2])


class RcnPreTrainedModel(PreTrainedModel):
    """What the models share: configuration, initial weights, gradient checkpointing."""

    config_class = RcnConfig
    base_model_prefix = "rcn"
    main_input_name = "pixel_values_videos"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # the Trainer must not take **kwargs for a promise to scale the loss itself

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a model, as transformers does, into memory of its own.

        Weights that are mapped from a file begin at odd addresses, for which some CPU kernels add in another order: the
        logits would differ in their last bits from those of the model that was saved.
        """
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
        return loaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # timm initialises its own modules; only buffers that are not saved need to be made again after a meta load
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()
        elif isinstance(module, RecurrentConvLayer):
            for conv in (module.feed_forward, *module.recurrent):
                _initialise_conv(conv)
            for norm in (module.feed_forward_norm, *module.recurrent_norm):
                super()._init_weights(norm)
        elif isinstance(module, RcnModel):
            if module.neck is not None:
                _initialise_conv(module.neck)
            if module.config.connectivity == "appearance":
                init.copy_(module.pixel_index, torch.arange(len(module.pixel_index)))
        elif isinstance(module, RcnForVideoClassification):
            init.normal_(module.classifier.weight, std=0.01)  # authors' release, 2020
            init.zeros_(module.classifier.bias)

    def _set_gradient_checkpointing(self, enable: bool = True, **kwargs: Any) -> None:
        super()._set_gradient_checkpointing(enable, **kwargs)
        for module in self.modules():
            if isinstance(module, RcnBackbone) and hasattr(module.model, "set_grad_checkpointing"):
                module.model.set_grad_checkpointing(enable)


class RcnModel(RcnPreTrainedModel):
    """A recurrent convolutional network without a head.

    Attributes:
        pixel_index: (P,), only with appearance connectivity: which pixels are kept, counted column by column as MATLAB
            does, so that neighbours in the list are neighbours in the face. All, until `set_pixel_mask` puts the mask
            that was fitted on training clips; it is saved with the weights.
    """

    def __init__(self, config: RcnConfig) -> None:
        super().__init__(config)
        self.backbone = RcnBackbone(config)
        channels = config.hidden_size or self.backbone.num_channels
        self.neck = nn.Conv2d(self.backbone.num_channels, channels, 1) if config.hidden_size else None
        self.sections = nn.ModuleList(RecurrentSection(config, channels, pool) for pool in config.section_pools)
        self.num_features = channels * config.grid_size**2
        if config.connectivity == "appearance":
            self.register_buffer("pixel_index", torch.arange(config.num_pixels or math.prod(config.image_size)))
        self.post_init()

    def set_pixel_mask(self, mask: Tensor) -> None:
        """Put the mask of moving pixels, (H, W) bool with a true one; `config.num_pixels` becomes their number.

        Raises:
            ValueError: without appearance connectivity, or for a mask of another shape, or an empty one.
        """
        if self.config.connectivity != "appearance":
            raise ValueError(f"only appearance connectivity has a pixel mask, this model is {self.config.connectivity}")
        expected = tuple(self.config.image_size)
        if tuple(mask.shape) != expected or not mask.any():
            raise ValueError(f"expected a mask of shape {expected} with a pixel in it, got {tuple(mask.shape)}")
        self.pixel_index = mask.T.flatten().nonzero()[:, 0].to(self.pixel_index.device)
        self.config.num_pixels = len(self.pixel_index)

    def arrange(self, pixel_values_videos: Tensor) -> Tensor:
        """(B, T, C, H, W) -> the pictures that the backbone sees, (B, T', C, h, w).

        Appearance connectivity turns the masked pixels of the T grey frames into a matrix of P rows and T columns.
        """
        expected = (self.config.num_frames, self.config.num_channels, *self.config.image_size)
        if pixel_values_videos.ndim != 5 or tuple(pixel_values_videos.shape[1:3]) != expected[:2]:
            raise ValueError(
                "pixel_values_videos must be (batch, frames, channels, height, width) = "
                f"(B, {', '.join(map(str, expected))}), got {tuple(pixel_values_videos.shape)}"
            )
        if self.config.connectivity != "appearance":
            return pixel_values_videos
        if tuple(pixel_values_videos.shape[3:]) != expected[2:]:
            raise ValueError(f"the pixel mask is {expected[2:]}, the frames are {tuple(pixel_values_videos.shape[3:])}")
        pixels = pixel_values_videos[:, :, 0].transpose(2, 3).flatten(2)
        return pixels[:, :, self.pixel_index].transpose(1, 2)[:, None, None]

    def forward(self, pixel_values_videos: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Features of a batch of clips.

        Args:
            pixel_values_videos: (B, T, C, H, W) float, as `RcnVideoProcessor` makes them.

        Returns:
            `last_hidden_state` (B, channels, h, w), the mean over the states where there are several, and
            `pooler_output` (B, channels * grid_size^2).

        Raises:
            ValueError: for another shape than the configuration's.
        """
        pictures = self.arrange(pixel_values_videos)
        maps = self.backbone(pictures.flatten(0, 1))
        if self.neck is not None:
            maps = self.neck(maps)
        maps = maps.unflatten(0, pictures.shape[:2])
        for section in self.sections:
            maps = section(maps)
        last = maps.mean(1)
        pooled = F.adaptive_avg_pool2d(last, self.config.grid_size).flatten(1)
        return BaseModelOutputWithPooling(last_hidden_state=last, pooler_output=pooled)


def classification_loss(logits: Tensor, labels: Tensor, config: RcnConfig) -> Tensor:
    """The mean loss of a batch, by `config.loss`.

    `cross_entropy`, with label smoothing; `focal`: (1 - p)^gamma times it (Lin et al., ICCV 2017); `class_balanced`: it
    times (1 - beta) / (1 - beta^n) of the clip's class, scaled to a mean weight of 1 over the classes (Cui et al.,
    CVPR 2019; the balanced loss of Xia et al., TMM 2020, is of this kind).

    Args:
        logits: (B, classes).
        labels: (B,) class indices.

    Raises:
        ValueError: for `class_balanced` without `class_counts`, or with a class without clips.
    """
    logits = logits.float()  # the logarithm of a small probability is lost in bf16
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=config.label_smoothing)
    if config.loss == "focal":
        probability = logits.softmax(1).gather(1, labels[:, None])[:, 0]
        losses = (1 - probability) ** config.focal_gamma * losses
    elif config.loss == "class_balanced":
        if config.class_counts is None or min(config.class_counts) < 1:
            raise ValueError(f"class_balanced loss needs the training clips of each class, got {config.class_counts}")
        counts = torch.tensor(config.class_counts, dtype=torch.float64, device=logits.device)
        weights = (1 - config.class_balance_beta) / (1 - config.class_balance_beta**counts)
        losses = losses * (weights / weights.mean()).float()[labels]
    return losses.mean()


class RcnForVideoClassification(RcnPreTrainedModel):
    """A recurrent convolutional network that names the micro-expression of a clip."""

    def __init__(self, config: RcnConfig) -> None:
        super().__init__(config)
        self.rcn = RcnModel(config)
        self.classifier = nn.Linear(self.rcn.num_features, config.num_labels)
        self.post_init()

    def forward(
        self, pixel_values_videos: Tensor, labels: Tensor | None = None, **kwargs: Any
    ) -> ImageClassifierOutput:
        """Logits, (B, num_labels), of clips (B, T, C, H, W), and the loss of `config.loss` where labels (B,) come."""
        logits = self.classifier(self.rcn(pixel_values_videos).pooler_output)
        loss = None if labels is None else classification_loss(logits, labels, self.config)
        return ImageClassifierOutput(loss=loss, logits=logits)


__all__ = ["RcnForVideoClassification", "RcnModel", "rcn_stem", "strcn_stem"]
