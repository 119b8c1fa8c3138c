"""Train one fold; run a protocol: from a dataset and a recipe to predictions, scores and a model.

    Recipe -> build_config, build_processor -> samples -> folds
      -> train, once a fold and seed -> folds/<name>/seed-<k>.csv -> predictions.csv -> results.json
      -> train on all clips -> the model that is saved

A finished fold is a file, and a fold at work is a lock: a run that was stopped goes on where it was, and any number of
processes that run the same command share the folds out among themselves.
"""

import contextlib
import copy
import ctypes
import gc
import hashlib
import json
import os
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from filelock import FileLock, Timeout
from huggingface_hub.errors import StrictDataclassError
from timm.utils import ModelEmaV3
from torch import Tensor
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from mer_hf.action_units import ACTION_UNITS
from mer_hf.augmentation import Augmentation, mix
from mer_hf.batches import DRAWN_CLASSES, DrawnClips, JointClips, ResidentClips
from mer_hf.control import control_predictions
from mer_hf.metrics import SCORES, scores, subject_bootstrap
from mer_hf.preparation import check_dataset, ready_input, samples, with_classes, with_identity
from mer_hf.protocols import Fold, leave_one_subject_out, leave_one_video_out, select_folds, subject_k_fold
from mer_hf.rcn.configuration_rcn import SHARED, RcnConfig
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification, RcnOutput, classification_loss, unit_loss
from mer_hf.rcn.motion_rcn import motion_energy, moving_pixels
from mer_hf.rcn.pipeline_rcn import TASK, MicroExpressionClassificationPipeline
from mer_hf.rcn.temporal_rcn import TemporalJitter
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.recipes import Recipe

PACKAGES = ("mer-hf", "torch", "transformers", "datasets", "accelerate", "timm", "opencv-python-headless", "numpy")

MAY_DIFFER = (
    "folds",
    "seeds",
    "average_seeds",
    "control",
    "num_proc",
    "disable_tqdm",
    "use_cpu",
    "dataloader_pin_memory",
)
"""What may change from one start of a run to the next without making it another run."""


CALIBRATION_SEED = 2**32
"""Of the drawn motion by which action units are told apart; training has smaller seeds."""


class RunError(ValueError):
    """A run cannot start, or must not go on; the message says what to change."""


class Saved(NamedTuple):
    """A saved model, and the video processor that makes its inputs."""

    model: RcnForVideoClassification
    processor: RcnVideoProcessor


@dataclass(frozen=True)
class Share:
    """Which of several processes this is."""

    rank: int = 0
    world_size: int = 1


