"""Recurrent convolutional networks over a timm backbone: stem -> recurrent convolutional sections -> logits.

pixel_values_videos (B, T, C, H, W)
  -> arrange: one map or a sequence of maps, by connectivity
  -> timm backbone: features
  -> RecurrentSection(s): RecurrentConvLayer, max-pooling, dropout; attention before, in or after them
  -> grid average -> linear layer -> logits (B, classes), and the loss where labels come
  -> mean over the mirrored clip and over the members of an ensemble, where there are any
"""

import copy
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import timm
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput

from .configuration_rcn import LIMITS, OF_THE_WEIGHTS, SHARED, RcnConfig
from .errors_rcn import MerHfError
from .losses_rcn import classification_loss, unit_loss
from .released_rcn import copy_released, released_config
from .stems_rcn import initialise_conv, rcn_stem, rcn_wide_stem, strcn_stem
from .tuning_rcn import Dropout


class RcnBackbone(nn.Module):
    """Any timm model as a feature extractor; several levels are averaged to the smallest and concatenated."""

    def __init__(self, config: RcnConfig) -> None:
        super().__init__()
        self.config = config
        self.model = self.build()
        self.levels = slice(-1, None) if config.out_indices is None else slice(None)
        self.num_channels = sum(cast(FeatureInfo, self.model.feature_info).channels()[self.levels])
        self.is_empty = any(parameter.is_meta for parameter in self.model.parameters())
        for module in self.model.modules():
            module.initialises_itself = True  # ty: ignore[invalid-assignment] - torch's annotation knows modules alone

    def build(self, pretrained: bool = False) -> nn.Module:
        """Timm's model, with the initial weights of its own code, or with those that timm publishes.

        Raises:
            MerHfError: where timm cannot build it, or has no such weights.
        """
        config = self.config
        kwargs: dict[str, Any] = dict(config.backbone_kwargs or {})
        if config.backbone in ("rcn_stem", "strcn_stem"):
            kwargs = {"ceil_mode": config.ceil_mode, **kwargs}
        if config.out_indices is not None:
            kwargs["out_indices"] = tuple(config.out_indices)
        try:
            return timm.create_model(
                config.backbone, pretrained, features_only=True, in_chans=config.num_channels, **kwargs
            )
        except OSError:
            raise
        except Exception as error:  # whatever the code of one of a thousand models raises
            asked = f"backbone {config.backbone!r} of {config.num_channels} channels with {kwargs}"
            asked = f"the published weights of {asked}" if pretrained else asked
            raise MerHfError(f"timm cannot build {asked}: {type(error).__name__}: {error}") from error

    def begin_published(self) -> None:
        """Put the weights that timm publishes in place of the present ones."""
        self.model.load_state_dict(self.build(pretrained=True).state_dict())

    def initialise_missing(self) -> None:
        """Give what a checkpoint lacked its initial values, by timm's own code; the rest stays as it was loaded."""
        tensors = self.model.state_dict(keep_vars=True)
        lacking = [name for name, tensor in tensors.items() if not getattr(tensor, "_is_hf_initialized", False)]
        if self.is_empty and lacking:
            begun = self.build().state_dict()
            for name in lacking:
                tensors[name].data.copy_(begun[name])
        self.is_empty = False

    def checkpoint(self, enable: bool) -> None:
        """Compute the activations again in the backward pass, to save memory, or keep them.

        Raises:
            MerHfError: where the network has no way to do so.
        """
        try:
            cast(Callable[[bool], None], self.model.set_grad_checkpointing)(enable)
        except (AssertionError, AttributeError) as error:
            if enable:
                raise MerHfError(f"backbone {self.config.backbone!r} has no gradient checkpointing") from error

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, channels, h, w)."""
        maps = self.model(pictures)[self.levels]
        if str(getattr(self.model, "output_fmt", "NCHW")).endswith("NHWC"):
            maps = [level.permute(0, 3, 1, 2) for level in maps]
        smallest = tuple(min(sides) for sides in zip(*(level.shape[-2:] for level in maps), strict=True))
        maps = [level if level.shape[-2:] == smallest else F.adaptive_avg_pool2d(level, smallest) for level in maps]
        return maps[0] if len(maps) == 1 else torch.cat(maps, 1)


def grid_average(maps: Tensor, grid_size: int) -> Tensor:
    """Average maps (B, C, h, w) to (B, C, grid_size, grid_size), as `adaptive_avg_pool2d` does."""
    if maps.device.type != "mps":
        return F.adaptive_avg_pool2d(maps, (grid_size, grid_size))
    return grid_average_by_products(maps, grid_size)


def grid_average_by_products(maps: Tensor, grid_size: int) -> Tensor:
    """The same as two matrix products: Apple's GPUs average to no grid that does not divide the sides (torch 2.6)."""
    rows, columns = (_cell_weights(side, grid_size, maps) for side in maps.shape[-2:])
    return rows @ maps @ columns.T


