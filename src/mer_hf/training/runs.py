"""Run a protocol: from a dataset and a recipe to predictions, scores and a model.

    dataset -> build_config, build_processor -> samples -> build_folds
      -> train, once a fold and seed -> folds/<name>/seed-<k>.csv -> predictions.csv -> results.json
      -> train on all clips -> the model that is saved

A finished fold is a file, and a fold at work is a lock: a run that was stopped goes on where it was, and any number of
processes that run the same command share the folds out among themselves.
"""

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from filelock import FileLock, Timeout
from tqdm.auto import tqdm
from transformers import TrainingArguments

from mer_hf.protocols import Fold, leave_one_subject_out, leave_one_video_out, select_folds, subject_k_fold
from mer_hf.rcn.configuration_rcn import RcnConfig
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.training.clips import check_dataset, samples, with_classes, with_identity
from mer_hf.training.recipe import Recipe
from mer_hf.training.results import (
    circumstances,
    control_scores,
    data_record,
    predictions_table,
    recipe_record,
    summarise,
    unit_scores,
    write_atomically,
    write_json,
)
from mer_hf.training.trainer import (
    RunError,
    Saved,
    build_augmentation,
    build_config,
    build_processor,
    calibrate_units,
    many_small_steps,
    predict,
    train,
)

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
    known = [each.model.config.training_subjects or () for each in (start, companion) if each is not None]
    model.config.training_subjects = sorted({*dataset["subject"]}.union(*known))

    if jobs:
        predictions = pd.concat([_read_fold(output_dir, fold, seed) for fold, seed in jobs], ignore_index=True)
        write_atomically(output_dir / "predictions.csv", predictions.to_csv(index=False))
    results = {
        **(summarise(predictions, list(config.id2label.values())) if jobs else {}),
        **({"control": control_scores(clips, folds, config.num_labels)} if jobs and recipe.control else {}),
        "folds": len(folds),
        **data_record(dataset),
        **circumstances(recipe, arguments, share.world_size, started),
    }
    write_json(output_dir / "results.json", results)
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
        **data_record(dataset),
        **circumstances(recipe, arguments, 1, started),
    }
    write_json(output_dir / "results.json", results)


# --- who is held out ---


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


# --- folds that are shared out, and kept as files ---


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


def _read_fold(output_dir: Path, fold: Fold, seed: int) -> pd.DataFrame:
    text = ["clip_id", "corpus", "subject", "fold", "label", "predicted"]
    return pd.read_csv(_predictions_file(output_dir, fold, seed), dtype=dict.fromkeys(text, str), keep_default_na=False)


# --- what is refused ---


def _check_control(config: RcnConfig) -> None:
    if config.connectivity != "geometric":
        raise RunError(f"control judges flow, and {config.connectivity} connectivity has none; leave --control out")
    if find_spec("sklearn") is None:
        raise RunError("control needs scikit-learn: pip install mer_hf[control]")


def _claim_output_dir(
    output_dir: Path, recipe: Recipe, arguments: TrainingArguments, clips: list[dict[str, Any]], dataset: Dataset
) -> None:
    """Write down what is run in a folder, or refuse to mix it with what was run there before."""
    record = recipe_record(recipe, arguments)
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
        write_json(path, record)
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


__all__ = ["RunError", "Share", "build_folds", "evaluate", "run", "take_share"]
