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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput

from .configuration_rcn import SHARED, RcnConfig
from .errors_rcn import MerHfError
from .released_rcn import copy_released, released_config
from .stems_rcn import Dropout, initialise_conv, rcn_stem, rcn_wide_stem, strcn_stem


class RcnBackbone(nn.Module):
    """Any timm model as a feature extractor; several levels are averaged to the smallest and concatenated."""

    def __init__(self, config: RcnConfig) -> None:
        super().__init__()
        kwargs = dict(config.backbone_kwargs or {})
        if config.backbone in ("rcn_stem", "strcn_stem"):
            kwargs = {"ceil_mode": config.ceil_mode, **kwargs}
        if config.out_indices is not None:
            kwargs["out_indices"] = tuple(config.out_indices)
        self.model = timm.create_model(config.backbone, features_only=True, in_chans=config.num_channels, **kwargs)
        self.levels = slice(-1, None) if config.out_indices is None else slice(None)
        self.num_channels = sum(self.model.feature_info.channels()[self.levels])
        for module in self.model.modules():
            module.initialises_itself = True

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, channels, h, w)."""
        maps = self.model(pictures)[self.levels]
        if str(getattr(self.model, "output_fmt", "NCHW")).endswith("NHWC"):
            maps = [level.permute(0, 3, 1, 2) for level in maps]
        smallest = min((level.shape[-2:] for level in maps), key=lambda size: size[0] * size[1])
        maps = [level if level.shape[-2:] == smallest else F.adaptive_avg_pool2d(level, smallest) for level in maps]
        return maps[0] if len(maps) == 1 else torch.cat(maps, 1)


class GridAverage(torch.autograd.Function):
    """`adaptive_avg_pool2d` to a square grid, with a gradient that takes a processor a fifth of the time.

    The gradient is one product with the matrix of what each place has given to each cell. `GridAverage.apply(maps,
    grid_size)`: (B, C, h, w) -> (B, C, grid_size, grid_size).
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, grid_size: int) -> Tensor:
        """Average; see the class."""
        ctx.sides = maps.shape[-2:]
        return F.adaptive_avg_pool2d(maps, grid_size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Hand the gradient (B, C, grid_size, grid_size) back to the maps, in the order of channels-last memory."""
        identities = [torch.eye(side, dtype=gradient.dtype, device=gradient.device) for side in ctx.sides]
        shares = torch.kron(*(F.adaptive_avg_pool1d(identity, gradient.shape[-1]) for identity in identities))
        places = shares @ gradient.flatten(2).transpose(1, 2)
        return places.transpose(1, 2).unflatten(2, ctx.sides), None


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
    pooled = GridAverage.apply(maps, class_weights.shape[-1])
    activation = (pooled[:, None] * class_weights).mean(2)
    activation = activation - activation.amin((2, 3), keepdim=True)
    peak = activation.amax((2, 3), keepdim=True)
    return (activation / torch.where(peak > 0, peak, 1)).mean(1, keepdim=True)


def attend(maps: Tensor, seen: Tensor, class_weights: Tensor) -> Tensor:
    """Weigh the places of maps (B, C, h, w) by the class activation of what is `seen`, enlarged without smoothing."""
    attention = F.interpolate(class_activation(seen, class_weights), maps.shape[-2:])
    return maps * attention.to(maps.dtype)


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
        steps = 1 if config.connectivity == "sequence" else config.recurrent_steps
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

    def forward(self, maps: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """(B, T, C, h, w) -> (B, T, C, h, w); class weights (classes, C, g, g) make y_0 attend to where they point."""
        if maps.shape[1] > 1:
            states = [self.first_state(maps[:, 0])]
            for inputs in maps[:, 1:].unbind(1):
                states.append(self.step(inputs + states[-1], 0))
            return torch.stack(states, 1)
        inputs = maps.squeeze(1)  # the gradient of an index would be a copy of the maps in another memory format
        state = self.first_state(inputs)
        if class_weights is not None:
            state = attend(state, inputs, class_weights)
        for index in range(self.steps):
            seen = inputs + state
            state = self.step(seen, index)
            inputs = seen if self.dense_shortcuts else inputs
        return state[:, None]


class RecurrentSection(GradientCheckpointingLayer):
    """A recurrent convolutional layer, then max-pooling and dropout of each of its maps."""

    def __init__(self, config: RcnConfig, channels: int, pool: int) -> None:
        super().__init__()
        self.layer = RecurrentConvLayer(config, channels)
        self.pool = nn.MaxPool2d(pool, ceil_mode=config.ceil_mode)
        self.dropout = Dropout(config.dropout)

    def forward(self, maps: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """(B, T, C, h, w) -> (B, T, C, h / pool, w / pool)."""
        states = self.layer(maps, class_weights)
        return self.dropout(self.pool(states.flatten(0, 1))).unflatten(0, states.shape[:2])


class RcnPreTrainedModel(PreTrainedModel):
    """What the models share: configuration, initial weights, gradient checkpointing."""

    config_class = RcnConfig
    base_model_prefix = "rcn"
    main_input_name = "pixel_values_videos"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True  # the loss is divided by the clips of a whole step, `num_items_in_batch`

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a model, as transformers does but from safetensors alone, into memory of its own.

        Weights that are mapped from a file begin at odd addresses, for which some CPU kernels add in another order: the
        logits would differ in their last bits from those of the model that was saved.
        """
        loaded = super().from_pretrained(*args, **{"use_safetensors": True, **kwargs})
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
        return loaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # of code outside of transformers, it asks this for modules with weights or buffers of their own, and no others
        if hasattr(module, "init_non_persistent_buffers"):  # which are not saved, and are lost in a meta load
            module.init_non_persistent_buffers()
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
            ValueError: without appearance connectivity, or for a mask of another shape, or an empty one.
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
        if self.config.connectivity != "appearance":
            return pixel_values_videos
        if tuple(pixel_values_videos.shape[3:]) != expected[2:]:
            raise MerHfError(f"the pixel mask is {expected[2:]}, the frames are {tuple(pixel_values_videos.shape[3:])}")
        pixels = pixel_values_videos[:, :, 0].transpose(2, 3).flatten(2)
        return pixels[:, :, self.pixel_index].transpose(1, 2)[:, None, None]

    def forward(
        self, pixel_values_videos: Tensor, class_weights: Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """Features of a batch of clips.

        Args:
            pixel_values_videos: (B, T, C, H, W) float, as `RcnVideoProcessor` makes them.
            class_weights: (classes, channels, grid_size, grid_size), a linear layer's, which attention asks where the
                classes look; without them nothing is attended to.

        Returns:
            `last_hidden_state` (B, channels, h, w), the mean over the states where there are several, and
            `pooler_output` (B, channels * grid_size^2).

        Raises:
            ValueError: for another shape than the configuration's.
        """
        attention = None if class_weights is None else self.config.attention
        pictures = self.arrange(pixel_values_videos)
        maps = self.backbone(pictures.flatten(0, 1))
        if self.neck is not None:
            maps = self.neck(maps)
        if attention == "stem":
            maps = attend(maps, pictures[:, 0], class_weights.mean(1, keepdim=True))
        stem_maps = maps
        maps = maps.unflatten(0, pictures.shape[:2])
        for section in self.sections:
            maps = section(maps, class_weights if attention == "state" else None)
        last = maps.squeeze(1) if maps.shape[1] == 1 else maps.mean(1)
        pooled = GridAverage.apply(last, self.config.grid_size)
        if attention == "output":
            pooled = attend(pooled, stem_maps, class_weights)
        return BaseModelOutputWithPooling(last_hidden_state=last, pooler_output=pooled.flatten(1))


def classification_loss(
    logits: Tensor, labels: Tensor, config: RcnConfig, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """The mean loss of a batch, by `config.loss`.

    `cross_entropy`, with label smoothing; `focal`: (1 - p)^gamma times it (Lin et al., ICCV 2017); `class_balanced`: it
    times (1 - beta) / (1 - beta^n) of the clip's class, scaled to a mean weight of 1 over the classes (Cui et al.,
    CVPR 2019; the balanced loss of Xia et al., TMM 2020, is of this kind). With `logit_adjustment` tau, each of them is
    taken of logits + tau * log(share of the class) (Menon et al., ICLR 2021). For a clip that shows no expression
    every class is equally right.

    Args:
        logits: (B, classes).
        labels: (B,) class indices; -1 for a clip without an expression.
        config: of the model.
        num_items_in_batch: clips of the whole optimisation step, where this batch is a part of it: the losses of the
            parts then sum up to the mean over the step, however unevenly it is cut.

    Raises:
        ValueError: for `class_balanced` or `logit_adjustment` without `class_counts`, or with a class without clips.
    """
    logits = logits.float()  # the logarithm of a small probability is lost in bf16
    if config.logit_adjustment:
        counts = _class_counts(config, "logit_adjustment", logits.device)
        logits = logits + config.logit_adjustment * (counts / counts.sum()).log().float()
    shown, labels = labels >= 0, labels.clamp(min=0)
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=config.label_smoothing)
    if config.loss == "focal":
        probability = logits.softmax(1).gather(1, labels[:, None])[:, 0]
        losses = (1 - probability) ** config.focal_gamma * losses
    elif config.loss == "class_balanced":
        counts = _class_counts(config, "class_balanced loss", logits.device)
        weights = (1 - config.class_balance_beta) / (1 - config.class_balance_beta**counts)
        losses = losses * (weights / weights.mean()).float()[labels]
    losses = torch.where(shown, losses, -logits.log_softmax(1).mean(1))
    return losses.mean() if num_items_in_batch is None else losses.sum() / num_items_in_batch


def _class_counts(config: RcnConfig, needed_by: str, device: torch.device) -> Tensor:
    if config.class_counts is None or min(config.class_counts) < 1:
        raise MerHfError(f"{needed_by} needs the training clips of each class, got {config.class_counts}")
    return torch.tensor(config.class_counts, dtype=torch.float64, device=device)


def mirrored(pixel_values_videos: Tensor, connectivity: str) -> Tensor:
    """Clips (B, T, C, H, W) in a mirror: left is right, and the u of flow, its first channel, runs the other way."""
    flipped = pixel_values_videos.flip(-1)
    if connectivity == "geometric":
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
    told = [each.float().log_softmax(1) + math.log(vote) for each, vote in zip(logits, votes, strict=True)]
    return torch.stack(told).logsumexp(0)


def mean_units(logits: Sequence[Tensor | None], votes: Sequence[float]) -> Tensor | None:
    """Predictions of action units, (B, units) logits each or None -> logits of the mean of their probabilities."""
    told = [(each, vote) for each, vote in zip(logits, votes, strict=True) if each is not None]
    if len(told) < 2:
        return told[0][0] if told else None
    mean = sum(vote * each.float().sigmoid() for each, vote in told) / sum(vote for _, vote in told)
    return mean.logit(eps=1e-6)


def unit_loss(logits: Tensor, targets: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Binary cross-entropy of action units, (B, units), averaged over them and, as the other losses, over clips.

    A target that is not known, NaN, adds nothing.
    """
    known = targets.isfinite()
    targets = torch.where(known, targets, 0).float()
    losses = (F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none") * known).mean(1)
    return losses.mean() if num_items_in_batch is None else losses.sum() / num_items_in_batch


@dataclass
class RcnOutput(ModelOutput):
    """What `RcnForVideoClassification` gives.

    Attributes:
        loss: where labels were given.
        logits: (B, classes).
        action_unit_logits: (B, units), in the order of `config.action_units`; None where there are none.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    action_unit_logits: Tensor | None = None


class RcnForVideoClassification(RcnPreTrainedModel):
    """A recurrent convolutional network that names the micro-expression of a clip, or an ensemble of such networks.

    With `config.action_units`, it also tells which facial action units moved.

    Attributes:
        members: the networks of an ensemble, each a `RcnForVideoClassification`; empty for a single network.
    """

    def __init__(self, config: RcnConfig) -> None:
        super().__init__(config)
        self.members = nn.ModuleList(type(self)(member) for member in config.member_configs())
        if not self.members:
            self.rcn = RcnModel(config)
            self.classifier = nn.Linear(self.rcn.num_features, config.num_labels)
            units = config.action_units
            self.unit_classifier = nn.Linear(self.rcn.num_features, len(units)) if units else None
        self.post_init()

    @classmethod
    def average(cls, models: Sequence["RcnForVideoClassification"]) -> "RcnForVideoClassification":
        """Join trained models into one, which predicts the mean of their probabilities and is saved as one folder.

        Args:
            models: which see the same clips and name the same classes; they may be of different kinds otherwise.

        Returns:
            A model with copies of them as its `members`, in evaluation mode. Each model has the same say; the members
            of an ensemble share that of theirs. Action units are told by the members that know them.

        Raises:
            ValueError: for no model, or for models that cannot be averaged; the message says in what they differ.
        """
        members = [member for model in models for member in model.members or [model]]
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
        if len({member.config.trained_on for member in members}) > 1:
            config.trained_on = None  # it is true of some of them
        if len(members) > 1:
            config.members = changes
            config.votes = votes if len(set(votes)) > 1 else None
        ensemble = cls(config)
        for own, member in zip(ensemble.members or [ensemble], members, strict=True):
            own.load_state_dict(member.state_dict())
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
            ValueError: for another preset, or a state dict with an entry that is missing, unknown or of a wrong shape;
                the message names each.
        """
        model = cls(released_config(state_dict, preset))
        copy_released(state_dict, model)
        return model.eval()

    def train(self, mode: bool = True) -> "RcnForVideoClassification":
        """Set training or evaluation mode; what `config.trained_on` says is not true of a model that is trained on."""
        if mode:
            self.config.trained_on = None
        return super().train(mode)

    def single_logits(self, pixel_values_videos: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of one network, not an ensemble, for clips (B, T, C, H, W): the logits of classes, and of action units."""
        grid = self.config.grid_size
        class_weights = self.classifier.weight.unflatten(1, (-1, grid, grid)) if self.config.attention else None
        features = self.rcn(pixel_values_videos, class_weights).pooler_output
        return self.classifier(features), self.unit_classifier(features) if self.unit_classifier else None

    def forward(
        self,
        pixel_values_videos: Tensor,
        labels: Tensor | None = None,
        action_units: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> RcnOutput:
        """Logits of clips, and the loss where labels come.

        An ensemble, and in evaluation a model with `mirror_averaging`, gives the logarithm of mean probabilities as its
        logits.

        Args:
            pixel_values_videos: (B, T, C, H, W).
            labels: (B,) class indices.
            action_units: (B, units) float, 1 where a unit of `config.action_units` moves, 0 where it does not, NaN
                where that is not known; their mean binary cross-entropy is added to the loss.
            num_items_in_batch: see `classification_loss`.
        """
        views = [pixel_values_videos]
        if self.config.mirror_averaging and not self.training:
            views.append(mirrored(pixel_values_videos, self.config.connectivity))
        told = [member.single_logits(view) for member in self.members or [self] for view in views]
        votes = [vote / len(views) for vote in self.config.member_votes() for _ in views]
        logits = mean_prediction([classes for classes, _ in told], votes)
        units = mean_units([units for _, units in told], votes)
        loss = None if labels is None else classification_loss(logits, labels, self.config, num_items_in_batch)
        if loss is not None and action_units is not None:
            loss = loss + unit_loss(units, action_units, num_items_in_batch)
        return RcnOutput(loss=loss, logits=logits, action_unit_logits=units)


__all__ = [
    "RcnForVideoClassification",
    "RcnModel",
    "mirrored",
    "rcn_stem",
    "rcn_wide_stem",
    "strcn_stem",
]
