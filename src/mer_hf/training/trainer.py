"""One training: from clips in memory to a model, and what a model says of clips.

Plan, clips, seed -> train: a source of batches on the device -> RcnTrainer -> a trained model -> predict
"""

import contextlib
import copy
import ctypes
import gc
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np
import torch
from accelerate import PartialState
from accelerate.data_loader import prepare_data_loader
from timm.utils import ModelEmaV3
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from mer_hf.rcn.configuration_rcn import RcnConfig
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification, RcnOutput, mirrored
from mer_hf.rcn.motion_rcn import motion_energy, moving_pixels
from mer_hf.rcn.temporal_rcn import TemporalJitter, to_device
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.training.batches import Batch, DrawnClips, DrawnFields, JointClips, Order, ResidentClips, drawn_source
from mer_hf.training.clips import Clip
from mer_hf.training.folds import folder_name
from mer_hf.training.plan import Plan, RunError
from mer_hf.training.processes import share_statistics
from mer_hf.training.recipe import Recipe

CALIBRATION_SEED = 2**32
"""Of the drawn motion by which action units are told apart; training has smaller seeds."""
MASK_SEED = 2**33
"""Of the drawn sequences on which a mask of moving pixels is fitted."""
FREEZE_NORMS = 0.5
"""Part of a training over frames after which batch normalisation keeps its statistics: those of a batch at each frame,
and those that are kept of all, lead to different states."""


class Trained(NamedTuple):
    """A trained model, in evaluation mode and fp32, and the trainer that trained it."""

    model: RcnForVideoClassification
    trainer: "RcnTrainer"

    @property
    def curve(self) -> list[dict[str, float]]:
        """What was logged while it was trained: `loss`, `learning_rate`, `grad_norm`, `epoch`, `step`."""
        return self.trainer.state.log_history


def train(plan: Plan, clips: Sequence[Clip], seed: int, name: str = "") -> Trained:
    """Train a model; whatever is fitted, is fitted on these clips alone, and on drawn motion.

    Args:
        plan: what all trainings of the run have in common.
        clips: the training side; empty where all motion is drawn.
        seed: of the initial weights, the order of the clips, jitter, mirror and drawn motion.
        name: what the training is called in errors and by trackers.

    Raises:
        RunError: where the weights or the loss stop being finite numbers.
    """
    trainer = begin(plan, clips, seed, name)
    trainer.train()
    return finish(trainer)


def begin(plan: Plan, clips: Sequence[Clip], seed: int, name: str = "") -> "RcnTrainer":
    """A training before its first step, see `train`: the trainer, with the model and the source of its batches."""
    arguments, config = copy.copy(plan.arguments), copy.deepcopy(plan.config)
    arguments.seed = seed
    arguments.run_name = "/".join(part for part in (arguments.run_name, name) if part) or None
    processes = arguments.world_size
    if 0 < len(clips) % (arguments.train_batch_size * processes) < max(2, processes) < len(clips):
        arguments.dataloader_drop_last = True  # batch normalisation cannot learn from one clip, nor a process from none
    set_seed(seed)
    source = training_source(plan, clips, seed)
    if not isinstance(source, DrawnFields | DrawnClips):
        config.class_counts = source.class_counts(len(config.class_names()))
    model = RcnForVideoClassification(config).to(memory_format=torch.channels_last)  # convolutions of few maps like it
    if plan.start is not None:
        _begin_with(model, plan.start.model)
    elif config.connectivity == "appearance":  # the mask of a model that is started from comes with its weights
        pictures = [clip.frames[:, 0] for clip in clips] or drawn_pictures(config)
        energies = np.stack([motion_energy(frames) for frames in pictures])
        model.rcn.set_pixel_mask(torch.from_numpy(moving_pixels(energies)))
    trainer = RcnTrainer(model, source, plan.processor, plan.recipe, arguments, name)
    if processes > 1:
        share_statistics(model, True)
        torch.manual_seed(seed + 2**32 * arguments.process_index)  # each drops other places of its part
    return trainer


def finish(trainer: "RcnTrainer") -> Trained:
    """What came out of a trainer whose steps are done."""
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)  # without the autocast of training
    share_statistics(model, False)
    model.to(memory_format=torch.contiguous_format)  # as it will be loaded again
    return Trained(model.eval(), trainer)


