"""One training: from clips in memory and a recipe to a model, and what it says.

Recipe -> build_config, build_processor -> train: batches on the device -> RcnTrainer -> predict
"""

import contextlib
import copy
import ctypes
import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from timm.utils import ModelEmaV3
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from mer_hf.action_units import ACTION_UNITS
from mer_hf.errors import MerHfError
from mer_hf.rcn.configuration_rcn import SHARED, RcnConfig
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification, RcnOutput, classification_loss, unit_loss
from mer_hf.rcn.motion_rcn import motion_energy, moving_pixels
from mer_hf.rcn.pipeline_rcn import TASK, MicroExpressionClassificationPipeline
from mer_hf.rcn.temporal_rcn import TemporalJitter
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.training.augmentation import Augmentation, mix
from mer_hf.training.batches import DRAWN_CLASSES, DrawnClips, JointClips, ResidentClips
from mer_hf.training.clips import check_dataset, ready_input
from mer_hf.training.recipe import Recipe

CALIBRATION_SEED = 2**32
"""Of the drawn motion by which action units are told apart; training has smaller seeds."""


class RunError(MerHfError):
    """A run cannot start, or must not go on; the message says what to change."""


class Saved(NamedTuple):
    """A saved model, and the video processor that makes its inputs."""

    model: RcnForVideoClassification
    processor: RcnVideoProcessor


# --- what is trained, from the recipe ---


def build_config(
    recipe: Recipe, dataset: Dataset, start: Saved | None = None, companion: Saved | None = None
) -> RcnConfig:
    """The model's configuration: preset, the recipe's changes, the labels, and the shape of ready inputs.

    Args:
        recipe: what to do.
        dataset: whose labels the model tells.
        start: a saved model to start from, whose configuration is taken in place of preset and changes.
        companion: a saved model to average with, whose inputs are the model's own.

    Raises:
        RunError: for fields of the wrong kind, or that contradict one another or the dataset.
    """
    names = dataset.features["label"].names
    column = check_dataset(dataset)
    given = dict(recipe.model) if recipe.saved_model is None else {}
    if start is not None:
        single = start.model.members[0] if start.model.members else start.model
        given = {field.name: getattr(single.config, field.name) for field in fields(RcnConfig)} | {"trained_on": None}
    elif companion is not None:
        given |= {name: getattr(companion.model.config, name) for name in SHARED}
    elif column != "frames":
        frames, channels, height, width = ready_input(dataset, 0, column).shape
        given |= {"num_frames": frames, "num_channels": channels, "image_size": [height, width]}
    if start is not None or recipe.drawn_per_clip:  # the units are known of drawn motion alone
        given["action_units"] = list(ACTION_UNITS) if recipe.drawn_per_clip else None
    config = preset_config(recipe, given, names, f" on column {column!r}")
    if config.connectivity != "geometric" and (column == "flow" or recipe.drawn_per_clip):
        needs = "the column 'flow'" if column == "flow" else "drawn_per_clip"
        raise RunError(f"{needs} needs a geometric model, preset {recipe.preset} is {config.connectivity}")
    if recipe.drawn_per_clip and not set(DRAWN_CLASSES) <= set(names):
        raise RunError(f"motion is drawn of {', '.join(DRAWN_CLASSES)}; the classes here are {', '.join(names)}")
    return config


def preset_config(recipe: Recipe, given: dict[str, Any], names: Sequence[str], where: str = "") -> RcnConfig:
    """The recipe's preset with given fields and the names of the classes.

    Raises:
        RunError: for fields of the wrong kind, or that contradict one another; it says `where`.
    """
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    try:
        return RcnConfig.preset(recipe.preset, **{**given, **labels})
    except (MerHfError, TypeError) as error:
        raise RunError(f"preset {recipe.preset} with model {recipe.model}{where}: {error}") from error


def build_processor(recipe: Recipe, config: RcnConfig, saved: Saved | None = None) -> RcnVideoProcessor:
    """The video processor that makes the inputs which `config` takes; as that of a saved model, where there is one."""
    unknown = sorted(set(recipe.processor) - set(RcnVideoProcessor.valid_kwargs.__annotations__))
    if unknown:
        raise RunError(f"the video processor has no options {unknown}; see RcnVideoProcessor")
    if saved is not None:
        return saved.processor.with_options(**recipe.processor)
    height, width = config.image_size
    options = {
        "connectivity": config.connectivity,
        "num_channels": config.num_channels,
        "num_frames": config.num_frames,
        "size": {"height": height, "width": width},
    }
    return RcnVideoProcessor(**{**options, **recipe.processor})


def build_augmentation(recipe: Recipe) -> Augmentation:
    """What the recipe has drawn anew in every step, beside jitter."""
    try:
        return Augmentation(mirror=recipe.mirror, **recipe.augment)
    except (TypeError, ValueError) as error:
        raise RunError(f"augment {recipe.augment}: {error}") from error


# --- one training ---


