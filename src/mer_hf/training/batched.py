"""Several trainings of one plan as one: the networks of k folds as one tensor of weights with a leading fold dimension.

    plan, trainings -> apart, fold_batch: how many at once -> trainers before their first step, see `trainer.begin`
      -> Together: a batch of each, padded with rows that count nowhere -> one forward and backward pass of all
      -> each fold's gradient clipped, AdamW or SGD with the rate of each -> k trained models

A fold draws what it would draw alone: its order, jitter and mirror from its trainer's generator, its dropout on a CPU
from a stream as torch's, elsewhere from a hash of its seed and its step, so that nothing depends on who is trained
beside it. In fp32 on a CPU the weights are those of separate trainings, up to rounding.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy
from transformers.training_args import OptimizerNames

from mer_hf.rcn.configuration_rcn import STEMS
from mer_hf.rcn.losses_rcn import LEFT_OUT, ClassTerms, class_terms, classification_loss, unit_loss
from mer_hf.rcn.modeling_rcn import mirrored
from mer_hf.rcn.temporal_rcn import to_device
from mer_hf.rcn.tuning_rcn import bits_an_element, kept_by_bits, random_words
from mer_hf.training.batches import Batch, JointClips, ResidentClips
from mer_hf.training.clips import Clip
from mer_hf.training.plan import Plan, RunError
from mer_hf.training.stacking import RowsNorm, dropouts_of, hashed_words, stackable
from mer_hf.training.trainer import (
    RcnTrainer,
    Trained,
    as_convolved,
    begin,
    finish,
    moving_average,
    train,
    went_astray,
)

FILLS = 2**28
"""Bytes that one step of a network keeps for its backward pass, from which on it fills a device by itself."""


class Training(NamedTuple):
    """What one training is given: clips, seed and name, see `trainer.train`."""

    clips: Sequence[Clip]
    seed: int
    name: str


def train_all(plan: Plan, trainings: Sequence[Training], size: int) -> Iterator[Trained]:
    """Train as `trainer.train` does, so many at once.

    Args:
        plan: what all trainings of the run have in common.
        trainings: what is trained.
        size: number of trainings that are made as one, see `fold_batch`. One alone is made by the Trainer on a CPU, and
            where `apart` says so.

    Raises:
        RunError: where the weights of a training stop being finite numbers.
    """
    if size == 1 and (plan.arguments.device.type == "cpu" or apart(plan) is not None):
        yield from (train(plan, *training) for training in trainings)
        return
    for start in range(0, len(trainings), size):
        yield from Together([begin(plan, *training) for training in trainings[start : start + size]]).train()


def fold_batch(plan: Plan, training: Training) -> int:
    """How many trainings like this one to make at once: what the recipe says, or what is fastest.

    That is one on CPUs, where k networks at once take longer than one after the other, and one where a network fills
    the device by itself; otherwise as many as fit the free memory.

    Raises:
        RunError: where the recipe asks for several at once, and `apart` has a reason against it.
    """
    asked, reason = plan.recipe.fold_batch, apart(plan)
    if asked != "auto":
        if int(asked) > 1 and reason is not None:
            raise RunError(f"fold_batch is {asked}, but {reason}; say --fold-batch 1, or leave it out")
        return int(asked)
    if plan.arguments.device.type != "cuda" or reason is not None:
        return 1
    kept = kept_for_backward(begin(plan, *training))
    free, _ = torch.cuda.mem_get_info(plan.arguments.device)
    return 1 if kept > FILLS else max(1, free // (4 * kept))  # gradients, masks and copies are as large


def apart(plan: Plan) -> str | None:
    """Why the trainings of a plan are made one after the other, each by the Trainer; None where they can be one."""
    arguments, config = plan.arguments, plan.config
    optim, logging = OptimizerNames(arguments.optim).value, IntervalStrategy(arguments.logging_strategy).value
    reasons = (
        (arguments.world_size > 1, "several processes train one model"),
        (config.connectivity == "appearance", "with appearance connectivity every fold has a mask of its own"),
        (config.connectivity == "sequence", "with sequence connectivity the last steps keep their batch statistics"),
        (config.backbone not in STEMS, f"backbone {config.backbone} may hold what only single networks compute"),
        (optim not in ("adamw_torch", "adamw_torch_fused", "sgd"), f"optim is {optim}"),
        ("nesterov" in (arguments.optim_args or ""), "optim_args asks for nesterov"),
        ("dampening" in (arguments.optim_args or ""), "optim_args asks for dampening"),
        (arguments.gradient_accumulation_steps > 1, "a step is accumulated from parts"),
        (arguments.fp16, "fp16 scales the loss of one network"),
        (arguments.torch_compile, "torch_compile compiles one network"),
        (arguments.gradient_checkpointing, "activations are computed again"),
        (bool(arguments.report_to), f"{arguments.report_to} track one training at a time"),
        (logging != "epoch", f"logging_strategy is {logging}, not epoch"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def kept_for_backward(trainer: RcnTrainer) -> int:
    """Bytes that a training step of one network keeps for its backward pass, found with the first few clips."""
    rows = min(4, len(trainer.source))
    sizes: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    batch = cast(Batch, trainer.source.__getitems__(list(range(rows))))
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), autocast(trainer.args):
        trainer.network.train()(trainer.finished(batch))
    return sum(sizes.values()) * trainer.args.train_batch_size // rows


def autocast(arguments: TrainingArguments) -> torch.autocast:
    """The precision of the arguments; nothing of it is cached, which the graph of a step would keep for ever."""
    return torch.autocast(arguments.device.type, torch.bfloat16, enabled=arguments.bf16, cache_enabled=False)


# --- k trainings as one ---


class Inputs(NamedTuple):
    """What one step of all folds is given; a fold has R rows, of which those without weight are padding.

    Attributes:
        pixels: (k, R, T, C, H, W).
        labels: (k, R), -100 for padding.
        units: (k, R, U), NaN for padding; nothing where no units are learnt.
        rows: (k, R) float, 1 or 0.
        rates: (k, 5): whether the fold makes this step, its learning rate, two corrections of Adam's moments, and what
            the average of the weights keeps.
        steps: (k,) int64, how many steps each fold has made.
    """

    pixels: Tensor
    labels: Tensor
    units: Tensor
    rows: Tensor
    rates: Tensor
    steps: Tensor


class Together:
    """k trainings that have not begun, and the steps that they make as one.

    Args:
        trainers: of one plan, see `trainer.begin`; their models are trained in place.
    """

    def __init__(self, trainers: Sequence[RcnTrainer]) -> None:
        self.trainers, first = trainers, trainers[0]
        self.device, self.args = first.args.device, first.args
        models = [trainer.network for trainer in trainers]
        self.network = stackable(models[0])
        self.norms = {name: module for name, module in self.network.named_modules() if isinstance(module, RowsNorm)}
        self.dropouts = dropouts_of(models[0])
        parameters = dict(models[0].named_parameters())
        self.shapes = {name: parameter.shape for name, parameter in parameters.items()}
        flat = [torch.cat([part.detach().flatten() for part in model.parameters()]) for model in models]
        self.weights = torch.stack(flat).requires_grad_()
        names = [name for name, _ in models[0].named_buffers()]
        self.buffers = {name: torch.stack([model.get_buffer(name) for model in models]) for name in names}
        self.moments = torch.zeros(2, *self.weights.shape, device=self.device)
        _, self.options = first.get_optimizer_cls_and_kwargs(first.args, models[0])
        decayed = set(first.get_decay_parameter_names(models[0]))
        decay = [torch.full((part.numel(),), float(name in decayed)) for name, part in parameters.items()]
        self.decay = (torch.cat(decay) * first.args.weight_decay).to(self.device)
        self.averages = None
        if first.recipe.ema_decay is not None:
            self.averages = [value.detach().clone() for value in (self.weights, *self.buffers.values())]
        terms = [class_terms(model.config, self.device) for model in models]
        columns = {name: [getattr(term, name) for term in terms] for name in ("shift", "weights")}
        self.terms = {name: torch.stack(column) for name, column in columns.items() if column[0] is not None}
        self.seeds = torch.tensor([trainer.args.seed for trainer in trainers], device=self.device)
        self.dropout_generators = [torch.Generator().manual_seed(trainer.args.seed) for trainer in trainers]
        self.timetable = Timetable(trainers)
        self.blank, self.bank = blank_rows(first, len(trainers), self.timetable.rows), ready_clips(trainers)
        self.seen = torch.zeros(2, len(trainers), device=self.device)
        self.graphs: dict[bool, GraphedStep] = {}

    def train(self) -> list[Trained]:
        """Make all steps of all folds.

        Raises:
            RunError: where the weights of a fold stop being finite numbers.
        """
        seen = []
        for epoch in range(1, self.timetable.epochs + 1):
            for inputs, ragged in self.epoch_inputs(epoch):
                self.make_step(inputs, ragged)
                seen.append(self.seen.clone())
            self.check_finite(epoch)
        history = torch.stack(seen).cpu()
        final = [self.weights.detach(), *self.buffers.values()] if self.averages is None else self.averages
        for fold, trainer in enumerate(self.trainers):
            weights = dict(self.named_parameters(final[0][fold]))
            buffers = {name: value[fold] for name, value in zip(self.buffers, final[1:], strict=True)}
            trainer.network.load_state_dict({**weights, **buffers})
            trainer.state.log_history = self.timetable.curve(fold, history[:, :, fold])
        return [finish(trainer) for trainer in self.trainers]

    def named_parameters(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The weights of one network, (P,), by name and in shape."""
        parts = flat.split([shape.numel() for shape in self.shapes.values()])
        return ((name, part.view(shape)) for (name, shape), part in zip(self.shapes.items(), parts, strict=True))

    # --- what a step is given ---

    def epoch_inputs(self, epoch: int) -> Iterator[tuple[Inputs, bool]]:
        """The inputs of the steps of an epoch, and whether a fold has fewer rows than others in a step.

        What is drawn for an epoch goes to the device at once: a copy takes as long as a step.
        """
        orders = [iter(trainer.order()) for trainer in self.trainers]
        steps = self.timetable.steps(epoch)
        batches = [
            [next(order) if at_work else [] for order, at_work in zip(orders, active, strict=True)]
            for active in steps.active.tolist()
        ]
        counts = torch.tensor([[len(indices) for indices in step] for step in batches]) * self.timetable.rows_of_a_clip
        present = torch.arange(self.timetable.rows) < counts[:, :, None]
        clips = map(self.gather, batches) if self.bank is None else self.gather_ready(self.bank, batches, present)
        of_steps = (to_device(part, self.device) for part in (present.float(), steps.rates, steps.before))
        for (pixels, labels, units), *given, full in zip(clips, *of_steps, present.all((1, 2)).tolist(), strict=True):
            yield Inputs(pixels, labels, units, *given), not full

    def gather(self, batches: Sequence[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """The clips of each fold with these indices -> pixels, labels and units of `Inputs`."""
        pixels, labels, units = (part.clone() for part in self.blank)
        for fold, (trainer, indices) in enumerate(zip(self.trainers, batches, strict=True)):
            if indices:
                batch = cast(Batch, trainer.source.__getitems__(indices))
                rows = len(batch["labels"])
                pixels[fold, :rows], labels[fold, :rows] = trainer.finished(batch), batch["labels"]
                if "action_units" in batch:
                    units[fold, :rows] = batch["action_units"]
        return pixels, labels, units

    def gather_ready(
        self, bank: tuple[Tensor, Tensor, Tensor], batches: Sequence[Sequence[list[int]]], present: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """As `gather`, of clips that are model inputs already, for the steps of an epoch; `present` is (S, k, R)."""
        most, folds = present.shape[2], torch.arange(present.shape[1], device=self.device)[:, None]
        rows = torch.tensor([[indices + [0] * (most - len(indices)) for indices in step] for step in batches])
        flips = torch.zeros(present.shape, dtype=torch.bool)
        if self.trainers[0].recipe.mirror:
            for drawn, step in zip(flips, batches, strict=True):
                for fold, (trainer, indices) in enumerate(zip(self.trainers, step, strict=True)):
                    drawn[fold, : len(indices)] = torch.rand(len(indices), generator=trainer.generator) < 0.5
        for row, flip, padding in zip(*(to_device(part, self.device) for part in (rows, flips, ~present)), strict=True):
            pixels, labels, units = (part[folds, row] for part in bank)
            if self.trainers[0].recipe.mirror:
                other = mirrored(pixels.flatten(0, 1), self.trainers[0].processor.connectivity).view_as(pixels)
                pixels = torch.where(flip[:, :, None, None, None, None], other, pixels)
            units = units.masked_fill(padding[:, :, None], torch.nan)
            yield pixels, labels.masked_fill(padding, LEFT_OUT), units

    def masks(self, inputs: Inputs) -> dict[str, Tensor]:
        """The masks of all dropout layers, (k, R * frames, C, h, w) each."""
        if self.device.type != "cpu":
            return self.hashed_masks(inputs)
        counts = inputs.rows.sum(1).long().tolist()
        kept = [torch.zeros(len(counts), drop.numbers(inputs.rows.shape[1])) for drop in self.dropouts]
        for fold, (rows, generator) in enumerate(zip(counts, self.dropout_generators, strict=True)):
            for drop, whole in zip(self.dropouts, kept, strict=True):
                if count := drop.numbers(rows):
                    words = random_words(count, drop.p, generator)
                    whole[fold, :count] = kept_by_bits(words, count, drop.p, torch.float32)
        return {drop.name: drop.mask(whole) for drop, whole in zip(self.dropouts, kept, strict=True)}

    def hashed_masks(self, inputs: Inputs) -> dict[str, Tensor]:
        """As `masks`, of numbers that any device makes for itself."""
        masks = {}
        for layer, drop in enumerate(self.dropouts):
            count = drop.numbers(inputs.rows.shape[1])
            words = hashed_words(self.seeds, inputs.steps, layer, -(-count * bits_an_element(drop.p) // 64))
            masks[drop.name] = drop.mask(kept_by_bits(words, count, drop.p, torch.float32))
        return masks

    # --- what a step does ---

    def make_step(self, inputs: Inputs, ragged: bool) -> None:
        """One step of every fold that is not through; on CUDA as one graph."""
        for norm in self.norms.values():
            norm.ragged = ragged
        if self.device.type != "cuda":
            self.step(inputs)
            return
        if ragged not in self.graphs:
            state = [self.weights.detach(), self.moments, *self.buffers.values(), *(self.averages or ())]
            self.graphs[ragged] = GraphedStep(self, inputs, state)
        self.graphs[ragged](inputs)

    def step(self, inputs: Inputs) -> None:
        """Losses, gradients and new weights; nothing in it waits for the device."""
        given = {f"{name}.kept": mask for name, mask in self.masks(inputs).items()}
        given |= {**self.buffers, "flat": self.weights, "pixels": inputs.pixels, "labels": inputs.labels}
        given |= {f"term {name}": value for name, value in self.terms.items()}
        given |= {"units": inputs.units, "rows": inputs.rows}
        with autocast(self.args):
            if len(self.trainers) == 1:  # a network alone has a layout of memory that vmap has not, and is faster in it
                alone = {name: value[0] for name, value in given.items()}
                alone["pixels"] = as_convolved(alone["pixels"])
                losses = self.loss_of_one(alone)[None]
            else:
                losses = vmap(self.loss_of_one, randomness="different")(given)
        (gradients,) = torch.autograd.grad(losses.sum(), self.weights)
        self.seen[0] = losses.detach()
        with torch.no_grad():
            self.update(gradients, inputs.rates)

    def loss_of_one(self, given: Mapping[str, Tensor]) -> Tensor:
        """The loss of one network, whose weights come as (P,), and whose statistics are brought up to date in place."""
        state = {name: value for name, value in given.items() if "." in name}
        state.update(self.named_parameters(given["flat"]))
        state.update({f"{name}.rows": given["rows"] for name in self.norms})
        output = functional_call(self.network, state, (given["pixels"],))
        count = given["rows"].sum().clamp(min=1)
        terms = ClassTerms(given.get("term shift"), given.get("term weights"))
        loss = classification_loss(output.logits, given["labels"], self.network.config, count, terms)
        if given["units"].shape[1]:
            loss = loss + unit_loss(output.action_unit_logits, given["units"], count)
        return loss

    def update(self, gradients: Tensor, rates: Tensor) -> None:
        """Clip (k, P) gradients fold by fold, and take one step of AdamW or SGD, as torch's with `Inputs.rates`."""
        active, rate, first, second, kept = rates[:, None].unbind(2)
        norm = gradients.norm(dim=1, keepdim=True)
        self.seen[1] = norm[:, 0]
        if self.args.max_grad_norm:
            gradients = gradients * (self.args.max_grad_norm / (norm + 1e-6)).clamp(max=1)
        mean, square = self.moments
        if "betas" in self.options:
            beta1, beta2 = self.options["betas"]
            mean.lerp_(gradients, (1 - beta1) * active)
            square.lerp_(gradients.square(), (1 - beta2) * active)
            change = self.decay * self.weights + mean * first / (square.sqrt() * second + self.options["eps"])
        else:
            gradients = gradients + self.decay * self.weights
            momentum = self.options.get("momentum", 0.0)
            change = mean.mul_(1 - active * (1 - momentum)).add_(gradients * active)
        self.weights.sub_(rate * change)
        for average, value in zip(self.averages or (), (self.weights, *self.buffers.values()), strict=False):
            if average.is_floating_point():
                average.lerp_(value, ((1 - kept) * active).view(-1, *[1] * (value.ndim - 1)))
            else:
                average.copy_(value)

    def check_finite(self, epoch: int) -> None:
        """Look at all weights and statistics after an epoch, as the Trainer's callback does."""
        values = [self.weights.detach(), *(value for value in self.buffers.values() if value.is_floating_point())]
        finite = torch.stack([value.flatten(1).isfinite().all(1) for value in values]).all(0).tolist()
        for trainer, well in zip(self.trainers, finite, strict=True):
            if not well:
                raise went_astray(trainer.name, epoch, trainer.args.learning_rate)


def blank_rows(trainer: RcnTrainer, folds: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels, labels and units of `Inputs` that count nowhere."""
    config, device = trainer.network.config, trainer.args.device
    knows_units = not isinstance(trainer.source, ResidentClips) or trainer.source.units is not None
    pixels = torch.zeros(folds, rows, config.num_frames, config.num_channels, *config.image_size, device=device)
    units = torch.full((folds, rows, len(config.action_units or ()) if knows_units else 0), torch.nan, device=device)
    return pixels, torch.full((folds, rows), LEFT_OUT, device=device), units


def ready_clips(trainers: Sequence[RcnTrainer]) -> tuple[Tensor, Tensor, Tensor] | None:
    """Inputs (k, N, T, C, H, W), labels (k, N) and units (k, N, U) of clips that are model inputs already.

    None where some are not.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for trainer in trainers:
        source = trainer.source
        if not isinstance(source, ResidentClips) or source.inputs is None:
            return None
        units = source.inputs.new_empty(len(source), 0) if source.units is None else source.units
        parts.append((source.inputs, source.labels, units))
    inputs, labels, units = (
        nn.utils.rnn.pad_sequence(list(part), batch_first=True) for part in zip(*parts, strict=True)
    )
    return inputs, labels, units


class Steps(NamedTuple):
    """The S steps of an epoch of k folds.

    Attributes:
        active: (S, k) bool, which folds make them.
        rates: (S, k, 5), `Inputs.rates`.
        before: (S, k) int64, `Inputs.steps`.
    """

    active: Tensor
    rates: Tensor
    before: Tensor


IDLE = (0.0, 0.0, 0.0, 1.0, 1.0)
"""`Inputs.rates` of a fold that makes no step."""


class Timetable:
    """Which fold makes which step when, and with what rates: all folds begin every epoch together.

    Attributes:
        epochs: number of epochs of the fold that has most.
        rows: the most rows of a step.
        rows_of_a_clip: how many of them go with a clip: its own, and those of the fields that are drawn with it.
    """

    def __init__(self, trainers: Sequence[RcnTrainer]) -> None:
        self.per_epoch = [len(trainer.order()) for trainer in trainers]
        self.totals = [total_steps(trainer.args, each) for trainer, each in zip(trainers, self.per_epoch, strict=True)]
        self.epochs = max(math.ceil(total / each) for total, each in zip(self.totals, self.per_epoch, strict=True))
        source = trainers[0].source
        self.rows_of_a_clip = 1 + source.per_clip if isinstance(source, JointClips) else 1
        sizes = [min(trainer.args.train_batch_size, len(trainer.source)) for trainer in trainers]
        self.rows = max(sizes) * self.rows_of_a_clip
        known = {total: rates_of(trainer, total) for trainer, total in zip(trainers, self.totals, strict=True)}
        self.rates = nn.utils.rnn.pad_sequence([known[total] for total in self.totals], batch_first=True)
        self.made: list[Tensor] = []

    def steps(self, epoch: int) -> "Steps":
        """The steps of an epoch, counted from 1."""
        per_epoch, folds = torch.tensor(self.per_epoch), torch.arange(len(self.totals))
        numbers = torch.arange(max(self.per_epoch))[:, None]
        before = (epoch - 1) * per_epoch + numbers
        active = (numbers < per_epoch) & (before < torch.tensor(self.totals))
        before, active = before[active.any(1)], active[active.any(1)]
        rates = self.rates[folds, before.clamp(max=self.rates.shape[1] - 1)]
        self.made.append(active)
        return Steps(active, torch.where(active[:, :, None], rates, torch.tensor(IDLE)), before)

    def curve(self, fold: int, seen: Tensor) -> list[dict[str, float]]:
        """What the Trainer would have logged of a fold.

        Args:
            fold: number of the fold.
            seen: (steps, 2) loss and norm of the gradient of all steps that were made, idle ones as well.
        """
        seen = seen[torch.cat(self.made)[:, fold]]
        curve = []
        for epoch, part in enumerate(seen.split(self.per_epoch[fold])):
            step = epoch * self.per_epoch[fold] + len(part)
            loss, rate = float(part[:, 0].mean()), float(self.rates[fold, step - 1, 1])
            logged = {"loss": loss, "grad_norm": float(part[-1, 1]), "learning_rate": rate}
            curve.append({**logged, "epoch": step / self.per_epoch[fold], "step": step})
        return curve


def total_steps(arguments: TrainingArguments, per_epoch: int) -> int:
    """How many steps a training makes."""
    return arguments.max_steps if arguments.max_steps > 0 else math.ceil(arguments.num_train_epochs * per_epoch)


def rates_of(trainer: RcnTrainer, total: int) -> Tensor:
    """(steps, 5): `Inputs.rates` of a training of so many steps; the rates are those of the Trainer's own scheduler."""
    arguments, decay = trainer.args, trainer.recipe.ema_decay
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=arguments.learning_rate)
    scheduler = trainer.create_scheduler(total, optimizer)
    trainer.lr_scheduler = None
    average = None if decay is None else moving_average(nn.PReLU(), decay)  # it asks for some weight
    rows = []
    for step in range(1, total + 1):
        corrections = [1 / (1 - arguments.adam_beta1**step), 1 / math.sqrt(1 - arguments.adam_beta2**step)]
        kept = 0.0 if average is None else average.get_decay(step)
        rows.append([1.0, optimizer.param_groups[0]["lr"], *corrections, kept])
        optimizer.step()
        scheduler.step()
    return torch.tensor(rows)


class GraphedStep:
    """A step of `Together` as one CUDA graph, which is launched at once: its kernels take less time than their launch.

    Args:
        together: whose step it is.
        inputs: of the first step, which is made when the graph is first called.
        state: all tensors that a step changes in place.
    """

    def __init__(self, together: Together, inputs: Inputs, state: Sequence[Tensor]) -> None:
        self.inputs = Inputs(*(part.clone() for part in inputs))
        before = [part.clone() for part in state]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries choose and allocate in the first steps, which a graph cannot hold
            for _ in range(3):
                together.step(self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        for part, kept in zip(state, before, strict=True):
            part.copy_(kept)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            together.step(self.inputs)

    def __call__(self, inputs: Inputs) -> None:
        """Make the step with these inputs."""
        for part, given in zip(self.inputs, inputs, strict=True):
            part.copy_(given)
        self.graph.replay()


__all__ = ["Together", "Training", "apart", "fold_batch", "kept_for_backward", "train_all"]