def drawn_pictures(config: RcnConfig, count: int = 300) -> list[np.ndarray]:
    """Drawn sequences (T, H, W) on which the mask of a model of drawn motion is fitted."""
    source = DrawnClips(count, config, MASK_SEED, torch.device("cpu"))
    parts = [source.draw(50)["pixel_values_videos"][:, :, 0].numpy() for _ in range(count // 50)]
    return [*np.concatenate(parts)]


def training_source(
    plan: Plan, clips: Sequence[Clip], seed: int
) -> ResidentClips | DrawnFields | DrawnClips | JointClips:
    """What the batches of a training are taken from: clips, drawn motion, or both."""
    recipe, config, device = plan.recipe, plan.config, plan.arguments.device
    if recipe.is_drawn:
        return drawn_source(recipe.drawn_fields, config, seed, device)
    resident = ResidentClips(clips, plan.processor, device, recipe.jitter)
    if not recipe.drawn_per_clip:
        return resident
    return JointClips(resident, DrawnFields(0, config, seed, device), recipe.drawn_per_clip, plan.classes)


def _begin_with(model: RcnForVideoClassification, start: RcnForVideoClassification) -> None:
    """Copy the weights of another model; of an ensemble, those of its first network.

    Its linear layers are kept where they name the same classes or units in the same order, and made anew otherwise.
    """
    source = start.networks()[0]
    anew = ["unit_classifier"] if source.config.action_units != model.config.action_units else []
    if source.config.id2label != model.config.id2label:
        anew.append("classifier")
    kept = {name: value for name, value in source.state_dict().items() if name.split(".")[0] not in anew}
    model.load_state_dict({**model.state_dict(), **kept})


class RcnTrainer(Trainer):
    """A Trainer of clips that lie on the device as a whole, and are finished there: jittered and mirrored.

    Args:
        model: what is trained, in place.
        source: gives whole batches, see `mer_hf.training.batches`.
        processor: makes model inputs of clips.
        recipe: jitter, mirror, and how the learning rate and the weights go.
        arguments: of the optimisation.
        name: what the training is called in errors.
    """

    def __init__(
        self,
        model: RcnForVideoClassification,
        source: ResidentClips | DrawnFields | DrawnClips | JointClips,
        processor: RcnVideoProcessor,
        recipe: Recipe,
        arguments: TrainingArguments,
        name: str = "",
    ) -> None:
        self.network, self.source, self.name = model, source, name
        self.processor, self.recipe = processor, recipe
        self.recurs_over_frames = model.config.connectivity == "sequence"
        self.jitter = TemporalJitter(drop=recipe.drop) if recipe.jitter else None
        self.generator = torch.Generator().manual_seed(arguments.seed)  # of the CPU: the same numbers on every device
        arguments = copy.copy(arguments)
        arguments.push_to_hub = False  # a run trains many models, and its outcome is pushed
        # accelerate has one device a process, that of the arguments that were made last; the model would go there, and
        # the batches to the device of these
        if PartialState().device != arguments.device:
            del arguments._setup_devices  # kept from when they were made
            arguments._setup_devices  # noqa: B018 - sets it anew
        callbacks: list[TrainerCallback] = [StopWhereNotFinite(name)]
        if recipe.ema_decay is not None:
            callbacks.append(AverageWeights(recipe.ema_decay))
        super().__init__(
            model,
            arguments,
            data_collator=cast(Callable[[list[Any]], dict[str, Any]], lambda batch: batch),  # it is one already
            train_dataset=source,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)
        if self.args.disable_tqdm:
            self.remove_callback(ProgressCallback)
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback):  # it would name the run after the second, as others do
                run_name = folder_name(self.args.run_name or "run")
                callback.logging_dir = str(Path(cast(str, self.args.output_dir), "tracked", run_name))

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Whole batches of the source, in an order that is drawn anew for every epoch.

        Where several processes train one model, all of them have the same batches, of which each computes a part.
        """
        loader = torch.utils.data.DataLoader(
            self.source,
            batch_sampler=self.order(),
            collate_fn=self.data_collator,
            generator=torch.Generator(),  # the loader would draw from the stream of numbers of dropout
        )
        return prepare_data_loader(loader, num_processes=1, process_index=0, put_on_device=False)

    def order(self) -> Order:
        """The batches of every epoch, drawn from the numbers of this training."""
        size = self.args.train_batch_size * self.args.world_size
        return Order(len(self.source), size, self.args.dataloader_drop_last, self.generator)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The recipe's steps of the learning rate, which transformers has none of, or what the arguments name."""
        if self.recipe.lr_step_epochs is None:
            return super().create_scheduler(num_training_steps, optimizer)
        steps = round(self.recipe.lr_step_epochs * num_training_steps / self.args.num_train_epochs)
        optimizer = cast(torch.optim.Optimizer, self.optimizer if optimizer is None else optimizer)
        self.lr_scheduler = torch.optim.lr_scheduler.StepLR(optimizer, max(1, steps), self.recipe.lr_step_factor)
        return self.lr_scheduler

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        return inputs  # they lie on the device

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, RcnOutput]:
        """The loss of a batch, whose clips are jittered and mirrored first."""
        if self.recurs_over_frames and self.state.global_step >= FREEZE_NORMS * self.state.max_steps:
            for module in model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        pixels, labels, units = self.finished(inputs), inputs["labels"], inputs.get("action_units")
        processes = self.args.world_size
        if processes > 1:
            pixels, labels = self.part(pixels), self.part(labels)
            units = None if units is None else self.part(units)
            # every process has counted the whole batch
            num_items_in_batch = None if num_items_in_batch is None else num_items_in_batch / processes
        outputs = model(pixels, labels=labels, action_units=units, num_items_in_batch=num_items_in_batch)
        loss = outputs.loss * processes  # gradients are averaged over the processes
        return (loss, outputs) if return_outputs else loss

    def part(self, whole: Tensor) -> Tensor:
        """The rows of a batch that fall to this process."""
        return whole.tensor_split(self.args.world_size)[self.args.process_index]

    def finished(self, batch: Batch) -> Tensor:
        """The model input of a training batch, (B, T, C, H, W): clips jittered, then drawn fields, all mirrored."""
        if "clips" in batch:
            pixels = self.processor.model_input(batch["clips"], self.jitter, self.generator)
        else:
            pixels = batch["pixel_values_videos"]
        if "drawn" in batch:
            pixels = torch.cat([pixels, batch["drawn"]])
        if self.recipe.mirror:
            pixels = mirror_at_random(pixels, self.generator, self.processor.connectivity)
        return as_convolved(pixels)

    def push_to_hub(self, *args: object, **kwargs: object) -> NoReturn:
        """Refused: there is one way to the Hub, and it takes the finished model with its processor and its card.

        Raises:
            RunError: always; it names `mer_hf.push`.
        """
        raise RunError("save the outcome of the run, and push its folder: mer_hf.push(FOLDER, 'USER/NAME')")

    def floating_point_ops(self, inputs: Mapping[str, object]) -> int:
        """Not counted: the count goes through all modules in every step, and nothing here reads it."""
        return 0