class RcnTrainer(Trainer):
    """A Trainer of clips that lie on the device as a whole, and are finished there: jittered, mirrored, augmented."""

    def __init__(
        self,
        model: RcnForVideoClassification,
        arguments: TrainingArguments,
        clips: torch.utils.data.Dataset,
        processor: RcnVideoProcessor,
        recipe: Recipe,
    ) -> None:
        self.processor, self.recipe = processor, recipe
        self.jitter = TemporalJitter(drop=recipe.drop) if recipe.jitter else None
        self.augmentation = build_augmentation(recipe)
        self.draws = torch.Generator().manual_seed(arguments.seed)
        # A run trains many models and pushes one, when it is finished. And checkpoints hold the arguments.
        self.hub_token, arguments = arguments.hub_token, copy.copy(arguments)
        arguments.push_to_hub, arguments.hub_token = False, None
        super().__init__(
            model,
            arguments,
            data_collator=lambda batch: batch,  # it is one already
            train_dataset=clips,
            compute_loss_func=self._mixed_loss if self.augmentation.mixup else None,
            callbacks=[AverageWeights(recipe.ema_decay)] if recipe.ema_decay else None,
        )
        self.remove_callback(PrinterCallback)
        if self.args.disable_tqdm:
            self.remove_callback(ProgressCallback)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The recipe's steps of the learning rate, which transformers has none of, or what the arguments name."""
        if self.recipe.lr_step_epochs is None:
            return super().create_scheduler(num_training_steps, optimizer)
        steps = round(self.recipe.lr_step_epochs * num_training_steps / self.args.num_train_epochs)
        optimizer = self.optimizer if optimizer is None else optimizer
        self.lr_scheduler = torch.optim.lr_scheduler.StepLR(optimizer, max(1, steps), self.recipe.lr_step_factor)
        return self.lr_scheduler

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        inputs = super()._prepare_inputs(inputs)
        labels, training = inputs.pop("labels"), self.model.training
        drawn, units = inputs.pop("drawn", None), inputs.pop("action_units", None)
        if "frames" in inputs:
            jitter = self.jitter if training else None
            pixels = self.processor.model_input(**inputs, jitter=jitter, generator=self.draws)
        else:
            pixels = inputs.pop("pixel_values_videos")
        if drawn is not None:
            pixels = torch.cat([pixels, drawn])
        if training:
            pixels = self.augmentation(pixels, self.draws, self.processor.connectivity)
            if self.augmentation.mixup:
                order, share = self.augmentation.draw_mix(len(pixels), self.draws)
                order = order.to(pixels.device)
                units = None if units is None else mix(units, order, share)
                pixels, labels = mix(pixels, order, share), (labels, labels[order], share, units)
        # in the model's own memory format; otherwise each convolution of them reorders them, and so does its gradient
        pixels = pixels.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, pixels.shape[:2])
        known = {"action_units": units} if units is not None else {}
        return {"pixel_values_videos": pixels, "labels": labels, **known}

    def _mixed_loss(self, outputs: Any, labels: Any, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        # mixed in training; as they are in evaluation
        first, second, share, units = (labels, labels, 1.0, None) if isinstance(labels, Tensor) else labels
        config = self.accelerator.unwrap_model(self.model).config
        loss = share * classification_loss(outputs.logits, first, config, num_items_in_batch)
        loss = loss + (1 - share) * classification_loss(outputs.logits, second, config, num_items_in_batch)
        return loss if units is None else loss + unit_loss(outputs.action_unit_logits, units, num_items_in_batch)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        tags: list[str] | None = None,
    ) -> Any:
        """Push the model to `args.hub_model_id`, with all that the pipeline needs, but nothing of the output folder.

        Args:
            commit_message: of the one commit.
            blocking: must be true; there is nothing to go on with meanwhile.
            token, revision, private: instead of those of the arguments.
            tags: of the card, where the repository has none yet.

        Returns:
            The `CommitInfo` of huggingface_hub.
        """
        if not blocking:
            raise MerHfError("push_to_hub of this trainer returns when it is done; leave blocking=False out")
        model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        pipeline = MicroExpressionClassificationPipeline(
            model=model, video_processor=self.processor, task=TASK, device=model.device
        )
        return pipeline.push_to_hub(
            self.args.hub_model_id or Path(self.args.output_dir).absolute().name,
            commit_message=commit_message,
            token=self.hub_token if token is None else token,
            revision=self.args.hub_revision if revision is None else revision,
            private=self.args.hub_private_repo if private is None else private,
            tags=tags,
        )

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: the count goes through all modules in every step, and nothing here reads it."""
        return 0


class AverageWeights(TrainerCallback):
    """An exponential moving average of weights and statistics, which the model has in the end.

    Args:
        decay: of the average; it grows up to it with the steps, so that the initial weights are soon forgotten.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Begin with the initial weights."""
        self.average = ModelEmaV3(model, decay=self.decay, use_warmup=True)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Add the weights after a step."""
        self.average.update(model, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Put the average in place of the weights."""
        model.load_state_dict(self.average.module.state_dict())


def train(
    clips: list[dict[str, Any]],
    config: RcnConfig,
    processor: RcnVideoProcessor,
    recipe: Recipe,
    arguments: TrainingArguments,
    seed: int,
    start: RcnForVideoClassification | None = None,
) -> RcnTrainer:
    """Train a model on clips; whatever is fitted, is fitted on these alone, and on drawn motion.

    Args:
        clips: samples of the training side.
        config: of the model; it is not changed.
        processor: of the clips.
        recipe: jitter, augmentation, and how the learning rate and the weights go.
        arguments: of the optimisation.
        seed: of the initial weights, the order of the clips, jitter and augmentation.
        start: a model whose weights training begins with; of an ensemble, the first network's. Its linear layer is kept
            where it tells the same classes in the same order, and made anew otherwise.

    Returns:
        The trainer, with the trained model in it, which computes in fp32 again.
    """
    arguments, config = copy.copy(arguments), copy.deepcopy(config)
    arguments.seed = seed
    if len(clips) % arguments.train_batch_size == 1 < len(clips):
        arguments.dataloader_drop_last = True  # batch normalisation cannot learn from a batch of one clip
    set_seed(seed)
    counts = Counter(clip["label"] for clip in clips)
    for name in DRAWN_CLASSES if recipe.drawn_per_clip else ():  # each as likely as the others
        counts[config.label2id[name]] += recipe.drawn_per_clip * len(clips) // len(DRAWN_CLASSES)
    config.class_counts = [counts[label] for label in range(config.num_labels)]
    model = RcnForVideoClassification(config).to(memory_format=torch.channels_last)  # convolutions of few maps like it
    if start is not None:
        _begin_with(model, start)
    if config.connectivity == "appearance":
        videos = [clip["sequence"].frames if "sequence" in clip else clip["pixel_values_videos"] for clip in clips]
        energies = [motion_energy(video[:, 0]) for video in videos]
        model.rcn.set_pixel_mask(torch.from_numpy(moving_pixels(np.stack(energies))))
    resident = ResidentClips(clips, processor, arguments.device, recipe.jitter)
    if not recipe.drawn_per_clip:
        return fit(model, resident, processor, recipe, arguments)
    drawn = DrawnClips(0, config, seed, arguments.device)
    joint = JointClips(resident, drawn, recipe.drawn_per_clip, list(config.id2label.values()))
    return fit(model, joint, processor, recipe, arguments)


def _begin_with(model: RcnForVideoClassification, start: RcnForVideoClassification) -> None:
    """Copy the weights of another model, but for the layers that tell what this model does not."""
    source = start.members[0] if start.members else start
    weights = source.state_dict()
    anew = ["unit_classifier"] if model.unit_classifier is None else []
    if source.config.id2label != model.config.id2label:
        anew.append("classifier")
    kept = {name: value for name, value in weights.items() if name.split(".")[0] not in anew}
    model.load_state_dict({**model.state_dict(), **kept})


def fit(
    model: RcnForVideoClassification,
    clips: torch.utils.data.Dataset,
    processor: RcnVideoProcessor,
    recipe: Recipe,
    arguments: TrainingArguments,
) -> RcnTrainer:
    """Train a model in place on clips that give whole batches, as `ResidentClips` does."""
    trainer = RcnTrainer(model, arguments, clips, processor, recipe)
    trainer.train()
    model = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # without the autocast of training
    model.to(memory_format=torch.contiguous_format)  # as it will be loaded again
    return trainer


@torch.no_grad()
def calibrate_units(model: RcnForVideoClassification, count: int = 10_000) -> None:
    """Shift the logits of action units, in place, so that a probability of .5 parts them with the best F1.

    Most units are rare, so a network seldom gives one of them more than .5 by itself.

    Args:
        model: a single network, in evaluation mode afterwards.
        count: of the drawn fields on which F1 is measured.
    """
    model.eval()
    batch = DrawnClips(count, model.config, CALIBRATION_SEED, model.device).draw(count)
    told, moved = model(batch["pixel_values_videos"]).action_unit_logits, batch["action_units"]
    told, order = told.sort(0, descending=True)
    hits, calls = moved.gather(0, order).cumsum(0), torch.arange(1, count + 1, device=model.device)[:, None]
    best = (2 * hits / (calls + moved.sum(0))).argmax(0, keepdim=True)
    model.unit_classifier.bias -= told.gather(0, best)[0]


@torch.no_grad()
def predict(
    model: RcnForVideoClassification, clips: list[dict[str, Any]], processor: RcnVideoProcessor, batch_size: int = 64
) -> RcnOutput:
    """What a model says of clips, with nothing drawn: logits of the classes and of action units, float32."""
    model.eval()
    told = [model(part) for part in ResidentClips(clips, processor, model.device).inputs.split(batch_size)]
    units = [part.action_unit_logits.float() for part in told if part.action_unit_logits is not None]
    return RcnOutput(
        logits=torch.cat([part.logits.float() for part in told]),
        action_unit_logits=torch.cat(units) if units else None,
    )


@contextlib.contextmanager
def many_small_steps() -> Iterator[None]:
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
    "RunError",
    "Saved",
    "build_config",
    "build_processor",
    "calibrate_units",
    "fit",
    "many_small_steps",
    "predict",
    "preset_config",
    "train",
]
