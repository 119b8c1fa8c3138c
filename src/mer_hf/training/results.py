"""What came out of a run, as `predictions.csv` and `results.json` hold it.

logits -> predictions_table -> summarise (of `evaluation`); and what was run on what
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from torch import Tensor
from transformers import TrainingArguments

from mer_hf.evaluation.summary import summarise
from mer_hf.metrics import action_unit_scores, scores
from mer_hf.protocols import Fold
from mer_hf.training.control import control_predictions
from mer_hf.training.recipe import Recipe

PACKAGES = ("mer-hf", "torch", "transformers", "datasets", "accelerate", "timm", "opencv-python-headless", "numpy")


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
    if not moved.any():
        return {}
    scored = action_unit_scores(moved, (logits[rows] > 0).cpu().numpy(), [dataset["subject"][row] for row in rows])
    per_unit = {
        f"AU{unit}": {"f1": f1, "clips": clips}
        for unit, f1, clips in zip(units, scored["f1"], scored["clips"], strict=True)
        if clips
    }
    found = {"macro_f1": scored["macro_f1"], "interval": scored["interval"], "clips": len(rows)}
    return {"action_units": {**found, "per_unit": per_unit}}


def recipe_record(recipe: Recipe, arguments: TrainingArguments) -> dict[str, Any]:
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
        "recipe": recipe_record(recipe, arguments),
        "num_processes": num_processes,
        "wall_time_s": round(time.monotonic() - started, 1),
        "versions": {name: version(name) for name in PACKAGES},
    }


def data_record(dataset: Dataset) -> dict[str, Any]:
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


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write values by name as `write_atomically` does."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


__all__ = [
    "circumstances",
    "control_scores",
    "data_record",
    "predictions_table",
    "recipe_record",
    "summarise",
    "unit_scores",
    "write_atomically",
    "write_json",
]
