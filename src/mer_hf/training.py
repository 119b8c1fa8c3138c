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
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
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

from mer_hf.augmentation import Augmentation, mix
from mer_hf.control import control_predictions
from mer_hf.metrics import scores
from mer_hf.preparation import check_dataset, ready_input, samples, with_identity
from mer_hf.protocols import Fold, leave_one_subject_out, leave_one_video_out, select_folds, subject_k_fold
from mer_hf.rcn.configuration_rcn import RcnConfig
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification, classification_loss
from mer_hf.rcn.motion_rcn import motion_energy, moving_pixels
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


class RunError(ValueError):
    """A run cannot start, or must not go on; the message says what to change."""


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


def build_config(recipe: Recipe, dataset: Dataset) -> RcnConfig:
    """The model's configuration: preset, the recipe's changes, the labels, and the shape of ready inputs.

    Raises:
        RunError: for fields of the wrong kind, or that contradict one another or the dataset.
    """
    names = dataset.features["label"].names
    column = check_dataset(dataset)
    shape = {}
    if column != "frames":
        frames, channels, height, width = ready_input(dataset, 0, column).shape
        shape = {"num_frames": frames, "num_channels": channels, "image_size": [height, width]}
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    try:
        config = RcnConfig.preset(recipe.preset, **{**recipe.model, **shape, **labels})
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = error.__cause__ or error  # strict dataclasses wrap what a validator says
        raise RunError(f"preset {recipe.preset} with model {recipe.model} on column {column!r}: {reason}") from error
    if column == "flow" and config.connectivity != "geometric":
        raise RunError(f"the column 'flow' needs a geometric model, preset {recipe.preset} is {config.connectivity}")
    return config


def build_processor(recipe: Recipe, config: RcnConfig) -> RcnVideoProcessor:
    """The video processor that makes the inputs which `config` takes."""
    unknown = sorted(set(recipe.processor) - set(RcnVideoProcessor.valid_kwargs.__annotations__))
    if unknown:
        raise RunError(f"the video processor has no options {unknown}; see RcnVideoProcessor")
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