def as_convolved(pixels: Tensor) -> Tensor:
    """Inputs (B, T, C, H, W) in the model's own memory format.

    In another, each convolution of them reorders them, and so does its gradient.
    """
    return pixels.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, pixels.shape[:2])


def mirror_at_random(pixels: Tensor, generator: torch.Generator, connectivity: str) -> Tensor:
    """Mirror each clip of a batch (B, T, C, H, W) left to right with probability 1/2."""
    chosen = to_device(torch.rand(len(pixels), generator=generator) < 0.5, pixels.device)
    return torch.where(chosen[:, None, None, None, None], mirrored(pixels, connectivity), pixels)


class StopWhereNotFinite(TrainerCallback):
    """Ends a training whose weights are no longer finite numbers, after the epoch in which that happened.

    Args:
        name: what the training is called.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: torch.nn.Module,
        **kwargs: object,
    ) -> None:
        """Look at all weights and statistics."""
        if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
            raise went_astray(self.name, round(state.epoch or 0), args.learning_rate)


def went_astray(name: str, epoch: int, learning_rate: float) -> RunError:
    """The error of a training whose weights are no longer finite after an epoch."""
    return RunError(
        f"{name or 'the training'} went astray in epoch {epoch}: its weights are no longer finite numbers. A learning "
        f"rate below {learning_rate:g} may help."
    )


def moving_average(model: torch.nn.Module, decay: float) -> ModelEmaV3:
    """The moving average of a model's weights; of the first steps it keeps less."""
    return ModelEmaV3(model, decay=decay, use_warmup=True)


