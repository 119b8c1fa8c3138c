"""Train a network that finds micro-expressions in long video, on drawn sequences alone; and see what it finds.

draw_sequences -> residual_motion, the same that is taken of a camera -> moment_input -> RcnForSpotting -> loss
    sequences that nobody trained on -> events -> the threshold of a stated rate of false ones -> scores
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mer_hf.drawn.sequences import RATE, DrawnSequences, SequenceSettings, draw_sequences
from mer_hf.metrics import spotting_scores
from mer_hf.rcn.events_rcn import SpottedEvent, decode
from mer_hf.rcn.motion_rcn import grid_places, residual_motion
from mer_hf.rcn.spotting_rcn import moment_input


@dataclass(frozen=True)
class SpottingRecipe:
    """How a network is trained.

    Attributes:
        steps: of the optimiser.
        batch_size: sequences in a step.
        seconds: of a sequence.
        pieces: into which a sequence is cut, so that as many more are taken side by side and the recurrence, the
            slowest part, takes as many steps fewer.
        learning_rate: at its height; it is there after `warm_up` steps, and falls to `LEAST` of it over the last third.
        weight_decay: of the weights.
        warm_up: steps, after which batch normalisation keeps its statistics as well: over hundreds of recurrent steps,
            those of a batch and those that are kept lead to different states, so most of the training has to have those
            that the network is used with.
        seed: of weights and drawings.
    """

    steps: int = 3600
    batch_size: int = 16
    seconds: float = 12.0
    pieces: int = 2
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    warm_up: int = 60
    seed: int = 0


LEAST = 0.25
"""Of the learning rate, at the end."""
AVERAGED = 0.1
"""Of the steps: over about so many the weights are averaged, those of late counting most."""


def drawn_input(drawn: DrawnSequences) -> Tensor:
    """What the network sees of drawn sequences: (B, T, 4, rows, columns)."""
    return moment_input(residual_motion(drawn.motion))


def train_spotter(
    model: nn.Module,
    recipe: SpottingRecipe,
    settings: SequenceSettings | None = None,
    report: Callable[[int, float], None] | None = None,
    batches: Iterable[tuple[Tensor, Tensor]] | None = None,
    settled: bool = False,
) -> list[float]:
    """Train a network on sequences that are drawn as it goes, none of them twice; or on what it is given.

    Args:
        model: an `RcnForSpotting`, or another module that takes its arguments; trained in place, left in evaluation.
        recipe: how.
        settings: of what is drawn.
        report: called with the number of a step and its loss.
        batches: inputs and targets of each step, in place of drawn ones.
        settled: whether batch normalisation keeps its statistics from the first step on: those of a trained network.

    Returns:
        The loss of each step.
    """
    device = next(model.parameters()).device
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)

    def rate(step: int) -> float:
        return min((step + 1) / recipe.warm_up, 1.0, max(LEAST, 3 * (recipe.steps - step) / recipe.steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(max(0.0, 1 - 1 / (AVERAGED * recipe.steps))))
    losses = []
    model.train()
    for step, (inputs, targets) in enumerate(batches or drawn_batches(recipe, settings, device)):
        if step == (0 if settled else recipe.warm_up):
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        loss = model(inputs, targets=targets).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        averaged.update_parameters(model)
        losses.append(loss.item())
        if report is not None:
            report(step, losses[-1])
    with torch.no_grad():
        for weight, mean in zip(model.parameters(), averaged.module.parameters(), strict=True):
            weight.copy_(mean)
    model.eval()
    return losses


def drawn_batches(
    recipe: SpottingRecipe, settings: SequenceSettings | None, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets, (B * pieces, T / pieces, ...), of each step; the next are drawn while a step is taken."""
    generator, places = torch.Generator().manual_seed(recipe.seed), grid_places(device)

    def draw() -> tuple[Tensor, Tensor]:
        drawn = draw_sequences(recipe.batch_size, recipe.seconds, places, generator, settings, device)
        length = drawn.targets.shape[1] // recipe.pieces
        inputs, targets = (
            part[:, : length * recipe.pieces].unflatten(1, (recipe.pieces, length)).flatten(0, 1)
            for part in (drawn_input(drawn), drawn.targets)
        )
        return inputs, targets

    with ThreadPoolExecutor(1) as executor:
        coming = executor.submit(draw)
        for _ in range(recipe.steps - 1):
            batch, coming = coming.result(), executor.submit(draw)
            yield batch
        yield coming.result()