class Packed:
    """Arrays of several lengths, one behind the other in one tensor on a device."""

    def __init__(self, arrays: Sequence[np.ndarray], device: torch.device) -> None:
        self.lengths = torch.tensor([len(array) for array in arrays], device=device)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.values = torch.from_numpy(np.concatenate(arrays)).to(device)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B,) -> arrays (B, S, ...), each filled up to the longest by its own last entry, and lengths (B,)."""
        lengths = self.lengths[rows]
        steps = torch.arange(int(lengths.max()), device=rows.device)
        places = self.starts[rows, None] + torch.minimum(steps, lengths[:, None] - 1)
        return self.values.index_select(0, places.flatten()).unflatten(0, places.shape), lengths


class ResidentClips(torch.utils.data.Dataset):
    """The clips of one training on its device; a batch is taken out of them at once, not clip by clip.

    Where jitter has something to draw, a batch holds sequences, which become model inputs in every step. Otherwise the
    inputs are made here, once.

    Args:
        clips: as `preparation.samples` makes them.
        processor: of the clips.
        device: where they are kept.
        jittered: whether jitter may be drawn for them.
    """

    def __init__(
        self, clips: list[dict[str, Any]], processor: RcnVideoProcessor, device: torch.device, jittered: bool = False
    ) -> None:
        self.labels = torch.tensor([clip["label"] for clip in clips], device=device)
        self.inputs: Tensor | None = None
        if "sequence" not in clips[0]:
            self.inputs = torch.from_numpy(np.stack([clip["pixel_values_videos"] for clip in clips])).to(device)
            return
        self.frames = Packed([clip["sequence"].frames for clip in clips], device)
        self.reference = Packed([clip["sequence"].reference for clip in clips], device)
        # a lone picture of flow has no neighbours to draw from
        most = max(len(self.frames.values), len(self.reference.values))
        lone = processor.connectivity == "geometric" and most == len(clips)
        if not jittered or lone:
            parts = torch.arange(len(clips), device=device).split(64)
            self.inputs = torch.cat([processor.model_input(**self._sequences(rows)) for rows in parts])

    def __len__(self) -> int:
        """How many clips there are."""
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """A batch: `labels`, and `pixel_values_videos` or the sequences that `RcnVideoProcessor.model_input` takes."""
        rows = torch.tensor(indices, device=self.labels.device)
        if self.inputs is None:
            return {**self._sequences(rows), "labels": self.labels[rows]}
        return {"pixel_values_videos": self.inputs.index_select(0, rows), "labels": self.labels[rows]}

    def _sequences(self, rows: Tensor) -> dict[str, Tensor]:
        frames, lengths = self.frames.take(rows)
        reference, reference_lengths = self.reference.take(rows)
        return {
            "frames": frames,
            "lengths": lengths,
            "reference": reference,
            "reference_lengths": reference_lengths,
        }


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
        if "frames" in inputs:
            jitter = self.jitter if training else None
            pixels = self.processor.model_input(**inputs, jitter=jitter, generator=self.draws)
        else:
            pixels = inputs.pop("pixel_values_videos")
        if training:
            pixels = self.augmentation(pixels, self.draws, self.processor.connectivity)
            if self.augmentation.mixup:
                order, share = self.augmentation.draw_mix(len(pixels), self.draws)
                order = order.to(pixels.device)
                pixels, labels = mix(pixels, order, share), (labels, labels[order], share)
        # in the model's own memory format; otherwise each convolution of them reorders them, and so does its gradient
        pixels = pixels.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, pixels.shape[:2])
        beside = {"action_units": inputs["action_units"]} if "action_units" in inputs else {}
        return {"pixel_values_videos": pixels, "labels": labels, **beside}

    def _mixed_loss(self, outputs: Any, labels: Any, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        parts = [(labels, 1.0)] if isinstance(labels, Tensor) else [(labels[0], labels[2]), (labels[1], 1 - labels[2])]
        config = self.accelerator.unwrap_model(self.model).config
        return sum(
            share * classification_loss(outputs.logits, part, config, num_items_in_batch) for part, share in parts
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
) -> RcnTrainer:
    """Train a model on clips; whatever is fitted, is fitted on these alone.

    Args:
        clips: samples of the training side.
        config: of the model; it is not changed.
        processor: of the clips.
        recipe: jitter, augmentation, and how the learning rate and the weights go.
        arguments: of the optimisation.
        seed: of the initial weights, the order of the clips, jitter and augmentation.

    Returns:
        The trainer, with the trained model in it, which computes in fp32 again.
    """
    arguments, config = copy.copy(arguments), copy.deepcopy(config)
    arguments.seed = seed
    if len(clips) % arguments.train_batch_size == 1 < len(clips):
        arguments.dataloader_drop_last = True  # batch normalisation cannot learn from a batch of one clip
    set_seed(seed)
    counts = Counter(clip["label"] for clip in clips)
    config.class_counts = [counts[label] for label in range(config.num_labels)]
    model = RcnForVideoClassification(config).to(memory_format=torch.channels_last)  # convolutions of few maps like it
    if config.connectivity == "appearance":
        videos = [clip["sequence"].frames if "sequence" in clip else clip["pixel_values_videos"] for clip in clips]
        energies = [motion_energy(video[:, 0]) for video in videos]
        model.rcn.set_pixel_mask(torch.from_numpy(moving_pixels(np.stack(energies))))
    resident = ResidentClips(clips, processor, arguments.device, recipe.jitter)
    return fit(model, resident, processor, recipe, arguments)


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
def predict(
    model: RcnForVideoClassification, clips: list[dict[str, Any]], processor: RcnVideoProcessor, batch_size: int = 64
) -> Tensor:
    """What a model says of clips, with nothing drawn: logits (clips, classes), float32."""
    model.eval()
    inputs = ResidentClips(clips, processor, model.device).inputs
    return torch.cat([model(part).logits.float() for part in inputs.split(batch_size)])


# --- all trainings of a run ---


def run(
    dataset: Dataset, recipe: Recipe, arguments: TrainingArguments, share: Share = Share()
) -> tuple[RcnForVideoClassification, RcnVideoProcessor] | None:
    """Run a recipe on a dataset and write `predictions.csv` and `results.json` into the output folder.

    Args:
        dataset: see `preparation.check_dataset`.
        recipe: what to do.
        arguments: how to optimise, and the output folder.
        share: which of several processes this is. All of them train folds; the first also gathers the results.

    Returns:
        The model trained on all clips, with its processor; None in all processes but the first.

    Raises:
        RunError: for an output folder of another recipe, a fold whose training side lacks a class, or a control that
            cannot be had.
        DatasetError, VideoError, ValueError: for a dataset, clip or setting that cannot be used; before any training.
    """
    started = time.monotonic()
    check_dataset(dataset)
    dataset = with_identity(dataset)
    config = build_config(recipe, dataset)
    processor = build_processor(recipe, config)
    if recipe.control:
        _check_control(config)
    build_augmentation(recipe)
    folds = build_folds(recipe, dataset)
    output_dir = Path(arguments.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(output_dir / ".preparing.lock"):  # one process prepares, the others find it in the cache
        clips = samples(dataset, processor, recipe.num_proc)
        _claim_output_dir(output_dir, recipe, arguments, clips, dataset)

    seeds = [arguments.seed + number for number in range(recipe.seeds)]
    jobs = [(fold, seed) for seed in seeds for fold in folds]
    with many_small_steps():
        for fold, seed, wait in _own_share_first(jobs, share):
            with _lock(output_dir, fold, seed, wait) as held:
                if held and not _predictions_file(output_dir, fold, seed).exists():
                    _train_fold(dataset, clips, config, processor, recipe, arguments, fold, seed)
        if share.rank != 0:
            return None
        averaged = seeds if recipe.average_seeds else seeds[:1]
        models = [train(clips, config, processor, recipe, arguments, seed).model for seed in averaged]

    if jobs:
        predictions = pd.concat([_read_fold(output_dir, fold, seed) for fold, seed in jobs], ignore_index=True)
        write_atomically(output_dir / "predictions.csv", predictions.to_csv(index=False))
    results = {
        **(summarise(predictions, list(config.id2label.values())) if jobs else {}),
        **({"control": control_scores(clips, folds, config.num_labels)} if jobs and recipe.control else {}),
        "counts": _counts(dataset),
        "recipe": _record(recipe, arguments),
        "num_processes": share.world_size,
        "wall_time_s": round(time.monotonic() - started, 1),
        "versions": {name: version(name) for name in PACKAGES},
    }
    write_atomically(output_dir / "results.json", json.dumps(results, indent=2) + "\n")
    return RcnForVideoClassification.average(models), processor


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


def _train_fold(
    dataset: Dataset,
    clips: list[dict[str, Any]],
    config: RcnConfig,
    processor: RcnVideoProcessor,
    recipe: Recipe,
    arguments: TrainingArguments,
    fold: Fold,
    seed: int,
) -> None:
    """Train on the one side of a fold, and write what the model says of the other."""
    # the folds of one seed differ in their random numbers too, whatever the order they are trained in
    own_seed = zlib.crc32(f"{seed}/{fold.name}".encode())
    model = train([clips[row] for row in fold.train], config, processor, recipe, arguments, own_seed).model
    held_out = [clips[row] for row in fold.test]
    logits = predict(model, held_out, processor, arguments.eval_batch_size)
    probabilities = logits.softmax(1).cpu().numpy()
    names = dataset.features["label"].names
    rows = dataset.select_columns(["clip_id", "corpus", "subject", "label"]).select(fold.test).to_pandas()
    rows.insert(3, "fold", fold.name)
    rows.insert(4, "seed", seed)
    rows["label"] = [names[label] for label in rows["label"]]
    rows["predicted"] = [names[label] for label in probabilities.argmax(1)]
    for column, name in enumerate(names):
        rows[f"score_{name}"] = probabilities[:, column]
    path = _predictions_file(Path(arguments.output_dir), fold, seed)
    write_atomically(path, rows.to_csv(index=False))


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


def _record(recipe: Recipe, arguments: TrainingArguments) -> dict[str, Any]:
    """The recipe, the seed, and the training arguments that differ from their defaults."""
    default = TrainingArguments(output_dir=arguments.output_dir).to_dict()
    changed = {name: value for name, value in arguments.to_dict().items() if value != default.get(name)}
    return {**asdict(recipe), "seed": arguments.seed, **changed}


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
        `classes`; `seeds`: for each seed, `scores` of all clips and, in `per_corpus`, of those of each corpus; `mean`
        and `sd` of UF1, UAR and accuracy over seeds (sd with n - 1; 0 for one seed); `pooled`: as for a seed, of the
        clips of all seeds together; `ensemble`: as for a seed, of the mean of the seeds' scores for each clip.
    """

    def scored(rows: pd.DataFrame) -> dict[str, Any]:
        labels, predicted = (rows[name].map(classes.index).to_numpy() for name in ("label", "predicted"))
        return scores(labels, predicted, len(classes))

    def scored_by_corpus(rows: pd.DataFrame) -> dict[str, Any]:
        return {**scored(rows), "per_corpus": {name: scored(part) for name, part in rows.groupby("corpus")}}

    columns = [f"score_{name}" for name in classes]
    ensemble = predictions.groupby("clip_id").agg(
        {"corpus": "first", "label": "first", **dict.fromkeys(columns, "mean")}
    )
    ensemble["predicted"] = [classes[index] for index in ensemble[columns].to_numpy().argmax(1)]
    seeds = [{"seed": int(seed), **scored_by_corpus(rows)} for seed, rows in predictions.groupby("seed")]
    measured = {name: [seed[name] for seed in seeds] for name in ("uf1", "uar", "accuracy")}
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
    "Share",
    "control_scores",
    "predict",
    "run",
    "summarise",
    "take_share",
    "train",
]
