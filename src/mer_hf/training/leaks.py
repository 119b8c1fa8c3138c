"""Does a run learn from those whom it holds out? It is trained again on clips that would give it away.

the folder of a run -> its recipe and clips -> shuffled labels, changed clips -> trainings -> Findings
"""

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainingArguments

from mer_hf.evaluation.audit import Audit, Finding, audit_dataset, audit_names
from mer_hf.evaluation.predictions import read_predictions
from mer_hf.metrics import scores
from mer_hf.protocols import Fold
from mer_hf.training.clips import SIDE, clips_of_recipe, load_clips, with_identity
from mer_hf.training.folds import folds_of
from mer_hf.training.plan import Plan, RunError, make_plan
from mer_hf.training.recipe import HELP, HOLD, Recipe, read_recipe
from mer_hf.training.runs import run
from mer_hf.training.trainer import train

IDENTITY = ("clip_id", "subject", "corpus", SIDE)
DEALS = 2000
"""How often labels are dealt out anew, to see what scores chance gives."""
CHANCE = 0.01
"""A score that chance reaches more seldom than this is no chance."""


def audit_run(folder: str | Path, data_dir: str | Path | None = None) -> Audit:
    """Audit a run: its predictions and clips as `evaluation.audit` does, and whether it learns from who is held out.

    It is trained again with one seed: all folds on labels that are shuffled within subjects, where a score above chance
    knows labels that it should not; and one fold with other clips in the place of those that are held out, which must
    not change a bit of its weights. That takes as long as one seed of the run.

    Args:
        folder: of a run that trained by a recipe and held subjects or clips out.
        data_dir: where its corpus lies now, where that is another place.

    Raises:
        RunError: for another folder, or a device on which no training can be had twice to the bit.
        MerHfError: for a recipe or a dataset that is no longer what it was.
    """
    recipe, arguments = recipe_of_run(Path(folder))
    recipe = replace(recipe, data_dir=recipe.data_dir if data_dir is None else str(data_dir))
    dataset = clips_of_recipe(recipe)
    looked_at = audit_dataset(dataset)
    findings = [*looked_at.findings, *audit_names(read_predictions(Path(folder)))]
    with tempfile.TemporaryDirectory(prefix="mer_hf-audit-") as elsewhere:
        arguments.output_dir = elsewhere
        findings += [*changed_clips(recipe, arguments, dataset), *shuffled_labels(recipe, arguments, dataset)]
    unique = {(finding.kind, finding.text): finding for finding in findings}
    return Audit(tuple(unique.values()), looked_at.clips, looked_at.compared)