def _cell_weights(side: int, grid_size: int, like: Tensor) -> Tensor:
    """(grid_size, side): what each place of a side gives to each cell; neighbours overlap where it is not divided."""
    cells, places = torch.arange(grid_size, device=like.device)[:, None], torch.arange(side, device=like.device)
    starts, ends = cells * side // grid_size, ((cells + 1) * side + grid_size - 1) // grid_size
    return ((places >= starts) & (places < ends)).to(like.dtype) / (ends - starts)


def class_activation(maps: Tensor, class_weights: Tensor) -> Tensor:
    """Where the classes find their evidence: attention without a parameter of its own (Xia et al., TIP 2020).

    The class-activation map of each class, its weights times the maps, averaged over channels, is scaled to [0, 1]
    within a picture; the attention is their mean over classes. A class whose map is constant has no place to point to,
    and counts as 0 (the authors' release divides 0 by 0 there).

    Args:
        maps: (B, C, h, w).
        class_weights: (classes, C or 1, g, g), the linear layer's.

    Returns:
        (B, 1, g, g).
    """
    pooled = grid_average(maps, class_weights.shape[-1])
    activation = (pooled[:, None] * class_weights).mean(2)
    activation = activation - activation.amin((2, 3), keepdim=True)
    peak = activation.amax((2, 3), keepdim=True)
    return (activation / torch.where(peak > 0, peak, 1)).mean(1, keepdim=True)


def linear_weights(layer: nn.Module, features: int, like: Tensor) -> Tensor:
    """The weights of a linear layer, (outputs, features).

    Where something stands in its place, adapters, quantised or sharded weights, its answers to unit vectors say what
    they are. These are scaled so that the bias costs no precision.

    Args:
        layer: `nn.Linear`, or what stands in its place.
        features: number of its inputs.
        like: a tensor of the device and type of its inputs.
    """
    if type(layer) is nn.Linear and not layer.weight.is_meta:
        return layer.weight
    units = torch.eye(features + 1, features, device=like.device, dtype=like.dtype) * 1024
    with torch.autocast(like.device.type, enabled=False):
        answers = layer(units)
    return ((answers[:-1] - answers[-1]) / 1024).T


def attend(maps: Tensor, seen: Tensor, class_weights: Tensor) -> Tensor:
    """Weigh the places of maps (B, C, h, w) by the class activation of what is `seen`, enlarged without smoothing."""
    attention = F.interpolate(class_activation(seen, class_weights), maps.shape[-2:])
    return maps * attention.to(maps.dtype)


