"""A run that trains the network that finds expressions on the recordings of a corpus, and tests it on other people.

    recipe, recordings -> motion, once -> a network a fold -> its threshold, from people of the training side whom
      another network has not seen -> the held-out recordings, watched as any video is -> SpottingOutcome

Folds are dealt out, kept as files and gone on with as those of clips are, see `folds`.
"""

import copy
import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import TrainingArguments

from mer_hf.analysis.recordings import FOUND, LOWEST, WatchedRecordings, beside_truth, find_of, found_in
from mer_hf.analysis.results import load_spotter
from mer_hf.drawn.sequences import RATE
from mer_hf.evaluation.recordings import RecordingScores, counts_by_subject, score_recordings
from mer_hf.evaluation.spotted import ALL
from mer_hf.files import write_atomically, write_json
from mer_hf.protocols import Fold, leave_one_subject_out, select_folds, subject_k_fold
from mer_hf.rcn.configuration_spotting_rcn import RcnSpottingConfig
from mer_hf.rcn.events_rcn import decode
from mer_hf.rcn.pipeline_spotting_rcn import TASK, MicroExpressionSpottingPipeline
from mer_hf.rcn.spotting_rcn import RcnForSpotting
from mer_hf.training.folds import Job, collect, dealt, json_digest, unfinished
from mer_hf.training.outcome import circumstances, claim, versions
from mer_hf.training.plan import RunError
from mer_hf.training.processes import ALONE, Share
from mer_hf.training.recipe import FROM_NOTHING, SPOTTING_HOLDS, Recipe
from mer_hf.training.recordings import Recorded, Side, facts_of, input_of, load_motion, spans_of
from mer_hf.training.spotting import SpottingRecipe, train_spotter

TRIED = 100  # thresholds, evenly among the scores
AT_ONCE = 32  # spans that are watched side by side


@dataclass(frozen=True)
class SpottingPlan:
    """What all trainings of a run have in common.

    Attributes:
        recipe, arguments: of the run.
        recordings: as `mer_hf.load_recordings` gives them.
        start: the network that every training begins with; its weights are random where nothing was learnt.
        is_trained: whether it has learnt something.
        spot: a pipeline, whose classifier names what is found.
    """

    recipe: Recipe
    arguments: TrainingArguments
    recordings: Dataset
    start: RcnForSpotting
    is_trained: bool
    spot: MicroExpressionSpottingPipeline

    @property
    def output_dir(self) -> Path:
        """Where finished folds are kept."""
        return Path(cast(str, self.arguments.output_dir))


