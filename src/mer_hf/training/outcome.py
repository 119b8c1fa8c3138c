"""What came out of a run: one computation, of which all that is printed and written is a view.

logits -> predictions_table -> summarise -> Outcome -> save: predictions.csv, results.json, model/ with its card
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
import pandas as pd
from datasets import Dataset
from transformers import TrainingArguments

from mer_hf.data import default_label_set
from mer_hf.evaluation.confidence import Confidence, fitted
from mer_hf.evaluation.predictions import SCORE
from mer_hf.evaluation.summary import Summary, ensemble
from mer_hf.evaluation.units import CODES, UNIT, Units
from mer_hf.files import write_atomically, write_json
from mer_hf.hub.cards import Json
from mer_hf.hub.folder import save_with_card
from mer_hf.metrics import Scores, scores
from mer_hf.protocols import SIDES, Fold
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.training.choice import Chosen
from mer_hf.training.clips import SIDE, Clip
from mer_hf.training.control import control_predictions
from mer_hf.training.folds import json_digest
from mer_hf.training.plan import RunError
from mer_hf.training.recipe import Recipe
from mer_hf.training.trainer import Predicted

PACKAGES = ("mer-hf", "torch", "transformers", "datasets", "accelerate", "timm", "opencv-python-headless", "numpy")

LEAST = 1e-8
"""A score of predictions.csv is written with eight decimals; lower ones are taken for this."""


class Found(Summary, total=False):
    """All scores of an outcome; ready for JSON."""

    control: Scores
    choice: Chosen
    confidence: Confidence
    action_units: Units
    drawn_motion: dict[str, Scores]
    clips_of_training_subjects: int


class Counts(TypedDict):
    """How many clips there are, and of what."""

    clips: int
    subjects: int
    per_class: dict[str, int]
    per_corpus: dict[str, int]


class Sides(TypedDict):
    """Of `--protocol cross`, what was trained on and what was tested on."""

    train: Counts
    test: Counts


class Record(TypedDict, total=False):
    """What was run on what; ready for JSON."""

    folds: int
    recipe: dict[str, object]
    candidates: dict[str, dict[str, object]]
    scored: dict[str, object]
    counts: Counts
    sides: Sides
    data: dict[str, str]
    num_processes: int
    wall_time_s: float
    versions: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """What came out of a training or of the scoring of a saved model.

    Attributes:
        model: the model, in evaluation mode: trained on all clips, or the saved one.
        processor: makes its inputs.
        predictions: what was predicted of held-out clips, in the columns of `predictions.csv`; None where nobody was
            held out.
        scores: all scores of the predictions, as in `results.json`, see `summarise`; of drawn motion, `drawn_motion`.
        record: what was run on what, as in `results.json`.
        identity: what makes it the outcome of the same run when it is had again, as in `recipe.json`.
    """

    model: RcnForVideoClassification
    processor: RcnVideoProcessor
    predictions: pd.DataFrame | None
    scores: Found
    record: Record = field(repr=False)
    identity: dict[str, object] = field(repr=False)

    @property
    def results(self) -> dict[str, object]:
        """The content of `results.json`."""
        return {**self.scores, **self.record}

    @property
    def is_trained(self) -> bool:
        """Whether the model came out of this run."""
        return "recipe" in self.record

    def save(self, folder: str | Path) -> Path:
        """Write `predictions.csv`, `results.json` and, of a training, `model/` with its card.

        Each is there whole or not at all; what was there before is replaced. Notes by hand, `model/notes.md`, stay.

        Returns:
            The folder.

        Raises:
            RunError: for a folder that holds the results of another run.
        """
        folder = Path(folder)
        claim(folder, self.identity)
        if self.predictions is not None:
            write_atomically(folder / "predictions.csv", self.predictions.to_csv(index=False))
        write_json(folder / "results.json", self.results)
        if self.is_trained:
            save_with_card(self.model, self.processor, cast(dict[str, Json], self.results), folder / "model")
        return folder


# --- what a model says of clips, and how right it is ---


def predictions_table(
    dataset: Dataset, predicted: Predicted, fold: str, seed: int, units: Sequence[int] | None = None
) -> pd.DataFrame:
    """What a model says of the clips of a dataset, in the columns of `predictions.csv`.

    Args:
        dataset: the clips, with their identity.
        predicted: logits of classes and of action units.
        fold: name of the fold that held them out.
        seed: the seed as the run counts it.
        units: the numbers of the action units that are told; where clips are coded they stand beside the codes.
    """
    logits, unit_logits = predicted
    probabilities = logits.cpu().double().softmax(1).numpy()
    names = dataset.features["label"].names
    rows = dataset.select_columns(["clip_id", "corpus", "subject", "label"]).to_pandas()
    rows.insert(3, "fold", fold)
    rows.insert(4, "seed", seed)
    rows["label"] = [names[label] for label in rows["label"]]
    rows["predicted"] = [names[label] for label in probabilities.argmax(1)]
    for column, name in enumerate(names):
        rows[f"score_{name}"] = probabilities[:, column].round(8)
    if "emotion" in dataset.column_names:
        rows["emotion"] = dataset["emotion"][:]
    if units and unit_logits is not None and CODES in dataset.column_names:
        rows[CODES] = [text or "" for text in dataset[CODES]]
        for number, moves in zip(units, unit_logits.double().sigmoid().cpu().numpy().round(8).T, strict=True):
            rows[f"{UNIT}{number}"] = moves
    return rows


def control_scores(clips: Sequence[Clip], folds: Sequence[Fold], num_classes: int) -> Scores:
    """Scores of the classical control, fitted anew on the training side of each fold, see `training.control`."""
    flow, labels = np.stack([clip.apex_motion for clip in clips]), np.array([clip.label for clip in clips])
    predicted = [control_predictions(flow[list(f.train)], labels[list(f.train)], flow[list(f.test)]) for f in folds]
    return scores(np.concatenate([labels[list(f.test)] for f in folds]), np.concatenate(predicted), num_classes)


def confidence_of(predictions: pd.DataFrame, classes: list[str], averaged: bool) -> Confidence | None:
    """The temperature and the threshold of the model of all clips, of which the folds of a run are the inner folds.

    Args:
        predictions: of held-out clips, by networks that saw nobody of theirs.
        classes: names in the order of the score columns.
        averaged: whether the model is the average of all seeds, so that their mean prediction is looked at.

    Returns:
        What was fitted; None where the clips of one subject alone were held out.
    """
    rows = ensemble(predictions, classes) if averaged else predictions
    if rows["subject"].nunique() < 2:
        return None
    logits = np.log(rows[[f"{SCORE}{name}" for name in classes]].to_numpy().clip(LEAST))
    return fitted(logits, rows["label"].map(classes.index).to_numpy(), rows["subject"].tolist())


# --- what was run on what ---


def recipe_record(recipe: Recipe, arguments: TrainingArguments) -> dict[str, object]:
    """The recipe, the seed, and the training arguments that differ from their defaults, but where the model goes.

    The label set of a corpus is named even where the recipe does not: by it a run finds its published protocol.
    """
    # new arguments set accelerate up anew: of the same device, so that processes that train one model stay together
    default = TrainingArguments(output_dir=arguments.output_dir, use_cpu=arguments.use_cpu).to_dict()
    default |= {"use_cpu": False, "dataloader_pin_memory": True}  # on CPUs the arguments change the latter
    changed = {name: value for name, value in arguments.to_dict().items() if value != default.get(name)}
    changed = {name: value for name, value in changed.items() if not name.startswith(("hub_", "push_to_hub"))}
    label_set = recipe.label_set or default_label_set(recipe.dataset)
    return {**asdict(recipe), "label_set": label_set, "seed": arguments.seed, **changed}


def data_record(dataset: Dataset) -> Record:
    """What `results.json` says of the clips."""
    about = ("description", "license", "citation", "homepage")
    return {"counts": counts_of(dataset), "data": {name: getattr(dataset.info, name) for name in about}}


def sides_record(dataset: Dataset) -> Record:
    """What `results.json` says more of clips of which some are only tested on, see `clips.crossed`: `counts` too are
    of those that are trained on."""
    train, test = (
        counts_of(dataset.select([row for row, each in enumerate(dataset[SIDE]) if each == side])) for side in SIDES
    )
    return {"counts": train, "sides": {"train": train, "test": test}}


def counts_of(dataset: Dataset) -> Counts:
    """How many clips a dataset holds, and of what."""
    names = dataset.features["label"].names
    return {
        "clips": len(dataset),
        "subjects": len(set(dataset["subject"])),
        "per_class": {names[label]: count for label, count in sorted(Counter(dataset["label"]).items())},
        "per_corpus": dict(sorted(Counter(dataset["corpus"]).items())),
    }


def versions() -> dict[str, str]:
    """The versions of what computes."""
    return {name: version(name) for name in PACKAGES}


def circumstances(started: float, num_processes: int = 1) -> Record:
    """How a run came about.

    Args:
        started: when it began, on the monotonic clock in seconds.
        num_processes: number of processes that shared it out.
    """
    return {
        "num_processes": num_processes,
        "wall_time_s": round(time.monotonic() - started, 1),
        "versions": versions(),
    }


def claim(folder: Path, identity: dict[str, object]) -> str:
    """Write down what is run in a folder, `recipe.json`, or refuse to mix it with what was run there before.

    Returns:
        A digest of what is run.

    Raises:
        RunError: for a folder that holds something else; it says in what they differ.
    """
    identity = json.loads(json.dumps(identity))  # as it will be read
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.json"
    if path.exists():
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise RunError(f"{path} cannot be read: {error}. Delete the folder, or name another one.") from error
        changed = sorted(name for name in {*before, *identity} if before.get(name) != identity.get(name))
        if changed:
            differences = "; ".join(f"{name} was {before.get(name)!r}, is {identity.get(name)!r}" for name in changed)
            raise RunError(f"{folder} holds another run ({differences}). Name another folder, or delete this one.")
    else:
        write_json(path, identity)
    return json_digest(identity)


__all__ = [
    "Outcome",
    "circumstances",
    "claim",
    "confidence_of",
    "control_scores",
    "data_record",
    "predictions_table",
    "recipe_record",
    "sides_record",
    "versions",
]