def recipe_of_run(folder: Path) -> tuple[Recipe, TrainingArguments]:
    """The recipe of a run, of one seed, that tracks and pushes nothing.

    Raises:
        RunError: for a folder without the results of a training that held somebody out.
    """
    try:
        recorded = dict(json.loads((folder / "results.json").read_text(encoding="utf-8"))["recipe"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder} holds no run that trained: results.json with a recipe is needed") from error
    options = {name: value for name, value in recorded.items() if name in HELP or name in HOLD}
    options |= {"seeds": 1, "average_seeds": False, "control": False, "report_to": None, "also_test_choice": False}
    if recorded.get("bf16") and not torch.cuda.is_available():
        options["use_cpu"] = True  # a processor's bf16; without this, transformers looks for a GPU's
    recipe, arguments = read_recipe(**{name: value for name, value in options.items() if value not in (None, {})})
    if recipe.protocol == "none":
        raise RunError(f"{folder}: nobody was held out, so nothing of theirs can have been learnt")
    return recipe, arguments


# --- other clips in the place of those that are held out ---


def changed_clips(recipe: Recipe, arguments: TrainingArguments, dataset: Dataset) -> list[Finding]:
    """Train one fold twice, the second time with other clips held out.

    Raises:
        RunError: where the same training does not give the same weights twice.
    """
    plan = make_plan(recipe, arguments, dataset)
    fold = folds_of(recipe, with_identity(dataset))[0]
    changed = make_plan(recipe, arguments, with_other_clips(dataset, fold))
    plans = plan.candidates or {"": plan}
    found = []
    for name, each in plans.items():
        before, after = (weights_sha256(one, fold) for one in (each, (changed.candidates or {"": changed})[name]))
        if before == after:
            continue
        if weights_sha256(each, fold) != before:
            raise RunError(f"fold {fold.name}: the same training gives other weights twice here; say --use-cpu true")
        text = f"fold {fold.name} has other weights where other clips are held out: it learns from them"
        found.append(Finding("held-out clips learnt from", " of ".join(filter(None, (text, name)))))
    return found


def with_other_clips(dataset: Dataset, fold: Fold) -> Dataset:
    """The clips of a fold, the held-out ones replaced by others with other labels, under their old names."""
    dataset = with_identity(dataset)
    contents, labels = np.arange(len(dataset)), np.array(dataset["label"])
    others = np.array(fold.train)
    for place, row in enumerate(fold.test):
        differing = others[labels[others] != labels[row]]  # all classes are learnt, so there is one, but where
        differing = differing if len(differing) else others  # action units alone are learnt
        contents[row] = differing[place % len(differing)]
    changed = dataset.select(contents.tolist())
    for name in filter(dataset.features.__contains__, IDENTITY):
        feature = dataset.features[name]
        changed = changed.remove_columns(name).add_column(name, dataset[name][:]).cast_column(name, feature)
    return changed


def weights_sha256(plan: Plan, fold: Fold) -> str:
    """Of all weights and statistics of the model that a fold trains."""
    options = plan.recipe.num_proc, plan.recipe.action_units or ()
    clips = [] if plan.dataset is None else load_clips(plan.dataset, plan.processor, *options)
    model = train(plan, [clips[row] for row in fold.train], plan.seeds[0], f"fold {fold.name}").model
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


# --- labels that cannot be known ---


def shuffle_within_subjects(dataset: Dataset, seed: int = 0) -> Dataset:
    """The same clips, with the labels of each subject dealt out anew."""
    generator = np.random.default_rng(seed)
    labels = dealt(np.array(dataset["label"]), np.array(dataset["subject"]), generator)
    feature = dataset.features["label"]
    return dataset.remove_columns("label").add_column("label", labels.tolist()).cast_column("label", feature)


def dealt(labels: np.ndarray, subjects: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Labels (clips,), those of each subject in another order."""
    dealt = labels.copy()
    for subject in np.unique(subjects):
        rows = np.flatnonzero(subjects == subject)
        dealt[rows] = generator.permutation(labels[rows])
    return dealt


def shuffled_labels(recipe: Recipe, arguments: TrainingArguments, dataset: Dataset) -> list[Finding]:
    """Train all folds on labels that are shuffled within subjects, and see whether the held-out ones are known.

    They were dealt out at random, so to a run that has not seen them every other deal is as likely: its score must not
    stand out among those of `DEALS` further deals.
    """
    outcome = run(make_plan(recipe, arguments, shuffle_within_subjects(dataset)))
    if outcome is None or outcome.predictions is None:
        return []
    rows, classes = outcome.predictions, outcome.model.config.class_names()
    labels, predicted = (rows[name].map(classes.index).to_numpy() for name in ("label", "predicted"))
    reached = scores(labels, predicted, len(classes))["uf1"]
    generator, subjects = np.random.default_rng(1), rows["subject"].to_numpy()
    by_chance = np.array(
        [scores(dealt(labels, subjects, generator), predicted, len(classes))["uf1"] for _ in range(DEALS)]
    )
    p = (1 + (by_chance >= reached - 1e-12).sum()) / (1 + DEALS)
    if p >= CHANCE:
        return []
    text = (
        f"on labels that were shuffled within subjects, held-out clips reach UF1 {reached:.3f}; by chance it is "
        f"{by_chance.mean():.3f} (p = {p:.4f}): the run knows labels that it should not"
    )
    return [Finding("held-out labels known", text)]


__all__ = ["audit_run", "changed_clips", "recipe_of_run", "shuffle_within_subjects", "shuffled_labels"]