# --- what it finds ---

LOWEST = 0.05  # score from which events are looked at when a threshold is chosen
SAME = 0.2  # seconds between two apexes of one expression


@dataclass(frozen=True)
class Watched:
    """A video, or a drawn sequence, that was watched.

    Attributes:
        found: its events, also those of low score.
        truth: (N, 3), onset, apex and offset of its micro-expressions, in seconds.
        seconds: how long it is.
    """

    found: tuple[SpottedEvent, ...]
    truth: np.ndarray
    seconds: float

    def is_true(self, event: SpottedEvent) -> bool:
        """Whether there is a micro-expression with about its apex."""
        return bool((np.abs(self.truth[:, 1] - event.apex) <= SAME).any())


@torch.inference_mode()
def watch_drawn(
    model: nn.Module, count: int, seed: int, settings: SequenceSettings | None = None, seconds: float = 12.0
) -> list[Watched]:
    """What a network finds in sequences that are drawn for it.

    Micro-expressions that the end of a sequence cuts off, and what is found there, are left out.

    Args:
        model: in evaluation.
        count: number of sequences; they are drawn 32 at a time.
        seed: of the drawings; another than that of the training.
        settings: of what is drawn.
        seconds: of a sequence.
    """
    generator, device = torch.Generator().manual_seed(seed), next(model.parameters()).device
    watched, last = [], seconds - 0.6
    while len(watched) < count:
        drawn = draw_sequences(min(32, count - len(watched)), seconds, grid_places(device), generator, settings, device)
        told = model(drawn_input(drawn)).logits.float().sigmoid().cpu().numpy()
        times = (np.arange(told.shape[1]) / RATE).tolist()
        for probabilities, events in zip(told, drawn.events.cpu().numpy(), strict=True):
            found = [event for event in decode(times, probabilities, LOWEST) if event.apex < last]
            watched.append(Watched(tuple(found), events[events[:, 1] < last], seconds))
    return watched


def threshold_at(watched: Sequence[Watched], false_a_minute: float) -> float:
    """The least score with which no more than this many events a minute are none.

    Args:
        watched: sequences that were drawn for this alone.
        false_a_minute: the rate.
    """
    minutes = sum(one.seconds for one in watched) / 60
    false = sorted((e.score for one in watched for e in one.found if not one.is_true(e)), reverse=True)
    allowed = int(false_a_minute * minutes)
    return math.ceil(1e4 * false[allowed] + 1) / 1e4 if len(false) > allowed else LOWEST


def score_watched(watched: Sequence[Watched], threshold: float) -> dict[str, float]:
    """How well micro-expressions were found, at a threshold.

    Returns:
        `f1`, `precision`, `recall` at IoU >= .5, one to one; `apex_recall`, the share with a find within .2 s of the
        apex; `false_a_minute`, finds that are near no apex; medians of the absolute errors of onset, apex and offset of
        those that were found, in seconds; `events` and `minutes`.
    """
    found, truth, errors, false = {}, {}, [], 0
    for number, one in enumerate(watched):
        events = [event for event in one.found if event.score >= threshold]
        false += sum(not one.is_true(event) for event in events)
        found[str(number)] = [_frames(event.onset, event.offset) for event in events]
        truth[str(number)] = [_frames(onset, offset) for onset, _, offset in one.truth]
        for onset, apex, offset in one.truth:
            nearest = min(events, key=lambda event, apex=apex: abs(event.apex - apex), default=None)
            if nearest is not None and abs(nearest.apex - apex) <= SAME:
                errors.append([abs(nearest.onset - onset), abs(nearest.apex - apex), abs(nearest.offset - offset)])
    scores, minutes = spotting_scores(found, truth), sum(one.seconds for one in watched) / 60
    events = sum(len(one.truth) for one in watched)
    medians = np.median(errors, axis=0) if errors else [math.nan] * 3
    return {
        **{name: float(scores[name]) for name in ("f1", "precision", "recall")},
        "apex_recall": len(errors) / max(events, 1),
        "false_a_minute": false / minutes,
        **{f"{name}_error": float(value) for name, value in zip(("onset", "apex", "offset"), medians, strict=True)},
        "events": events,
        "minutes": minutes,
    }


def _frames(start: float, end: float) -> tuple[int, int]:
    """An interval in whole moments."""
    return round(start * RATE), max(round(end * RATE), round(start * RATE))