def changes_of(frames: Tensor, side: int = 9) -> Tensor:
    """How grey frames differ from the first, against the contrast there: (B, T, 1, H, W) -> the same.

    A motion changes a pixel in proportion to the contrast around it, which is a matter of faces and light. So the
    change is divided by the standard deviation of the first frame within `side` pixels, after each frame was given the
    mean of the first; then by the root mean square of the clip.
    """
    first = frames[:, :1]
    change = frames - first - (frames - first).mean((-2, -1), keepdim=True)
    powers = torch.cat([first[:, 0], first[:, 0] ** 2], 1)
    mean, square = F.avg_pool2d(powers, side, 1, side // 2, count_include_pad=False).split(1, 1)
    contrast = (square - mean**2).clamp(min=0).sqrt()[:, None]
    change = change / (contrast + 0.5 * contrast.mean((-2, -1), keepdim=True)).clamp(min=1e-6)
    return change / change.square().mean((1, 2, 3, 4), keepdim=True).sqrt().clamp(min=1e-6)


def unfold(maps: Tensor, frames: int, record: list[Tensor] | None = None) -> Tensor:
    """Maps (B * T, C, h, w) -> (B, T, C, h, w); `record` takes the latter, or where T is 1 the former."""
    sequences = maps.unflatten(0, (-1, frames))
    if record is not None:
        record.append(maps if frames == 1 else sequences)
    return sequences


class RecurrentConvLayer(nn.Module):
    """A convolution whose output returns as its input (Liang & Hu, CVPR 2015): y_k = f(W_r * (x + y_{k-1})).

    It starts from y_0 = f(W_f * x), with f = BN + ReLU, W_f 1x1 and W_r 3x3, both without a change of width. Driven by
    one map, it runs `recurrent_steps` steps on it; driven by the maps of T frames, it takes one step a frame,
    y_t = f(W_r * (x_t + y_{t-1})), and its states are the maps of T frames again.

    With dense shortcuts (RCN-S; Xia et al., TIP 2020) a step sees all states before it:
    y_k = f(W_r * (x + y_0 + ... + y_{k-1})).
    """

    def __init__(self, config: RcnConfig, channels: int) -> None:
        super().__init__()
        steps = min(config.recurrent_steps, 1) if config.connectivity == "sequence" else config.recurrent_steps
        self.steps = steps
        self.dense_shortcuts = config.dense_shortcuts
        self.feed_forward = nn.Conv2d(channels, channels, 1)
        self.feed_forward_norm = nn.BatchNorm2d(channels)
        num_convs = min(steps, 1) if config.shared_weights else steps
        num_norms = min(steps, 1) if config.shared_norm else steps
        self.recurrent = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(num_convs))
        self.recurrent_norm = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(num_norms))

    def first_state(self, inputs: Tensor) -> Tensor:
        """Inputs (B, C, h, w) -> y_0."""
        return F.relu(self.feed_forward_norm(self.feed_forward(inputs)), inplace=True)

    def step(self, inputs: Tensor, index: int) -> Tensor:
        """Inputs (B, C, h, w), with the states that they come with -> the next state."""
        conv = self.recurrent[index % len(self.recurrent)]
        norm = self.recurrent_norm[index % len(self.recurrent_norm)]
        return F.relu(norm(conv(inputs)), inplace=True)

    def forward(self, maps: Tensor, class_weights: Tensor | None = None, record: list[Tensor] | None = None) -> Tensor:
        """The states after the last step, or after each frame.

        Args:
            maps: (B, T, C, h, w).
            class_weights: (classes, C, g, g), which make y_0 attend to where they point.
            record: to which the state after each step is added, (B, C, h, w), or those of all frames, as returned.

        Returns:
            (B, T, C, h, w).
        """
        if maps.shape[1] > 1:
            if self.steps:
                states = [self.first_state(maps[:, 0])]
                for inputs in maps[:, 1:].unbind(1):
                    states.append(self.step(inputs + states[-1], 0))
                states = torch.stack(states, 1)
            else:
                states = self.first_state(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
            if record is not None:
                record.append(states)
            return states
        inputs = maps.squeeze(1)  # the gradient of an index would be a copy of the maps in another memory format
        state = self.first_state(inputs)
        if class_weights is not None:
            state = attend(state, inputs, class_weights)
        for index in range(self.steps):
            if record is not None:
                record.append(state)
            seen = inputs + state
            state = self.step(seen, index)
            inputs = seen if self.dense_shortcuts else inputs
        if record is not None:
            record.append(state)
        return state[:, None]


class RecurrentSection(GradientCheckpointingLayer):
    """A recurrent convolutional layer, then max-pooling and dropout of each of its maps."""

    def __init__(self, config: RcnConfig, channels: int, pool: int) -> None:
        super().__init__()
        self.layer = RecurrentConvLayer(config, channels)
        self.pool = nn.MaxPool2d(pool, ceil_mode=config.ceil_mode)
        self.dropout = Dropout(config.dropout)

    def forward(self, maps: Tensor, class_weights: Tensor | None = None, record: list[Tensor] | None = None) -> Tensor:
        """(B, T, C, h, w) -> (B, T, C, h / pool, w / pool); `record` takes the states of the layer, then these maps."""
        states = self.layer(maps, class_weights, record)
        return unfold(self.dropout(self.pool(states.flatten(0, 1))), states.shape[1], record)


def _pause_in_backward(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
    """Keep a batch normalisation from counting a batch again, whose activations are computed a second time."""
    if torch._C._current_graph_task_id() != -1:  # a backward pass is under way
        norm.paused_momentum = norm.momentum  # ty: ignore[invalid-assignment] - torch's annotation knows modules alone
        norm.momentum = 0.0


def _go_on(norm: _BatchNorm, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
    if hasattr(norm, "paused_momentum"):
        norm.momentum = cast(float | None, norm.paused_momentum)
        del norm.paused_momentum
        if norm.training and norm.num_batches_tracked is not None:
            norm.num_batches_tracked -= 1


class RcnPreTrainedModel(PreTrainedModel):
    """What the models have in common: configuration, initial weights, gradient checkpointing."""

    config: RcnConfig
    config_class = RcnConfig
    base_model_prefix = "rcn"
    main_input_name = "pixel_values_videos"
    input_modalities = ("video",)  # ty: ignore[invalid-assignment] - a tuple in transformers' own models too
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True  # the loss is divided by the clips of a whole step, `num_items_in_batch`

    def __init__(self, config: RcnConfig) -> None:
        config.validate()  # its fields may have been set since it was made
        super().__init__(config)
        self.norm_hooks = []

    def post_init(self) -> None:
        """Refuse a model of more weights than `LIMITS` allows; in a rehearsal, before any of them is allocated."""
        check_weights(self)
        super().post_init()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *args: object, **kwargs: object
    ) -> Self:
        """Load a model, as transformers does but from safetensors alone, and on CPUs into memory of its own.

        Weights that are mapped from a file begin at odd addresses, for which some CPU kernels add in another order: the
        logits would differ in their last bits from those of the model that was saved.

        Raises:
            MerHfError: where the configuration cannot be used, or the weights are damaged or do not fit it.
            OSError: where a file cannot be had.
        """
        options: dict[str, Any] = {"use_safetensors": True, **kwargs}
        try:
            loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **options)
        except MerHfError as error:
            if str(pretrained_model_name_or_path) in str(error):
                raise
            raise MerHfError(f"{pretrained_model_name_or_path}: {error}") from error
        except (RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise MerHfError(f"the weights of {pretrained_model_name_or_path} cannot be used: {reason}") from error
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.device.type == "cpu":
                tensor.data = tensor.data.clone()
        return loaded

    def initialize_weights(self) -> None:
        """Begin with initial weights, each as its own code draws them; what was loaded stays."""
        for module in self.modules():
            if isinstance(module, RcnBackbone):
                module.initialise_missing()
        super().initialize_weights()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # of code outside of transformers, it asks this for modules with weights or buffers of their own, and no others
        if hasattr(module, "init_non_persistent_buffers"):  # which are not saved, and are lost in a meta load
            cast(Callable[[], None], module.init_non_persistent_buffers)()
        elif getattr(module, "initialises_itself", False):
            return
        elif isinstance(module, nn.Conv2d):
            initialise_conv(module)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=0.01)  # authors' release, 2020
            init.zeros_(module.bias)
        elif isinstance(module, RcnModel):
            init.copy_(module.pixel_index, torch.arange(len(module.pixel_index)))
        else:
            super()._init_weights(module)

    def _set_gradient_checkpointing(self, enable: bool = True, *args: Any, **kwargs: Any) -> None:
        for hook in self.norm_hooks:
            hook.remove()
        self.norm_hooks = []
        for module in self.modules():
            if isinstance(module, RcnBackbone):
                module.checkpoint(enable)
            elif isinstance(module, _BatchNorm) and enable:
                self.norm_hooks.append(module.register_forward_pre_hook(_pause_in_backward))
                self.norm_hooks.append(module.register_forward_hook(_go_on, always_call=True))
        super()._set_gradient_checkpointing(enable, *args, **kwargs)


def check_weights(model: nn.Module) -> None:
    """Refuse a model of more weights than `LIMITS` allows."""
    if (count := sum(parameter.numel() for parameter in model.parameters())) > LIMITS["weights"]:
        raise MerHfError(
            f"this configuration makes a model of {count} weights or more, which are more than {LIMITS['weights']}; "
            "who needs them sets LIMITS['weights'] of configuration_rcn"
        )


def rehearse(model_class: type[RcnPreTrainedModel], config: RcnConfig) -> None:
    """Build a model without memory for its weights first, so that one that is too large is refused in time."""
    if torch.get_default_device().type != "meta":
        with torch.device("meta"):
            model_class(config)


class RcnModel(RcnPreTrainedModel):
    """A recurrent convolutional network without a head.

    Attributes:
        pixel_index: (P,), only with appearance connectivity: which pixels are kept, counted column by column as MATLAB
            does, so that neighbours in the list are neighbours in the face. All, until `set_pixel_mask` puts the mask
            that was fitted on training clips; it is saved with the weights.
    """

    def __init__(self, config: RcnConfig) -> None:
        super().__init__(config)
        rehearse(RcnModel, config)
        if config.members is not None:
            raise MerHfError(
                f"an ensemble of {len(config.members)} members has no features of its own; load it as "
                "RcnForVideoClassification, or take the `rcn` of one of its `members`"
            )
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
            MerHfError: without appearance connectivity, or for a mask of another shape, or an empty one.
        """
        if self.config.connectivity != "appearance":
            raise MerHfError(f"only appearance connectivity has a pixel mask, this model is {self.config.connectivity}")
        expected = tuple(self.config.image_size)
        if tuple(mask.shape) != expected or not mask.any():
            raise MerHfError(f"expected a mask of shape {expected} with a pixel in it, got {tuple(mask.shape)}")
        self.pixel_index = mask.T.flatten().nonzero()[:, 0].to(self.pixel_index.device)
        self.config.num_pixels = len(self.pixel_index)

    def arrange(self, pixel_values_videos: Tensor) -> Tensor:
        """(B, T, C, H, W) -> the pictures that the backbone sees, (B, T', C, h, w).

        Appearance connectivity turns the masked pixels of the T grey frames into a matrix of P rows and T columns.
        """
        expected = (self.config.num_frames, self.config.num_channels, *self.config.image_size)
        if pixel_values_videos.ndim != 5 or tuple(pixel_values_videos.shape[1:3]) != expected[:2]:
            raise MerHfError(
                "pixel_values_videos must be (batch, frames, channels, height, width) = "
                f"(B, {', '.join(map(str, expected))}), got {tuple(pixel_values_videos.shape)}"
            )
        if self.config.changes:
            pixel_values_videos = changes_of(pixel_values_videos)
        if self.config.connectivity != "appearance":
            return pixel_values_videos
        if tuple(pixel_values_videos.shape[3:]) != expected[2:]:
            raise MerHfError(f"the pixel mask is {expected[2:]}, the frames are {tuple(pixel_values_videos.shape[3:])}")
        pixels = pixel_values_videos[:, :, 0].transpose(2, 3).flatten(2)
        return pixels[:, :, self.pixel_index].transpose(1, 2)[:, None, None]

    def forward(
        self,
        pixel_values_videos: Tensor,
        class_weights: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: object,
    ) -> BaseModelOutputWithPooling | tuple[Tensor | tuple[Tensor, ...], ...]:
        """Features of a batch of clips.

        Unlike other models of transformers it takes clips of the configured number of frames and channels only; further
        keyword arguments are ignored, as theirs are.

        Args:
            pixel_values_videos: (B, T, C, H, W) float, as `RcnVideoProcessor` makes them.
            class_weights: (classes, channels, grid_size, grid_size), a linear layer's, which attention asks where the
                classes look; without them nothing is attended to.
            output_hidden_states: whether to return the hidden states as well; None asks the configuration.
            return_dict: False for a tuple of what is not None; None asks the configuration.

        Returns:
            `last_hidden_state` (B, channels, h, w), the mean over the states where there are several;
            `pooler_output` (B, channels * grid_size^2); and, where asked for, `hidden_states`: the stem's maps, then of
            each section the first state, those after each step, and the pooled maps, (B, channels, h, w) each. With
            recurrence over frames a section has one entry for the states of all frames, and all entries are
            (B, T, channels, h, w).

        Raises:
            MerHfError: for another shape than the configuration's.
        """
        config = self.config
        record = [] if (config.output_hidden_states if output_hidden_states is None else output_hidden_states) else None
        attention = self.config.attention
        pictures = self.arrange(pixel_values_videos)
        maps = self.backbone(pictures.flatten(0, 1))
        if self.neck is not None:
            maps = self.neck(maps)
        if attention == "stem" and class_weights is not None:
            maps = attend(maps, pictures[:, 0], class_weights.mean(1, keepdim=True))
        stem_maps = maps
        maps = unfold(maps, pictures.shape[1], record)
        for section in self.sections:
            maps = section(maps, class_weights if attention == "state" else None, record)
        last = maps.squeeze(1) if maps.shape[1] == 1 else maps.mean(1)
        pooled = grid_average(last, self.config.grid_size)
        if attention == "output" and class_weights is not None:
            pooled = attend(pooled, stem_maps, class_weights)
        hidden_states = None if record is None else tuple(record)
        output = BaseModelOutputWithPooling(last, pooled.flatten(1), hidden_states)
        return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()


def mirrored(pixel_values_videos: Tensor, connectivity: str) -> Tensor:
    """Clips (B, T, C, H, W) in a mirror: left is right, and the u of flow, its first channel, runs the other way.

    A sequence of two channels is one of flow.
    """
    flipped = pixel_values_videos.flip(-1)
    if connectivity == "geometric" or pixel_values_videos.shape[2] == 2:
        flipped[:, :, 0] *= -1
    return flipped


def mean_prediction(logits: Sequence[Tensor], votes: Sequence[float]) -> Tensor:
    """Several predictions of the same clips -> the logarithm of their mean probabilities.

    Probabilities, because the logits of two networks have no common scale: in a mean of logits the one that is surest
    of itself decides alone, in a mean of probabilities each has one vote.

    Args:
        logits: (B, classes) each.
        votes: of each, summing to 1.

    Returns:
        (B, classes); its softmax is the mean of theirs. A single prediction is returned as it is.
    """
    if len(logits) == 1:
        return logits[0]
    weighted = [each.float().log_softmax(1) + math.log(vote) for each, vote in zip(logits, votes, strict=True)]
    return torch.stack(weighted).logsumexp(0)


def mean_units(logits: Sequence[Tensor | None], votes: Sequence[float]) -> Tensor | None:
    """Predictions of action units, (B, units) logits each or None -> logits of the mean of their probabilities."""
    known = [(each, vote) for each, vote in zip(logits, votes, strict=True) if each is not None]
    if len(known) < 2:
        return known[0][0] if known else None
    total = cast(Tensor, sum(vote * each.float().sigmoid() for each, vote in known))
    return (total / sum(vote for _, vote in known)).logit(eps=1e-6)


@dataclass
class RcnOutput(ModelOutput):
    """What `RcnForVideoClassification` gives.

    Attributes:
        loss: where labels were given.
        logits: (B, classes).
        action_unit_logits: (B, units), in the order of `config.action_units`; None where there are none.
        hidden_states: see `RcnModel.forward`; None where they are not asked for.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    action_unit_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class RcnForVideoClassification(RcnPreTrainedModel):
    """A recurrent convolutional network that names the micro-expression of a clip, or an ensemble of such networks.

    With `config.action_units`, it also predicts which facial action units moved.

    Attributes:
        members: the networks of an ensemble, each a `RcnForVideoClassification`; empty for a single network.
    """

    def __init__(self, config: RcnConfig) -> None:
        super().__init__(config)
        rehearse(RcnForVideoClassification, config)
        self.members = nn.ModuleList()
        for member in config.member_configs():
            self.members.append(type(self)(member))
            check_weights(self)
        if not self.members:
            self.rcn = RcnModel(config)
            self.classifier = nn.Linear(self.rcn.num_features, len(config.class_names()))
            units = config.action_units
            self.unit_classifier = nn.Linear(self.rcn.num_features, len(units)) if units else None
        self.post_init()

    @classmethod
    def with_pretrained_backbone(cls, config: RcnConfig) -> "RcnForVideoClassification":
        """A new model whose backbone begins with the weights that timm publishes for it; they are fetched once.

        Args:
            config: of the model; a tag in `backbone`, such as `"resnet18.a1_in1k"`, says which weights.

        Raises:
            MerHfError: where timm has none for this backbone.
            OSError: where they cannot be had.
        """
        model = cls(config)
        for network in model.networks():
            network.rcn.backbone.begin_published()
        return model

    def networks(self) -> list["RcnForVideoClassification"]:
        """The members of an ensemble, or the model itself where it is a single network."""
        return [cast(RcnForVideoClassification, member) for member in self.members] or [self]

    @classmethod
    def average(cls, models: Sequence["RcnForVideoClassification"]) -> "RcnForVideoClassification":
        """Join trained models into one, which predicts the mean of their probabilities and is saved as one folder.

        Args:
            models: which see the same clips and name the same classes; they may be of different kinds otherwise.

        Returns:
            A model with copies of them as its `members`, in evaluation mode. Each model has the same vote, which the
            members of an ensemble divide among them; no temperature is known of it. Action units are predicted by the
            members that know them.

        Raises:
            MerHfError: for no model, or for models that cannot be averaged; the message says in what they differ.
        """
        members = [network for model in models for network in model.networks()]
        if not members:
            raise MerHfError("average needs at least one model, got none")
        votes = [vote / len(models) for model in models for vote in model.config.member_votes()]
        config = copy.deepcopy(members[0].config)
        config.action_units = next((m.config.action_units for m in members if m.config.action_units), None)
        changes = [config.differences(member.config) for member in members]
        for change in changes:
            clash = sorted({*SHARED, *(["action_units"] if change.get("action_units") else [])} & set(change))
            if clash:
                raise MerHfError(f"models that are averaged must agree in {clash}; these do not")
        for name, unknown in OF_THE_WEIGHTS.items():  # that which is true of some of them only
            if name != "trained_on" or len({member.config.trained_on for member in members}) > 1:
                setattr(config, name, unknown)
        if len(members) > 1:
            config.members = changes
            config.votes = votes if len(set(votes)) > 1 else None
        ensemble = cls(config)
        for network, member in zip(ensemble.networks(), members, strict=True):
            network.load_state_dict(member.state_dict())
        return ensemble.to(models[0].device).eval()

    @classmethod
    def from_released(cls, state_dict: dict[str, Tensor], preset: str = "rcn-a") -> "RcnForVideoClassification":
        """A model with the weights of the authors' release of 2020, whose names they have.

        Args:
            state_dict: of the authors' network, for 3 input channels. Its number of maps, sections and classes and its
                pooling grid are read from it. What their forward pass never uses is ignored.
            preset: which of their networks it is: `"rcn"`, `"rcn-a"`, `"rcn-s"`, `"rcn-w"` or `"rcn-c"`. The released
                RCN-F runs its second stem in place of its third, whose weights are therefore not trained.

        Returns:
            The model, in evaluation mode.

        Raises:
            MerHfError: for another preset, or a state dict with an entry that is missing, unknown or of a wrong shape;
                the message names each.
        """
        model = cls(released_config(state_dict, preset))
        copy_released(state_dict, model)
        return model.eval()

    def single_network(
        self, pixel_values_videos: Tensor, output_hidden_states: bool | None = None
    ) -> tuple[Tensor, Tensor | None, tuple[Tensor, ...] | None]:
        """Of one network, not an ensemble: logits of classes, those of action units, hidden states (or None)."""
        class_weights = None
        if self.config.attention is not None:
            grid = self.config.grid_size
            weights = linear_weights(self.classifier, self.rcn.num_features, pixel_values_videos)
            class_weights = weights.unflatten(1, (-1, grid, grid))
        outputs = self.rcn(pixel_values_videos, class_weights, output_hidden_states, return_dict=True)
        features = outputs.pooler_output
        units = None if self.unit_classifier is None else self.unit_classifier(features)
        return self.classifier(features), units, outputs.hidden_states

    def forward(
        self,
        pixel_values_videos: Tensor,
        labels: Tensor | None = None,
        action_units: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: object,
    ) -> RcnOutput | tuple[Tensor | tuple[Tensor, ...], ...]:
        """Logits of clips, and the loss where targets come.

        An ensemble, and in evaluation a model with `mirror_averaging`, gives the logarithm of mean probabilities as its
        logits; in evaluation they are divided by `config.temperature`. A model that is trained on gives up what its
        configuration says of its weights: `trained_on`, `temperature`, `abstain_below`. Unlike other models of
        transformers it has no attention maps to return, and a clip has one label; further keyword arguments are
        ignored, as theirs.

        Args:
            pixel_values_videos: (B, T, C, H, W).
            labels: (B,) class indices, -1 for a clip without an expression, -100 for one that is left out.
            action_units: (B, units) float, 1 where a unit of `config.action_units` moves, 0 where it does not, NaN
                where that is not known; their mean binary cross-entropy is added to the loss.
            num_items_in_batch: see `classification_loss`.
            output_hidden_states: whether to return those of the network, of clips as they are given, not mirrored; None
                asks the configuration.
            return_dict: False for a tuple of what is not None; None asks the configuration.

        Raises:
            MerHfError: for clips or targets that do not fit the configuration, or hidden states of an ensemble.
        """
        config = self.config
        hidden = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        if hidden and self.members:
            raise MerHfError("an ensemble has no hidden states of its own; ask one of its `members`")
        views = [pixel_values_videos]
        if config.mirror_averaging and not self.training:
            views.append(mirrored(pixel_values_videos, config.connectivity))
        predictions = [network.single_network(view, hidden) for network in self.networks() for view in views]
        votes = [vote / len(views) for vote in config.member_votes() for _ in views]
        logits = mean_prediction([classes for classes, _, _ in predictions], votes)
        logits = logits if self.training else logits / config.temperature
        units = mean_units([units for _, units, _ in predictions], votes)
        loss = self.loss_of(logits, units, labels, action_units, num_items_in_batch)
        output = RcnOutput(loss, logits, units, predictions[0][2])
        return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    def loss_of(
        self,
        logits: Tensor,
        unit_logits: Tensor | None,
        labels: Tensor | None,
        action_units: Tensor | None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | None:
        """The loss of predictions, the sum of those for which there are targets; see `forward`."""
        if action_units is not None and unit_logits is None:
            raise MerHfError(
                "action_units are given as targets, but this model predicts none: config.action_units is None"
            )
        losses = []
        if labels is not None:
            losses.append(classification_loss(logits, labels, self.config, num_items_in_batch))
        if action_units is not None and unit_logits is not None:
            losses.append(unit_loss(unit_logits, action_units, num_items_in_batch))
        if losses and self.training:
            for name, unknown in OF_THE_WEIGHTS.items():
                if getattr(self.config, name) != unknown:
                    setattr(self.config, name, unknown)
        return cast(Tensor, sum(losses)) if losses else None


__all__ = [
    "RcnForVideoClassification",
    "RcnModel",
    "mirrored",
    "rcn_stem",
    "rcn_wide_stem",
    "strcn_stem",
]
