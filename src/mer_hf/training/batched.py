"""Several trainings of one plan as one: the networks of k folds as one tensor of weights with a leading fold dimension.

    plan, trainings -> apart, fold_batch: how many at once -> trainers before their first step, see `trainer.begin`
      -> Together: a batch of each, padded with rows that count nowhere -> one forward and backward pass of all
      -> each fold's gradient clipped, AdamW or SGD with the rate of each -> k trained models

A fold draws what it would draw alone: its order, jitter and mirror from its trainer's generator, its dropout on a CPU
from a stream as torch's, elsewhere from a hash of its seed and its step, so that nothing depends on who is trained
beside it. In fp32 on a CPU the weights are those of separate trainings, up to rounding.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from transformers import TrainingArguments

from mer_hf.rcn.configuration_rcn import STEMS
from mer_hf.rcn.losses_rcn import LEFT_OUT, ClassTerms, class_terms, classification_loss, unit_loss
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification, mirrored
from mer_hf.rcn.tuning_rcn import Dropout, bits_an_element, kept_by_bits, random_words
from mer_hf.training.batches import Batch, JointClips, ResidentClips
from mer_hf.training.clips import Clip
from mer_hf.training.plan import Plan, RunError
from mer_hf.training.trainer import RcnTrainer, Trained, begin, finish, moving_average, train, went_astray

FILLS = 2**28
"""Bytes that one step of a network keeps for its backward pass, from which on it fills a device by itself."""


class Training(NamedTuple):
    """What one training is given: clips, seed and name, see `trainer.train`."""

    clips: Sequence[Clip]
    seed: int
    name: str


def train_all(plan: Plan, trainings: Sequence[Training], size: int) -> list[Trained]:
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
        return [train(plan, *training) for training in trainings]
    trained = []
    for start in range(0, len(trainings), size):
        trained += Together([begin(plan, *training) for training in trainings[start : start + size]]).train()
    return trained


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
    reasons = (
        (config.connectivity == "appearance", "with appearance connectivity every fold has a mask of its own"),
        (config.backbone not in STEMS, f"backbone {config.backbone} may hold what only single networks compute"),
        (arguments.optim not in ("adamw_torch", "adamw_torch_fused", "sgd"), f"optim is {arguments.optim}"),
        ("nesterov" in (arguments.optim_args or ""), "optim_args asks for nesterov"),
        ("dampening" in (arguments.optim_args or ""), "optim_args asks for dampening"),
        ("reduce_lr" in arguments.lr_scheduler_type, f"lr_scheduler_type is {arguments.lr_scheduler_type.value}"),
        (arguments.gradient_accumulation_steps > 1, "a step is accumulated from parts"),
        (arguments.fp16, "fp16 scales the loss of one network"),
        (arguments.torch_compile, "torch_compile compiles one network"),
        (arguments.gradient_checkpointing, "activations are computed again"),
        (bool(arguments.report_to), f"{arguments.report_to} track one training at a time"),
        (arguments.logging_strategy != "epoch", f"logging_strategy is {arguments.logging_strategy.value}, not epoch"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def kept_for_backward(trainer: RcnTrainer) -> int:
    """Bytes that a training step of one network keeps for its backward pass, found with the first few clips."""
    rows = min(4, len(trainer.source))
    sizes: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    batch = trainer.source.__getitems__(list(range(rows)))
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), autocast(trainer.args):
        trainer.model.train()(trainer.finished(batch))
    return sum(sizes.values()) * trainer.args.train_batch_size // rows


def autocast(arguments: TrainingArguments) -> torch.autocast:
    """The precision of the arguments; nothing of it is cached, which the graph of a step would keep for ever."""
    return torch.autocast(arguments.device.type, torch.bfloat16, enabled=arguments.bf16, cache_enabled=False)


# --- layers of which k are computed as one ---


class KeptDropout(nn.Module):
    """Dropout by a mask that is given."""

    kept: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones(()), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps times the mask."""
        return maps * self.kept.to(maps.dtype)


class RowsNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of those rows of a batch that count; torch's own where all do."""

    rows: Tensor
    ragged = False

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.register_buffer("rows", torch.ones(1), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B * T, C, h, w) of B rows, each of T frames."""
        if not self.ragged:
            return super().forward(input)
        maps, each = input.float(), len(input) // len(self.rows)
        weights = self.rows[:, None].expand(-1, each).reshape(-1, 1, 1, 1)
        count = weights.sum() * math.prod(maps.shape[2:])
        mean = (maps * weights).sum((0, 2, 3)) / count.clamp(min=1)
        centred = maps - mean[:, None, None]
        variance = (centred.square() * weights).sum((0, 2, 3)) / count.clamp(min=1)
        momentum = cast(float, self.momentum) * (count > 0)  # a fold that is through stays as it is
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            cast(Tensor, self.running_mean).add_(momentum * (mean - cast(Tensor, self.running_mean)))
            cast(Tensor, self.running_var).add_(momentum * (unbiased - cast(Tensor, self.running_var)))
            cast(Tensor, self.num_batches_tracked).add_((count > 0).long())
        scaled = centred * ((variance + self.eps).rsqrt() * self.weight)[:, None, None]
        return (scaled + self.bias[:, None, None]).to(input.dtype)


def stackable(model: RcnForVideoClassification) -> RcnForVideoClassification:
    """A copy of a network whose dropout and batch normalisation are those above, under the names that they had."""
    network = copy.deepcopy(model).to(memory_format=torch.contiguous_format).train()
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Dropout) and 0 < child.p < 1:
                setattr(module, name, KeptDropout())
            elif isinstance(child, nn.BatchNorm2d):
                setattr(module, name, RowsNorm(child))
    return network


# --- random numbers ---


class Dropped(NamedTuple):
    """A dropout layer, and the maps that come to it: of one row `frames` times `shape`, in the order of `stride`."""

    name: str
    p: float
    frames: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def mask(self, kept: Tensor) -> Tensor:
        """(k, rows * numbers of a row) in the order of memory -> (k, rows * frames, *shape)."""
        rows = kept.shape[1] // math.prod(self.shape)
        return kept.as_strided((len(kept), rows, *self.shape), (kept.shape[1], *self.stride))

    def numbers(self, rows: int) -> int:
        """How many numbers the maps of so many rows hold."""
        return rows * self.frames * math.prod(self.shape)


def dropouts_of(trainer: RcnTrainer) -> list[Dropped]:
    """The dropout layers of a trainer's network in the order in which they are called, found with two blank clips."""
    found: list[Dropped] = []
    hooks = []
    for name, module in trainer.model.named_modules():
        if isinstance(module, Dropout) and 0 < module.p < 1:

            def note(module: nn.Module, inputs: tuple[Tensor], name: str = name, p: float = module.p) -> None:
                maps = inputs[0]
                found.append(Dropped(name, p, len(maps) // 2, maps.shape[1:], torch.empty_like(maps).stride()))

            hooks.append(module.register_forward_pre_hook(note))
    config = trainer.model.config
    blank = torch.zeros(2 * config.num_frames, config.num_channels, *config.image_size, device=trainer.args.device)
    with torch.no_grad():
        blank = blank.contiguous(memory_format=torch.channels_last).unflatten(0, (2, -1))
        trainer.model.eval().single_network(blank)
    for hook in hooks:
        hook.remove()
    return found


def hashed_words(keys: Tensor, steps: Tensor, layer: int, count: int) -> Tensor:
    """Random words (k, count) int64 that follow from a key, a step and a layer alone, the same on every device.

    They are the finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014) of a counter, twice.

    Args:
        keys: (k,) int64, a fold's own.
        steps: (k,) int64, how many steps the fold has made.
        layer: which of its layers they are for.
        count: number of words.
    """
    streams = _mixed(_mixed(keys) + steps * 2**16 + layer)
    places = torch.arange(count, device=keys.device) * -7046029254386353131  # 2^64 over the golden ratio, as int64
    return _mixed(streams[:, None] + places)


def _mixed(words: Tensor) -> Tensor:
    """A bijection of int64 under which near words are far apart; products wrap around."""
    words = (words ^ (words >> 30 & (1 << 34) - 1)) * -4658895280553007687
    words = (words ^ (words >> 27 & (1 << 37) - 1)) * -7723592293110705685
    return words ^ (words >> 31 & (1 << 33) - 1)


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
        models = [trainer.model for trainer in trainers]
        self.network = stackable(models[0])
        self.norms = {name: module for name, module in self.network.named_modules() if isinstance(module, RowsNorm)}
        self.dropouts = dropouts_of(first)
        parameters = dict(models[0].named_parameters())
        self.shapes = {name: parameter.shape for name, parameter in parameters.items()}
        flat = [torch.cat([part.detach().flatten() for part in model.parameters()]) for model in models]
        self.weights = torch.stack(flat).requires_grad_()
        names = [name for name, _ in models[0].named_buffers()]
        self.buffers = {name: torch.stack([model.get_buffer(name) for model in models]) for name in names}
        self.moments = torch.zeros(2, *self.weights.shape, device=self.device)
        _, self.options = first.get_optimizer_cls_and_kwargs(first.args, first.model)
        decayed = set(first.get_decay_parameter_names(first.model))
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
            trainer.model.load_state_dict({**weights, **buffers})
            trainer.state.log_history = self.timetable.curve(fold, history[:, :, fold])
        return [finish(trainer) for trainer in self.trainers]

    def named_parameters(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The weights of one network, (P,), by name and in shape."""
        parts = flat.split([shape.numel() for shape in self.shapes.values()])
        return ((name, part.view(shape)) for (name, shape), part in zip(self.shapes.items(), parts, strict=True))

    # --- what a step is given ---

    def epoch_inputs(self, epoch: int) -> Iterator[tuple[Inputs, bool]]:
        """The inputs of the steps of an epoch, and whether a fold has fewer rows than others in a step."""
        orders = [iter(trainer.order()) for trainer in self.trainers]
        for active, rates, steps in self.timetable.steps(epoch):
            batches = [next(order) if at_work else [] for order, at_work in zip(orders, active, strict=True)]
            pixels, labels, units, counts = self.gather(batches)
            weights = torch.arange(labels.shape[1]) < torch.tensor(counts)[:, None]
            inputs = Inputs(pixels, labels, units, *(self.upload(part) for part in (weights.float(), rates, steps)))
            yield inputs, min(counts) < labels.shape[1]

    def upload(self, values: Tensor) -> Tensor:
        """Values of the CPU on the device, without waiting for what the device is at."""
        if self.device.type != "cuda":
            return values.to(self.device)
        return values.pin_memory().to(self.device, non_blocking=True)

    def gather(self, batches: Sequence[list[int]]) -> tuple[Tensor, Tensor, Tensor, list[int]]:
        """The clips of each fold with these indices -> pixels, labels and units of `Inputs`, rows of each fold."""
        if all(isinstance(t.source, ResidentClips) and t.source.inputs is not None for t in self.trainers):
            return self.gather_ready(batches)
        most = self.timetable.rows
        pixels = labels = units = torch.empty(0)
        counts = [0] * len(batches)
        for fold, (trainer, indices) in enumerate(zip(self.trainers, batches, strict=True)):
            if not indices:
                continue
            batch = cast(Batch, trainer.source.__getitems__(indices))
            part = trainer.finished(batch)
            if pixels.numel() == 0:
                like = {"device": self.device, "dtype": part.dtype}
                pixels = torch.zeros(len(batches), most, *part.shape[1:], **like)
                labels = torch.full((len(batches), most), LEFT_OUT, device=self.device)
                width = batch["action_units"].shape[1] if "action_units" in batch else 0
                units = torch.full((len(batches), most, width), torch.nan, device=self.device)
            counts[fold] = len(part)
            pixels[fold, : len(part)], labels[fold, : len(part)] = part, batch["labels"]
            if "action_units" in batch:
                units[fold, : len(part)] = batch["action_units"]
        return pixels, labels, units, counts

    def gather_ready(self, batches: Sequence[list[int]]) -> tuple[Tensor, Tensor, Tensor, list[int]]:
        """As `gather`, of clips that are model inputs already: for all folds at once."""
        sources = [cast(ResidentClips, trainer.source) for trainer in self.trainers]
        if not hasattr(self, "bank"):
            parts = [cast(Tensor, source.inputs) for source in sources]
            self.bank = nn.utils.rnn.pad_sequence(parts, batch_first=True)
            self.bank_labels = nn.utils.rnn.pad_sequence([source.labels for source in sources], batch_first=True)
            self.bank_folds = torch.arange(len(sources), device=self.device)[:, None]
        counts, most = [len(indices) for indices in batches], self.timetable.rows
        rows = self.upload(torch.tensor([indices + [0] * (most - len(indices)) for indices in batches]))
        flips = torch.zeros(len(batches), most, dtype=torch.bool)
        if self.trainers[0].recipe.mirror:
            for fold, (trainer, count) in enumerate(zip(self.trainers, counts, strict=True)):
                flips[fold, :count] = torch.rand(count, generator=trainer.generator) < 0.5
        pixels = self.bank[self.bank_folds, rows]
        if self.trainers[0].recipe.mirror:
            other = mirrored(pixels.flatten(0, 1), self.trainers[0].processor.connectivity).view_as(pixels)
            pixels = torch.where(self.upload(flips)[:, :, None, None, None, None], other, pixels)
        labels = self.bank_labels[self.bank_folds, rows]
        padding = self.upload(torch.arange(most) >= torch.tensor(counts)[:, None])
        return pixels, labels.masked_fill(padding, LEFT_OUT), torch.empty(*rows.shape, 0, device=self.device), counts

    def masks(self, inputs: Inputs) -> dict[str, Tensor]:
        """The masks of all dropout layers, (k, R * frames, C, h, w) each."""
        most = inputs.rows.shape[1]
        masks = {}
        if self.device.type != "cpu":
            for layer, drop in enumerate(self.dropouts):
                count = drop.numbers(most)
                words = hashed_words(self.seeds, inputs.steps, layer, -(-count * bits_an_element(drop.p) // 64))
                masks[drop.name] = drop.mask(kept_by_bits(words, count, drop.p, torch.float32))
            return masks
        counts = inputs.rows.sum(1).long().tolist()
        kept = [torch.zeros(len(counts), drop.numbers(most)) for drop in self.dropouts]
        for fold, (rows, generator) in enumerate(zip(counts, self.dropout_generators, strict=True)):
            for drop, whole in zip(self.dropouts, kept, strict=True):
                if count := drop.numbers(rows):
                    words = random_words(count, drop.p, generator)
                    whole[fold, :count] = kept_by_bits(words, count, drop.p, torch.float32)
        return {drop.name: drop.mask(whole) for drop, whole in zip(self.dropouts, kept, strict=True)}

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


class Timetable:
    """Which fold makes which step when, and with what rates: all folds begin every epoch together.

    Attributes:
        epochs: number of epochs of the fold that has most.
        rows: the most rows of a step.
    """

    def __init__(self, trainers: Sequence[RcnTrainer]) -> None:
        self.per_epoch = [len(trainer.order()) for trainer in trainers]
        self.totals = [total_steps(trainer.args, each) for trainer, each in zip(trainers, self.per_epoch, strict=True)]
        self.epochs = max(math.ceil(total / each) for total, each in zip(self.totals, self.per_epoch, strict=True))
        self.rows = max(rows_of_a_step(trainer) for trainer in trainers)
        known: dict[int, Tensor] = {}
        for trainer, total in zip(trainers, self.totals, strict=True):
            if total not in known:
                known[total] = rates_of(trainer, total)
        self.rates = [known[total] for total in self.totals]
        self.made: list[list[bool]] = []

    def steps(self, epoch: int) -> Iterator[tuple[list[bool], Tensor, Tensor]]:
        """For each step of an epoch, counted from 1: which folds make it, `rates` and `steps` of `Inputs`."""
        for number in range(max(self.per_epoch)):
            before = [(epoch - 1) * each + number for each in self.per_epoch]
            active = [
                number < each and done < total
                for each, done, total in zip(self.per_epoch, before, self.totals, strict=True)
            ]
            if not any(active):
                return
            self.made.append(active)
            rates = [
                rates[done] if at_work else torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0])
                for rates, done, at_work in zip(self.rates, before, active, strict=True)
            ]
            yield active, torch.stack(rates), torch.tensor(before)

    def curve(self, fold: int, seen: Tensor) -> list[dict[str, float]]:
        """What the Trainer would have logged of a fold.

        Args:
            fold: number of the fold.
            seen: (steps, 2) loss and norm of the gradient of all steps that were made, idle ones as well.
        """
        seen = seen[torch.tensor([active[fold] for active in self.made])]
        curve = []
        for epoch, part in enumerate(seen.split(self.per_epoch[fold])):
            step = epoch * self.per_epoch[fold] + len(part)
            loss, rate = float(part[:, 0].mean()), float(self.rates[fold][step - 1, 1])
            logged = {"loss": loss, "grad_norm": float(part[-1, 1]), "learning_rate": rate}
            curve.append({**logged, "epoch": step / self.per_epoch[fold], "step": step})
        return curve


def total_steps(arguments: TrainingArguments, per_epoch: int) -> int:
    """How many steps a training makes."""
    return arguments.max_steps if arguments.max_steps > 0 else math.ceil(arguments.num_train_epochs * per_epoch)


def rows_of_a_step(trainer: RcnTrainer) -> int:
    """How many rows a whole batch of a trainer has: clips, and the drawn fields that go with them."""
    each = 1 + trainer.source.per_clip if isinstance(trainer.source, JointClips) else 1
    return min(trainer.args.train_batch_size, len(trainer.source)) * each


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
