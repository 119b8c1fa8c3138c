"""Train a network that finds micro-expressions in long video, on drawn sequences alone.

draw_sequences -> residual_motion, the same that is taken of a camera -> moment_input -> RcnForSpotting -> loss
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mer_hf.drawn.sequences import DrawnSequences, SequenceSettings, draw_sequences
from mer_hf.rcn.motion_rcn import grid_places, residual_motion
from mer_hf.rcn.spotting_rcn import moment_input


@dataclass(frozen=True)
class SpottingRecipe:
    """How a network is trained.

    Attributes:
        steps: of the optimiser.
        batch_size: sequences in a step.
        seconds: of a sequence.
        learning_rate: at its height; it warms up over a twentieth of the steps, and falls as a cosine.
        weight_decay: of the weights.
        freeze_norms: part of the steps after which batch normalisation keeps its statistics: over hundreds of recurrent
            steps, those of a batch and those that are kept lead to different states.
        seed: of weights and drawings.
    """

    steps: int = 900
    batch_size: int = 32
    seconds: float = 12.0
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    freeze_norms: float = 0.5
    seed: int = 0


def drawn_input(drawn: DrawnSequences) -> Tensor:
    """What the network sees of drawn sequences: (B, T, 4, rows, columns)."""
    return moment_input(residual_motion(drawn.motion))


def train_spotter(
    model: nn.Module,
    recipe: SpottingRecipe,
    settings: SequenceSettings | None = None,
    report: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train a network on sequences that are drawn as it goes, none of them twice.

    Args:
        model: an `RcnForSpotting`, or another module that takes its arguments; trained in place, left in evaluation.
        recipe: how.
        settings: of what is drawn.
        report: called with the number of a step and its loss.

    Returns:
        The loss of each step.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(recipe.seed)
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    warm = max(1, recipe.steps // 20)

    def rate(step: int) -> float:
        return (
            (step + 1) / warm if step < warm else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (recipe.steps - warm))
        )

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    places, losses = grid_places(device), []
    model.train()
    for step in range(recipe.steps):
        if step == int(recipe.freeze_norms * recipe.steps):
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        drawn = draw_sequences(recipe.batch_size, recipe.seconds, places, generator, settings, device)
        loss = model(drawn_input(drawn), targets=drawn.targets).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
        if report is not None:
            report(step, losses[-1])
    model.eval()
    return losses