class AverageWeights(TrainerCallback):
    """An exponential moving average of weights and statistics, which the model has in the end.

    Args:
        decay: decay of the average; it grows up to it with the steps, so that the initial weights are soon forgotten.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: torch.nn.Module,
        **kwargs: object,
    ) -> None:
        """Begin with the initial weights."""
        self.average = moving_average(model, self.decay)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: torch.nn.Module,
        **kwargs: object,
    ) -> None:
        """Add the weights after a step."""
        self.average.update(model, state.global_step)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: torch.nn.Module,
        **kwargs: object,
    ) -> None:
        """Put the average in place of the weights."""
        model.load_state_dict(self.average.module.state_dict())


def finish_tracking(trained: Trained, scores: dict[str, float]) -> None:
    """Log the scores of a training to the trackers of its arguments, and end its tracked run."""
    if not trained.trainer.args.report_to:
        return
    trained.trainer.log(dict(scores))
    for callback in trained.trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
            callback.tb_writer.close()
    for name in trained.trainer.args.report_to:
        finish = getattr(sys.modules.get(name), "finish", None)  # wandb and trackio hold one run open a process
        if finish is not None:
            finish()


# --- what a trained model says ---


class Predicted(NamedTuple):
    """What a model says of clips: logits (clips, classes) and, where it knows units, (clips, units); float32."""

    logits: Tensor
    action_unit_logits: Tensor | None


@torch.no_grad()
def predict(
    model: RcnForVideoClassification, clips: Sequence[Clip], processor: RcnVideoProcessor, batch_size: int = 64
) -> Predicted:
    """What a model says of clips, with nothing drawn: logits of the classes and of action units, float32."""
    model.eval()
    inputs = cast(Tensor, ResidentClips(clips, processor, model.device).inputs)  # made there, without jitter
    outputs: list[RcnOutput] = [model(part) for part in inputs.split(batch_size)]
    units = [output.action_unit_logits.float() for output in outputs if output.action_unit_logits is not None]
    return Predicted(
        logits=torch.cat([cast(Tensor, output.logits).float() for output in outputs]),
        action_unit_logits=torch.cat(units) if units else None,
    )


@torch.no_grad()
def calibrate_units(model: RcnForVideoClassification, count: int = 10_000) -> None:
    """Shift the logits of action units, in place, so that a probability of .5 parts them with the best F1.

    Most units are rare, so a network seldom gives one of them more than .5 by itself.

    Args:
        model: a single network, in evaluation mode afterwards.
        count: number of drawn fields on which F1 is measured; of sequences, which take longer, a third as many.
    """
    model.eval()
    count = count if model.config.connectivity == "geometric" else count // 3
    source = drawn_source(count, model.config, CALIBRATION_SEED, model.device)
    batches = [source.draw(min(500, count - at)) for at in range(0, count, 500)]
    logits = torch.cat([model(batch["pixel_values_videos"]).action_unit_logits for batch in batches])
    moved = torch.cat([batch["action_units"] for batch in batches])
    logits, order = logits.sort(0, descending=True)
    hits, calls = moved.gather(0, order).cumsum(0), torch.arange(1, count + 1, device=model.device)[:, None]
    best = (2 * hits / (calls + moved.sum(0))).argmax(0, keepdim=True)
    cast(torch.nn.Linear, model.unit_classifier).bias.sub_(logits.gather(0, best)[0])


@contextlib.contextmanager
def many_small_steps() -> Generator[None]:
    """Spare what a process does again and again while it trains one small model after the other.

    Every step frees its memory and takes it anew: glibc would hand it back to the kernel each time, which is a sixth of
    a step on one core, of small networks and of those of 512 maps. And every training collects garbage, among all that
    is here already.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # where the C library is another
        for option, value in ((-1, 2**30), (-4, 0)):  # M_TRIM_THRESHOLD in bytes; M_MMAP_MAX, blocks of their own
            ctypes.CDLL(None).mallopt(option, value)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


__all__ = [
    "RcnTrainer",
    "Trained",
    "as_convolved",
    "begin",
    "calibrate_units",
    "finish",
    "finish_tracking",
    "many_small_steps",
    "mirror_at_random",
    "moving_average",
    "predict",
    "train",
    "training_source",
    "went_astray",
]
