"""What a network is trained by: the loss of its classes, and that of its action units."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .configuration_rcn import RcnConfig
from .errors_rcn import MerHfError

NO_EXPRESSION, LEFT_OUT = -1, -100
"""Labels of a clip that shows none of the classes, and of one that adds nothing to the loss."""


class ClassTerms(NamedTuple):
    """What the counts of the training clips do to the loss; float32, None where they do nothing.

    Attributes:
        shift: (classes,), added to the logits: tau * log(share of the class).
        weights: (classes,), of the losses of the clips of each class; their mean is 1.
    """

    shift: Tensor | None
    weights: Tensor | None


def class_terms(config: RcnConfig, device: torch.device) -> ClassTerms:
    """The terms of `config.class_counts` on a device, by `logit_adjustment` and the `class_balanced` loss.

    Raises:
        MerHfError: without counts where there is one of the two, or with a class without clips.
    """
    shift = weights = None
    if config.logit_adjustment:
        counts = _class_counts(config, "logit_adjustment")
        shift = (config.logit_adjustment * (counts / counts.sum()).log()).float().to(device)
    if config.loss == "class_balanced":
        counts = _class_counts(config, "class_balanced loss")
        weights = (1 - config.class_balance_beta) / (1 - config.class_balance_beta**counts)
        weights = (weights / weights.mean()).float().to(device)
    return ClassTerms(shift, weights)


def classification_loss(
    logits: Tensor,
    labels: Tensor,
    config: RcnConfig,
    num_items_in_batch: Tensor | int | None = None,
    terms: ClassTerms | None = None,
) -> Tensor:
    """The mean loss of a batch, by `config.loss`.

    `cross_entropy`, with label smoothing; `focal`: (1 - p)^gamma times it (Lin et al., ICCV 2017); `class_balanced`: it
    times (1 - beta) / (1 - beta^n) of the clip's class, scaled to a mean weight of 1 over the classes (Cui et al.,
    CVPR 2019; the balanced loss of Xia et al., TMM 2020, is of this kind). With `logit_adjustment` tau, each of them is
    taken of logits + tau * log(share of the class) (Menon et al., ICLR 2021). For a clip that shows no expression
    every class is equally right.

    Args:
        logits: (B, classes).
        labels: (B,) class indices; -1 for a clip without an expression, -100 for one that is left out.
        config: of the model.
        num_items_in_batch: clips of the whole optimisation step, where this batch is a part of it: the losses of the
            parts then sum up to the mean over the step, however unevenly it is cut.
        terms: of the class counts; None takes those of the configuration.

    Raises:
        MerHfError: for another label; for `class_balanced` or `logit_adjustment` without `class_counts`, or with a
            class without clips.
    """
    logits = logits.float()  # the logarithm of a small probability is lost in bf16
    terms = class_terms(config, logits.device) if terms is None else terms
    if terms.shift is not None:
        logits = logits + terms.shift
    counted, shown = labels != LEFT_OUT, labels != NO_EXPRESSION
    labels = labels.where(counted & shown, 0)
    try:
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=config.label_smoothing)
    except (IndexError, RuntimeError, ValueError) as error:  # a GPU finds it later, and says less
        expected = f"expected ({len(logits)},) integers of 0 to {logits.shape[1] - 1}, -1 or -100"
        raise MerHfError(f"labels do not fit the logits: {expected} ({error})") from error
    if config.loss == "focal":
        probability = logits.softmax(1).gather(1, labels[:, None])[:, 0]
        losses = (1 - probability) ** config.focal_gamma * losses
    elif terms.weights is not None:
        losses = losses * terms.weights[labels]
    losses = torch.where(shown, losses, -logits.log_softmax(1).mean(1)) * counted
    return losses.sum() / (counted.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)


def _class_counts(config: RcnConfig, needed_by: str) -> Tensor:
    """(classes,) float64 on the CPU: Apple's GPUs have no such numbers."""
    if config.class_counts is None or min(config.class_counts) < 1:
        raise MerHfError(f"{needed_by} needs the training clips of each class, got {config.class_counts}")
    return torch.tensor(config.class_counts, dtype=torch.float64, device="cpu")


def unit_loss(logits: Tensor, targets: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Binary cross-entropy of action units, averaged over them and, as the other losses, over clips.

    Args:
        logits: (B, units).
        targets: (B, units), 1 where a unit moves and 0 where it does not; one that is not known, NaN, adds nothing.
        num_items_in_batch: see `classification_loss`.

    Raises:
        MerHfError: for targets of another shape.
    """
    if targets.shape != logits.shape:
        raise MerHfError(f"action_units must be (batch, units) = {tuple(logits.shape)}, got {tuple(targets.shape)}")
    known = targets.isfinite()
    targets = torch.where(known, targets, 0).float()
    losses = (F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none") * known).mean(1)
    return losses.mean() if num_items_in_batch is None else losses.sum() / num_items_in_batch


__all__ = ["LEFT_OUT", "ClassTerms", "class_terms", "classification_loss", "unit_loss"]