@dataclass(frozen=True)
class SpottingOutcome:
    """What came out of a run.

    Attributes:
        model: trained on all recordings, with its threshold.
        watched: what was found in held-out recordings and counts, and what is coded; None where nobody was held out.
        scores: of that; None likewise.
        thresholds: of each fold, and of the model in the end, under "all recordings".
        record: what was run on what.
    """

    model: RcnForSpotting
    watched: WatchedRecordings | None
    scores: RecordingScores | None
    thresholds: dict[str, float]
    record: dict[str, object] = field(repr=False)

    def save(self, folder: str | Path) -> Path:
        """Write `spotted.csv`, `truth.csv`, `results.json` and `model/`, which `mer-hf analyze --model` takes.

        `mer-hf scores FOLDER/spotted.csv --truth FOLDER/truth.csv` says the scores again.

        Returns:
            The folder.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if self.watched is not None:
            write_atomically(folder / "spotted.csv", self.watched.found.to_csv(index=False))
            write_atomically(folder / "truth.csv", self.watched.truth.to_csv(index=False))
        write_json(folder / "results.json", {**(self.scores or {}), "thresholds": self.thresholds, **self.record})
        self.model.save_pretrained(folder / "model")
        return folder


def train_on_recordings(
    recipe: Recipe, arguments: TrainingArguments, recordings: Dataset, share: Share = ALONE, progress: bool = False
) -> SpottingOutcome | None:
    """Train by a recipe of the task spotting, and test on those who are held out.

    Args:
        recipe, arguments: as `read_recipe` gives them; finished folds are kept in the output folder.
        recordings: as `mer_hf.load_recordings` returns.
        share: which of several processes this is; each trains a part of the folds.
        progress: whether bars are shown.

    Returns:
        The outcome; None in all processes but the first.

    Raises:
        MerHfError: for recordings, or a network to start from, that cannot be used.
        RunError: for a training that goes astray, or an output folder that holds another run.
    """
    started = time.monotonic()
    plan, folds = make_plan(recipe, arguments, recordings), folds_of_recordings(recipe, recordings)
    check_unseen(plan, folds)
    mine = recordings.select(range(share.rank, len(recordings), share.world_size))
    load_motion(mine, recipe.num_proc, progress and share.rank == 0)
    share.gather(None)  # what others have watched is there, but on other machines
    recorded = load_motion(recordings, recipe.num_proc)
    digest = claim(plan.output_dir, identity_of(plan, recorded))
    names = recordings["recording_id"][:]
    jobs = [
        Job(fold, arguments.seed, plan.output_dir, digest, tuple(names[row] for row in fold.test)) for fold in folds
    ]
    shown = tqdm(dealt(jobs, share), desc="folds", disable=not progress or share.rank != 0)
    for (job,) in unfinished(shown, 1):
        train_and_watch(plan, recorded, job)
    collect(jobs, share)
    if share.rank != 0:
        return None
    for (job,) in unfinished(jobs, 1, wait=True):
        train_and_watch(plan, recorded, job)
    record: dict[str, object] = {"folds": len(folds), **record_of(plan)}
    model = train_side(plan, recorded, arguments.seed)
    thresholds = {job.fold.name: cast(dict[str, float], job.content())["threshold"] for job in jobs}
    thresholds["all recordings"] = model.config.threshold
    watched, scores = (None, None) if not jobs else scored(jobs, recorded, thresholds)
    return SpottingOutcome(model, watched, scores, thresholds, record | circumstances(started, share.world_size))


def make_plan(recipe: Recipe, arguments: TrainingArguments, recordings: Dataset) -> SpottingPlan:
    """What all trainings have in common.

    Raises:
        MerHfError: the network to start from cannot be loaded or used, or there is no recording.
    """
    if not len(recordings):
        raise RunError(f"{recipe.dataset} has no recordings in {recipe.data_dir}")
    device = str(arguments.device)
    if recipe.start == FROM_NOTHING:
        torch.manual_seed(arguments.seed)
        start = RcnForSpotting(RcnSpottingConfig(**recipe.config_fields))  # ty: ignore[invalid-argument-type] - checked there
        spot = load_spotter(device=device)
    else:
        spot = load_spotter(cast(str, recipe.start), device)
        start = cast(RcnForSpotting, spot.model)
    if start.config.rate != RATE:
        raise RunError(f"the network takes {start.config.rate:g} moments a second; only {RATE:g} can be trained")
    return SpottingPlan(recipe, arguments, recordings, start, recipe.start != FROM_NOTHING, spot)


def folds_of_recordings(recipe: Recipe, recordings: Dataset) -> list[Fold]:
    """The folds of the recipe's protocol; none where nobody is held out.

    Raises:
        MerHfError: for an unknown fold, or too few subjects.
    """
    if recipe.protocol == "none":
        return []
    subjects = recordings["subject"][:]
    folds = leave_one_subject_out(subjects) if recipe.protocol == "loso" else subject_k_fold(subjects, recipe.num_folds)
    return folds if recipe.fold_names is None else select_folds(folds, recipe.fold_names)


def check_unseen(plan: SpottingPlan, folds: Sequence[Fold]) -> None:
    """Refuse a network that has learnt from those whose recordings it would be scored on.

    Raises:
        RunError: it has.
    """
    subjects = plan.recordings["subject"][:]
    held_out = {subjects[row] for fold in folds for row in fold.test}
    seen = held_out & {*(plan.start.config.training_subjects or ())}
    if seen:
        raise RunError(
            f"{plan.recipe.start} was trained on {len(seen)} of the subjects that are held out here, such as "
            f"{min(seen)}; the scores would be of people whom it knows. Say --protocol none, or --start default."
        )


# --- a network ---


def train_and_watch(plan: SpottingPlan, recorded: Sequence[Recorded], job: Job) -> None:
    """Train on one side of a fold, and keep what is found in the recordings of the other.

    Raises:
        RunError: for a training that goes astray.
    """
    losses: list[float] = []
    model = train_side(plan, [recorded[row] for row in job.fold.train], job.random_seed, losses)
    spot = MicroExpressionSpottingPipeline(model=model, task=TASK, device=model.device, classifier=plan.spot.classifier)
    found = found_in(plan.recordings.select(job.fold.test), spot)
    curve = [{"step": float(step), "loss": loss} for step, loss in enumerate(losses)]
    job.keep(found, curve, threshold=model.config.threshold)


def train_side(
    plan: SpottingPlan, recorded: Sequence[Recorded], seed: int, losses: list[float] | None = None
) -> RcnForSpotting:
    """A network that has learnt from recordings, with the threshold for people whom it has not seen.

    The threshold is that of the best F1 on these recordings themselves, those of each half of the people watched by a
    network that learnt from the other half: a network is surer of those whom it knows.

    Args:
        plan: how.
        recorded: of the people of one side, and nothing else of the run has a part in it.
        seed: of everything random.
        losses: takes the loss of each step.

    Raises:
        RunError: no face was seen in them, or the loss is no finite number.
    """
    model = trained(plan, recorded, seed, losses)
    people = sorted({each.row["subject"] for each in recorded})
    order = np.random.default_rng(seed).permutation(len(people))
    halves = [{people[number] for number in order[half::2]} for half in range(2)]
    found = []
    for half in halves if len(people) > 1 else ():
        others = [each for each in recorded if each.row["subject"] not in half]
        network = trained(plan, others, seed)
        found += [watched_by(network, [each for each in recorded if each.row["subject"] in half])]
    rows = [each.row for each in recorded]
    tables = beside_truth(pd.concat(found) if found else watched_by(model, recorded), rows)
    model.config.threshold = best_threshold(tables, plan.start.config.threshold)
    model.config.false_a_minute = model.config.name_and_version = None
    model.config.training_subjects = sorted({*people, *(plan.start.config.training_subjects or ())})
    before = f" It began as {plan.recipe.start}, which learnt from drawn motion." if plan.is_trained else ""
    model.config.trained_on = f"It was trained on {len(recorded)} recordings of {len(people)} people.{before}"
    return model


def trained(
    plan: SpottingPlan, recorded: Sequence[Recorded], seed: int, losses: list[float] | None = None
) -> RcnForSpotting:
    """A network that has learnt from recordings, without a threshold of its own."""
    side, arguments = Side(recorded), plan.arguments
    if not side.spans:
        raise RunError(f"no face was seen in the {len(recorded)} recordings of the training side; is --fps right?")
    recipe = SpottingRecipe(
        steps=arguments.max_steps,
        batch_size=arguments.per_device_train_batch_size,
        learning_rate=arguments.learning_rate,
        weight_decay=arguments.weight_decay,
        warm_up=max(int(arguments.warmup_steps), 1),
        seed=seed,
    )
    torch.manual_seed(seed)  # of dropout
    model = copy.deepcopy(plan.start).to(arguments.device)
    batches = side.batches(recipe, plan.recipe.drawn_per_clip, arguments.device)
    came = train_spotter(model, recipe, batches=batches, settled=plan.is_trained)
    if not all(map(math.isfinite, came)):
        raise RunError("the loss is no finite number any longer; a lower learning_rate may help")
    if losses is not None:
        losses += came
    return model


@torch.inference_mode()
def watched_by(model: RcnForSpotting, recorded: Sequence[Recorded]) -> pd.DataFrame:
    """What a network finds in the motion that was kept of recordings: as `found_in`, but for the names of classes."""
    spans = [(each.row, span) for each in recorded for span in spans_of(each.moments)]
    spans.sort(key=lambda item: len(item[1]))
    found = []
    for begin in range(0, len(spans), AT_ONCE):
        chunk = spans[begin : begin + AT_ONCE]
        inputs = [input_of(span) for _, span in chunk]
        padded = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True).to(model.device)
        said = model(padded).logits.float().sigmoid().cpu().numpy()
        for (row, span), outputs in zip(chunk, said, strict=True):
            for event in decode(span["seconds"].tolist(), outputs[: len(span)], LOWEST):
                found.append(find_of(row, (event.onset, event.apex, event.offset), event.kind, event.score))
    return pd.DataFrame(found, columns=FOUND)


def best_threshold(watched: WatchedRecordings, otherwise: float) -> float:
    """The score with the best F1 of all types together; `otherwise` where nothing that is there was found.

    Of several that are as good, the middle one.
    """
    found, truth, recordings = watched
    truth = truth[truth.onset.notna()]
    tried = np.unique(np.quantile(found.score, np.linspace(0, 1, TRIED))) if len(found) else np.zeros(0)
    best, good = 0.0, []
    for least in tried:
        matched, finds, real = counts_by_subject(found[found.score >= least], truth, recordings, 0.5)[ALL].sum(0)
        f1 = 2 * matched / max(finds + real, 1)
        if f1 > best:
            best, good = f1, []
        if f1 == best > 0:
            good.append(float(least))
    return math.floor(1e4 * good[len(good) // 2]) / 1e4 if good else float(otherwise)


# --- what came out ---


def scored(
    jobs: Sequence[Job], recorded: Sequence[Recorded], thresholds: dict[str, float]
) -> tuple[WatchedRecordings, RecordingScores]:
    """What was found in all held-out recordings, each at the threshold of its fold, and what it is worth."""
    found = pd.concat([cast(pd.DataFrame, job.kept()).assign(least=thresholds[job.fold.name]) for job in jobs])
    rows = [recorded[row].row for row in sorted(row for job in jobs for row in job.fold.test)]
    names = ["video", "type", "predicted"]  # empty columns have lost their kind on the way
    found = found.reset_index(drop=True).astype(dict.fromkeys(names, str))
    least = found.pop("least")
    watched = beside_truth(found, rows)
    return watched._replace(found=watched.found[found.score >= least]), score_recordings(*watched, least)


def record_of(plan: SpottingPlan) -> dict[str, object]:
    """What was run on what, for `results.json`."""
    recipe = {name: value for name, value in vars(plan.recipe).items() if name in SPOTTING_HOLDS}
    optimised = {name: getattr(plan.arguments, name) for name in SPOTTING_HOLDS if hasattr(plan.arguments, name)}
    about = ("description", "license", "citation")
    return {
        "recipe": {**recipe, **optimised},
        "data": {name: getattr(plan.recordings.info, name) for name in about},
    }


def identity_of(plan: SpottingPlan, recorded: Sequence[Recorded]) -> dict[str, object]:
    """What makes a run the same run when it is started again."""
    recipe = cast(dict[str, object], record_of(plan)["recipe"])
    fixed = {
        name: value for name, value in recipe.items() if name not in ("folds", "num_proc", "use_cpu", "output_dir")
    }
    weights = hashlib.sha256()
    for value in plan.start.state_dict().values():
        weights.update(value.cpu().numpy().tobytes())
    data = json_digest({"recordings": list(facts_of(recorded)), "start": weights.hexdigest()})
    return {**fixed, "versions": versions(), "data_sha256": data}


__all__ = ["SpottingOutcome", "SpottingPlan", "train_on_recordings", "train_side"]