def take_share() -> Share:
    """Read from the environment which of the processes of `accelerate launch` or `torchrun` this is, and stand alone.

    A fold is trained by one process on one device, so the launcher's variables are taken out of the environment before
    the Trainer could join the processes into one. Several processes compute with one thread each, for a fold has too
    little to do for more. To be called before CUDA is used.
    """
    share = Share(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
    if share.world_size > 1:
        torch.set_num_threads(1)
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    if torch.cuda.device_count() > 1:
        devices = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
        devices = devices.split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[local_rank % len(devices)]
    return share


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
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
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
    try:
        config = RcnConfig.preset(recipe.preset, **{**given, **labels})
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = error.__cause__ or error  # strict dataclasses wrap what a validator says
        raise RunError(f"preset {recipe.preset} with model {recipe.model} on column {column!r}: {reason}") from error
    if config.connectivity != "geometric" and (column == "flow" or recipe.drawn_per_clip):
        needs = "the column 'flow'" if column == "flow" else "drawn_per_clip"
        raise RunError(f"{needs} needs a geometric model, preset {recipe.preset} is {config.connectivity}")
    if recipe.drawn_per_clip and not set(DRAWN_CLASSES) <= set(names):
        raise RunError(f"motion is drawn of {', '.join(DRAWN_CLASSES)}; the classes here are {', '.join(names)}")
    return config


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


def build_folds(recipe: Recipe, dataset: Dataset) -> list[Fold]:
    """The folds of the recipe's protocol, each with every class on its training side.

    Raises:
        RunError: for a class that the training side of a fold lacks.
        ValueError: for an unknown fold, or too few subjects.
    """
    if recipe.protocol == "none":
        return []
    if recipe.protocol == "loso":
        folds = leave_one_subject_out(dataset["subject"])
    elif recipe.protocol == "lovo":
        folds = leave_one_video_out(dataset["clip_id"])
    else:
        folds = subject_k_fold(dataset["subject"], recipe.num_folds)
    if recipe.folds is not None:
        folds = select_folds(folds, list(dict.fromkeys(name.strip() for name in recipe.folds.split(","))))
    names, labels = dataset.features["label"].names, np.array(dataset["label"])
    for fold in folds:
        missing = set(range(len(names))) - set(labels[list(fold.train)].tolist())
        if missing:
            raise RunError(
                f"fold {fold.name}: no training clip shows {', '.join(names[label] for label in sorted(missing))}; it "
                "could not be learnt. Leave the class out of the label set, or hold out less at a time."
            )
    return folds


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
            raise ValueError("push_to_hub of this trainer returns when it is done; leave blocking=False out")
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


# --- all trainings of a run ---


def run(
    dataset: Dataset,
    recipe: Recipe,
    arguments: TrainingArguments,
    share: Share = Share(),
    start: Saved | None = None,
    companion: Saved | None = None,
) -> Saved | None:
    """Run a recipe on a dataset and write `predictions.csv` and `results.json` into the output folder.

    Args:
        dataset: see `preparation.check_dataset`.
        recipe: what to do.
        arguments: how to optimise, and the output folder.
        share: which of several processes this is. All of them train folds; the first also gathers the results.
        start: the saved model whose weights every training begins with.
        companion: a saved model that every trained one is averaged with, in the folds as in the model that is returned.

    Returns:
        The model trained on all clips, with its processor; None in all processes but the first.

    Raises:
        RunError: for an output folder of another recipe, a fold whose training side lacks a class, a control that
            cannot be had, or a saved model that was trained on a subject who is held out.
        DatasetError, VideoError, ValueError: for a dataset, clip or setting that cannot be used; before any training.
    """
    started = time.monotonic()
    check_dataset(dataset)
    dataset = with_identity(dataset)
    saved = start or companion
    if companion is not None:
        dataset = with_classes(dataset, list(companion.model.config.id2label.values()))
    config = build_config(recipe, dataset, start, companion)
    processor = build_processor(recipe, config, saved)
    if recipe.control:
        _check_control(config)
    build_augmentation(recipe)
    folds = build_folds(recipe, dataset)
    for model in (start, companion) if folds else ():
        _check_unseen(model, dataset)
    output_dir = Path(arguments.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(output_dir / ".preparing.lock"):  # one process prepares, the others find it in the cache
        clips = samples(dataset, processor, recipe.num_proc)
        _claim_output_dir(output_dir, recipe, arguments, clips, dataset)

    def trained(rows: Sequence[int], seed: int) -> RcnForVideoClassification:
        weights = None if start is None else start.model
        return train([clips[row] for row in rows], config, processor, recipe, arguments, seed, weights).model

    def averaged(*models: RcnForVideoClassification) -> RcnForVideoClassification:
        average = RcnForVideoClassification.average(models)
        return average if companion is None else RcnForVideoClassification.average([average, companion.model])

    seeds = [arguments.seed + number for number in range(recipe.seeds)]
    jobs = [(fold, seed) for seed in seeds for fold in folds]
    with many_small_steps():
        for fold, seed, wait in _own_share_first(jobs, share):
            with _lock(output_dir, fold, seed, wait) as held:
                path = _predictions_file(output_dir, fold, seed)
                if held and not path.exists():
                    # the folds of one seed differ in their random numbers too, whatever the order they are trained in
                    own_seed = zlib.crc32(f"{seed}/{fold.name}".encode())
                    model = averaged(trained(fold.train, own_seed))
                    told = predict(model, [clips[row] for row in fold.test], processor, arguments.eval_batch_size)
                    rows = predictions_table(dataset.select(fold.test), told.logits, fold.name, seed)
                    write_atomically(path, rows.to_csv(index=False))
        if share.rank != 0:
            return None
        finals = seeds if recipe.average_seeds else seeds[:1]
        models = [trained(range(len(clips)), seed) for seed in finals]
        for model in models if recipe.drawn_per_clip else ():
            calibrate_units(model)
        model = averaged(*models)
    model.config.training_subjects = sorted(set(dataset["subject"]))

    if jobs:
        predictions = pd.concat([_read_fold(output_dir, fold, seed) for fold, seed in jobs], ignore_index=True)
        write_atomically(output_dir / "predictions.csv", predictions.to_csv(index=False))
    results = {
        **(summarise(predictions, list(config.id2label.values())) if jobs else {}),
        **({"control": control_scores(clips, folds, config.num_labels)} if jobs and recipe.control else {}),
        "folds": len(folds),
        **_facts(dataset),
        **circumstances(recipe, arguments, share.world_size, started),
    }
    write_atomically(output_dir / "results.json", json.dumps(results, indent=2) + "\n")
    return Saved(model, processor)


def evaluate(dataset: Dataset, saved: Saved, recipe: Recipe, arguments: TrainingArguments) -> None:
    """Score a saved model on all clips of a dataset, and write `predictions.csv` and `results.json`.

    Args:
        dataset: see `preparation.check_dataset`. Its classes go by their names; flow may be of any size.
        saved: the model, and the processor that makes its inputs.
        recipe: what is scored, for the record; options of the processor.
        arguments: the output folder.

    Raises:
        RunError: for an output folder that holds a training.
        DatasetError, VideoError, ValueError: for a dataset or clip that cannot be used.
    """
    started = time.monotonic()
    check_dataset(dataset)
    classes = list(saved.model.config.id2label.values())
    dataset = with_classes(with_identity(dataset), classes)
    processor = saved.processor.with_options(**recipe.processor)
    output_dir = Path(arguments.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    _claim_for_evaluation(output_dir)
    clips = samples(dataset, processor, recipe.num_proc)
    told = predict(saved.model.to(arguments.device), clips, processor, arguments.eval_batch_size)
    predictions = predictions_table(dataset, told.logits, "none", arguments.seed)
    write_atomically(output_dir / "predictions.csv", predictions.to_csv(index=False))
    trained_on = set(saved.model.config.training_subjects or ())
    results = {
        **summarise(predictions, classes),
        **unit_scores(dataset, told.action_unit_logits, saved.model.config.action_units),
        "clips_of_training_subjects": sum(subject in trained_on for subject in dataset["subject"]),
        **_facts(dataset),
        **circumstances(recipe, arguments, 1, started),
    }
    write_atomically(output_dir / "results.json", json.dumps(results, indent=2) + "\n")


def _own_share_first(jobs: Sequence[tuple[Fold, int]], share: Share) -> Iterator[tuple[Fold, int, bool]]:
    """All jobs, and whether to wait for the process that is at work on one.

    First come those that fall to this process when they are dealt out, then those of the others, should they be slower.
    The first process, which needs all of them, goes through them once more and waits, should one be unfinished.
    """
    with tqdm(total=len(jobs), desc="folds", disable=share.rank != 0 or not jobs) as bar:
        for turn in range(share.world_size):
            for fold, seed in jobs[(share.rank + turn) % share.world_size :: share.world_size]:
                yield fold, seed, False
                bar.update()
    if share.rank == 0:
        yield from ((fold, seed, True) for fold, seed in jobs)


def _fold_dir(output_dir: Path, fold: Fold) -> Path:
    """Two names never give one folder, and no name, such as the absolute path of a clip, leads out of the output."""
    parts = [quote(part, safe=" @") if part.strip(".") else f"%{part}" for part in fold.name.split("/")]
    return output_dir.joinpath("folds", *parts)


def _predictions_file(output_dir: Path, fold: Fold, seed: int) -> Path:
    return _fold_dir(output_dir, fold) / f"seed-{seed}.csv"


@contextlib.contextmanager
def _lock(output_dir: Path, fold: Fold, seed: int, wait: bool) -> Iterator[bool]:
    """Hold the lock of a fold; give False where another process holds it and there is no reason to wait for it."""
    path = _predictions_file(output_dir, fold, seed).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def predictions_table(dataset: Dataset, logits: Tensor, fold: str, seed: int) -> pd.DataFrame:
    """What a model says of the clips of a dataset, in the columns of `predictions.csv`."""
    probabilities = logits.softmax(1).cpu().numpy()
    names = dataset.features["label"].names
    rows = dataset.select_columns(["clip_id", "corpus", "subject", "label"]).to_pandas()
    rows.insert(3, "fold", fold)
    rows.insert(4, "seed", seed)
    rows["label"] = [names[label] for label in rows["label"]]
    rows["predicted"] = [names[label] for label in probabilities.argmax(1)]
    for column, name in enumerate(names):
        rows[f"score_{name}"] = probabilities[:, column]
    return rows


def _read_fold(output_dir: Path, fold: Fold, seed: int) -> pd.DataFrame:
    text = ["clip_id", "corpus", "subject", "fold", "label", "predicted"]
    return pd.read_csv(_predictions_file(output_dir, fold, seed), dtype=dict.fromkeys(text, str), keep_default_na=False)


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


# --- what a run was, and what came out ---


def _check_control(config: RcnConfig) -> None:
    if config.connectivity != "geometric":
        raise RunError(f"control judges flow, and {config.connectivity} connectivity has none; leave --control out")
    if find_spec("sklearn") is None:
        raise RunError("control needs scikit-learn: pip install mer_hf[control]")


def control_scores(clips: list[dict[str, Any]], folds: Sequence[Fold], num_classes: int) -> dict[str, Any]:
    """Scores of the classical control, fitted anew on the training side of each fold (see `mer_hf.control`)."""
    frames = [clip["sequence"].frames if "sequence" in clip else clip["pixel_values_videos"] for clip in clips]
    flow = np.stack([each[len(each) // 2] for each in frames])  # the apex is in the middle
    labels = np.array([clip["label"] for clip in clips])
    predicted = [control_predictions(flow[list(f.train)], labels[list(f.train)], flow[list(f.test)]) for f in folds]
    return scores(np.concatenate([labels[list(f.test)] for f in folds]), np.concatenate(predicted), num_classes)


def unit_scores(dataset: Dataset, logits: Tensor | None, units: Sequence[int] | None) -> dict[str, Any]:
    """How well action units are told apart, where the clips are coded and the model knows units.

    Args:
        dataset: with `action_units` as coders write them, such as `4+L10`; clips without a code are left out.
        logits: (clips, units).
        units: their numbers.

    Returns:
        `action_units`: the macro F1 over the units that some clip shows and, of each, F1 and the number of clips; empty
        without codes or units.
    """
    if logits is None or "action_units" not in dataset.column_names:
        return {}
    coded = [set(map(int, re.findall(r"\d+", text or ""))) for text in dataset["action_units"]]
    rows = [row for row, codes in enumerate(coded) if codes]
    moved = np.array([[unit in coded[row] for unit in units] for row in rows]).reshape(len(rows), len(units))
    told = (logits[rows] > 0).cpu().numpy()
    hits, calls, clips = (moved & told).sum(0), told.sum(0), moved.sum(0)
    if not clips.any():
        return {}
    f1 = 2 * hits / np.maximum(calls + clips, 1)
    per_unit = {f"AU{u}": {"f1": float(f), "clips": int(n)} for u, f, n in zip(units, f1, clips, strict=True) if n}
    return {"action_units": {"macro_f1": float(f1[clips > 0].mean()), "clips": len(rows), "per_unit": per_unit}}


def _record(recipe: Recipe, arguments: TrainingArguments) -> dict[str, Any]:
    """The recipe, the seed, and the training arguments that differ from their defaults, but where the model goes."""
    default = TrainingArguments(output_dir=arguments.output_dir).to_dict()
    changed = {name: value for name, value in arguments.to_dict().items() if value != default.get(name)}
    changed = {name: value for name, value in changed.items() if not name.startswith(("hub_", "push_to_hub"))}
    return {**asdict(recipe), "seed": arguments.seed, **changed}


def circumstances(recipe: Recipe, arguments: TrainingArguments, num_processes: int, started: float) -> dict[str, Any]:
    """What every `results.json` says of how it came about.

    Args:
        recipe, arguments: of the run.
        num_processes: that shared it out.
        started: when, on the monotonic clock in seconds.
    """
    return {
        "recipe": _record(recipe, arguments),
        "num_processes": num_processes,
        "wall_time_s": round(time.monotonic() - started, 1),
        "versions": {name: version(name) for name in PACKAGES},
    }


def _claim_output_dir(
    output_dir: Path, recipe: Recipe, arguments: TrainingArguments, clips: list[dict[str, Any]], dataset: Dataset
) -> None:
    """Write down what is run in a folder, or refuse to mix it with what was run there before."""
    record = _record(recipe, arguments)
    for name in MAY_DIFFER:
        record.pop(name, None)
    digest = hashlib.sha256(dataset.select_columns(["clip_id", "subject", "label"]).to_pandas().to_csv().encode())
    for clip in clips:
        sequence = clip.get("sequence")
        for array in (sequence.frames, sequence.reference) if sequence else [clip["pixel_values_videos"]]:
            digest.update(np.ascontiguousarray(array))
    record["data_sha256"] = digest.hexdigest()
    record = json.loads(json.dumps(record))  # as it will be read
    path = output_dir / "recipe.json"
    if not path.exists():
        write_atomically(path, json.dumps(record, indent=2) + "\n")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = sorted(name for name in {*before, *record} if before.get(name) != record.get(name))
    if changed:
        told = "; ".join(f"{name} was {before.get(name)!r}, is {record.get(name)!r}" for name in changed)
        raise RunError(
            f"{output_dir} holds a run of another recipe ({told}). Name another --output_dir, or delete this one to "
            "start anew."
        )


def _claim_for_evaluation(output_dir: Path) -> None:
    """Refuse to write over the results of a training; those of another evaluation are made again in a moment."""
    if (output_dir / "recipe.json").exists():
        raise RunError(f"{output_dir} holds the results of a training; name another --output_dir for the evaluation")


def _check_unseen(saved: Saved | None, dataset: Dataset) -> None:
    """Refuse a saved model that has seen the clips on which it would be scored."""
    seen = set() if saved is None else {*(saved.model.config.training_subjects or ())} & set(dataset["subject"])
    if seen:
        raise RunError(
            f"the saved model was trained on {len(seen)} of the subjects that are held out here, such as {min(seen)}; "
            "the scores would be of clips that it knows. Say --protocol none, or take a model of other corpora."
        )


def _facts(dataset: Dataset) -> dict[str, Any]:
    """What `results.json` says of the data."""
    told = ("description", "license", "citation", "homepage")
    return {"counts": _counts(dataset), "data": {name: getattr(dataset.info, name) for name in told}}


def _counts(dataset: Dataset) -> dict[str, Any]:
    names = dataset.features["label"].names
    return {
        "clips": len(dataset),
        "subjects": len(set(dataset["subject"])),
        "per_class": {names[label]: count for label, count in sorted(Counter(dataset["label"]).items())},
        "per_corpus": dict(sorted(Counter(dataset["corpus"]).items())),
    }


def summarise(predictions: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    """Scores of a run, each from counts pooled over its folds.

    Args:
        predictions: as `predictions.csv`.
        classes: names in the order of the labels.

    Returns:
        `classes`; `seeds`: for each seed, what is told of all clips and, in `per_corpus`, of those of each corpus:
        their `scores`, how many `clips` and `subjects` they are of, and, from two subjects on, the `interval` of
        `subject_bootstrap`; `mean` and `sd` of UF1, UAR and accuracy over seeds (sd with n - 1; 0 for one seed);
        `pooled`: as for a seed, of the clips of all seeds together; `ensemble`: as for a seed, of the mean of the
        seeds' scores for each clip.
    """

    def scored(rows: pd.DataFrame) -> dict[str, Any]:
        labels, predicted = (rows[name].map(classes.index).to_numpy() for name in ("label", "predicted"))
        told = scores(labels, predicted, len(classes))
        told |= {"clips": rows["clip_id"].nunique(), "subjects": rows["subject"].nunique()}
        if told["subjects"] > 1:
            told["interval"] = subject_bootstrap(labels, predicted, rows["subject"], len(classes))
        return told

    def scored_by_corpus(rows: pd.DataFrame) -> dict[str, Any]:
        return {**scored(rows), "per_corpus": {name: scored(part) for name, part in rows.groupby("corpus")}}

    columns = [f"score_{name}" for name in classes]
    of_the_clip = dict.fromkeys(("corpus", "subject", "label"), "first")
    ensemble = predictions.groupby("clip_id", as_index=False).agg({**of_the_clip, **dict.fromkeys(columns, "mean")})
    ensemble["predicted"] = [classes[index] for index in ensemble[columns].to_numpy().argmax(1)]
    seeds = [{"seed": int(seed), **scored_by_corpus(rows)} for seed, rows in predictions.groupby("seed")]
    measured = {name: [seed[name] for seed in seeds] for name in SCORES}
    return {
        "classes": classes,
        "seeds": seeds,
        "mean": {name: float(np.mean(values)) for name, values in measured.items()},
        "sd": {name: float(np.std(values, ddof=1)) if len(seeds) > 1 else 0.0 for name, values in measured.items()},
        "pooled": scored_by_corpus(predictions),
        "ensemble": scored_by_corpus(ensemble),
    }


__all__ = [
    "RcnTrainer",
    "ResidentClips",
    "RunError",
    "Saved",
    "Share",
    "circumstances",
    "control_scores",
    "evaluate",
    "predict",
    "run",
    "summarise",
    "take_share",
    "train",
]
