"""A run: from a recipe and clips to predictions, scores and a model.

train: recipe, clips -> make_plan -> run -> Outcome          score: a saved model, clips -> Outcome

run: clips in memory -> jobs: folds and seeds, dealt out, kept as files, gathered -> the model of all clips -> Outcome
     (where there are candidates, the jobs of inner folds come first, and each fold trains what it chooses)
"""

import logging
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

import pandas as pd
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import TrainingArguments

from mer_hf.evaluation.audit import audit_names, warning_line
from mer_hf.evaluation.confidence import Confidence
from mer_hf.evaluation.summary import ensemble, headline, summarise
from mer_hf.evaluation.units import unit_scores
from mer_hf.hub.models import Recogniser, open_model
from mer_hf.metrics import SCORES, scores
from mer_hf.protocols import Fold
from mer_hf.rcn.configuration_rcn import RcnConfig
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.subjects import subject_name
from mer_hf.training.batched import Training, fold_batch, train_all
from mer_hf.training.choice import Choosing, check_choosable
from mer_hf.training.clips import (
    Clip,
    check_dataset,
    clips_of_recipe,
    digest_of,
    load_clips,
    with_classes,
    with_identity,
)
from mer_hf.training.drawn import DRAWN_DATA, TRAINED_ON, drawn_confidence, score_drawn
from mer_hf.training.folds import Job, Kept, all_clips, collect, dealt, folds_of, json_digest, unfinished
from mer_hf.training.outcome import (
    Found,
    Outcome,
    Record,
    circumstances,
    claim,
    confidence_of,
    control_scores,
    data_record,
    predictions_table,
    recipe_record,
    sides_record,
    versions,
)
from mer_hf.training.plan import Plan, RunError, make_plan
from mer_hf.training.processes import ALONE, Share, take_share
from mer_hf.training.recipe import DRAWN, Recipe, read_recipe
from mer_hf.training.trainer import Trained, calibrate_units, finish_tracking, many_small_steps, predict

logger = logging.getLogger(__name__)

MAY_DIFFER = (
    *("choose", "also_test_choice", "folds", "seeds", "average_seeds", "control", "fold_batch", "num_proc"),
    *("use_cpu", "bf16", "fp16"),
    *("disable_tqdm", "report_to", "run_name", "project", "trackio_space_id", "log_level", "logging_strategy"),
    *("logging_steps", "logging_first_step", "dataloader_pin_memory", "output_dir"),
)
"""What may change from one start of a run to the next without making it another run."""

BECAUSE = "of clips of people on whom it was not trained, at most {} of the answers from there on were wrong"
DRAWN_BECAUSE = "of held-back drawn motion, half of it at rest, at most {} of the answers from there on were wrong"
"""What the threshold of a confident answer stands for."""


def train(
    recipe: Recipe | str | Path, clips: Dataset | None = None, output_dir: str | Path | None = None, **options: object
) -> Outcome | None:
    """Train by a recipe, and test on those who are held out.

    Args:
        recipe: a recipe, or the path of its file.
        clips: what `mer_hf.load_dataset` gives, or a Dataset like it; by default the recipe's own dataset is loaded.
        output_dir: where finished folds are kept, so that a run that was stopped goes on; a temporary folder, gone when
            the run has ended, by default.
        options: fields of `Recipe` and of `transformers.TrainingArguments`, which outdo the recipe.

    Returns:
        The outcome; None in all processes but the first, where a launcher started several that share the folds.

    Raises:
        MerHfError: for a recipe, dataset, clip or saved model that cannot be used; before any training.
        RunError: for a training that goes astray.
    """
    if output_dir is None:
        with tempfile.TemporaryDirectory(prefix="mer_hf-run-") as folder:
            return train(recipe, clips, folder, **options)
    read, arguments = read_recipe(recipe, **{**options, "output_dir": str(output_dir)})
    return train_parsed(read, arguments, clips)


def train_parsed(recipe: Recipe, arguments: TrainingArguments, clips: Dataset | None = None) -> Outcome | None:
    """As `train`, with a recipe and its training arguments as `read_recipe` gives them."""
    if not recipe.is_drawn:
        clips = clips_of_recipe(recipe, clips)
    one_model = arguments.world_size > 1
    share = Share(arguments.process_index, arguments.world_size, True) if one_model else take_share()
    plan = make_plan(recipe, arguments, clips)
    if plan.dataset is not None and share.rank == 0:
        warn_of_leaks(plan.dataset)
    return run(plan, share)


def warn_of_leaks(dataset: Dataset) -> None:
    """One line where names and numbers alone show that clips leak from one side of a fold to the other."""
    columns = [name for name in ("clip_id", "subject", "corpus", "onset", "offset") if name in dataset.column_names]
    table = dataset.select_columns(columns).to_pandas()
    table["label"] = dataset.features["label"].int2str(list(dataset["label"]))
    line = warning_line(audit_names(table))
    if line:
        logger.warning(line)


def run(plan: Plan, share: Share = ALONE) -> Outcome | None:
    """Carry out a plan; finished folds are kept in its output folder.

    Args:
        plan: what all trainings have in common.
        share: which of several processes this is. All of them train folds, or parts of one model; the first also
            gathers the results.

    Returns:
        The outcome; None in all processes but the first.
    """
    started = time.monotonic()
    if share.one_model and (plan.recipe.protocol != "none" or plan.candidates):
        raise RunError("this process has joined others to train one model; start processes anew to train folds in them")
    folds = [] if plan.dataset is None else folds_of(plan.recipe, plan.dataset)
    if plan.dataset is not None and plan.candidates:
        check_choosable([*folds, all_clips(plan.recipe, plan.dataset)], plan.dataset)
    loaded = load_all(plan)
    identity = identity_of(plan, loaded)
    digest = claim(plan.output_dir, identity)
    names = [] if plan.dataset is None else plan.dataset["clip_id"][:]
    held_out = {fold.name: tuple(names[row] for row in fold.test) for fold in folds}
    jobs = [Job(f, seed, plan.output_dir, digest, held_out[f.name]) for seed in plan.seeds for f in folds]
    choosing = Choosing(plan, plan.dataset, digest) if plan.dataset is not None and plan.candidates else None
    with many_small_steps():
        carry_out(loaded, choosing, folds, jobs, share)
        if share.rank != 0 and not share.one_model:
            return None
        whole = None if plan.dataset is None else all_clips(plan.recipe, plan.dataset)
        final = None if choosing is None or whole is None else choosing.choice(whole)
        trained_by, clips = loaded["" if final is None else final.chosen]
        model = final_model(trained_by, clips, whole)
    if share.rank != 0:
        return None
    kept = [table for job in jobs if (table := job.kept()) is not None]
    predictions = pd.concat(kept, ignore_index=True) if kept else None
    found = found_of(plan, model, predictions)
    if choosing is not None and final is not None:
        found["choice"] = choosing.found(folds, final)
    if plan.recipe.control:
        found["control"] = control_scores(clips, folds, len(plan.classes))
    record = record_of(plan, len(folds))
    record |= circumstances(started, share.world_size)
    return Outcome(model, trained_by.processor, predictions, found, record, identity)


Loaded = Mapping[str, tuple[Plan, list[Clip]]]
"""Plans with their clips in memory, by the names of candidates; `""` is the plan of a run that chooses nothing."""


def load_all(plan: Plan) -> Loaded:
    """What is trained in a run, by name; candidates whose clips are the same have them in common."""
    plans = plan.candidates or {"": plan}
    seen: dict[str, list[Clip]] = {}
    loaded = {}
    for name, each in plans.items():
        key = json_digest({"processor": each.processor.to_json_string(), "classes": each.classes})
        if key not in seen:
            options = plan.recipe.num_proc, plan.recipe.action_units or ()
            seen[key] = [] if each.dataset is None else load_clips(each.dataset, each.processor, *options)
        loaded[name] = each, seen[key]
    return loaded


def carry_out(
    loaded: Loaded, choosing: Choosing | None, folds: Sequence[Fold], jobs: Sequence[Job], share: Share
) -> None:
    """Train and test all jobs, each process its part; the first, when it returns, has all of them."""
    if choosing is None:
        train_folds(*loaded[""], jobs, share)
    else:
        candidate = choosing.jobs(folds)
        for name, (each, clips) in loaded.items():
            train_folds(each, clips, [job for job, by in candidate.items() if by == name], share)
        for (job,) in unfinished(candidate, 1, wait=True):  # a choice needs those of a second terminal too
            train_and_test(*loaded[candidate[job]], [job])
        for (job,) in unfinished(dealt(jobs, share), 1):
            keep_chosen(loaded, choosing, job)
        collect(jobs, share)
    if share.rank == 0 or share.one_model:
        for (job,) in unfinished(jobs, 1, wait=True):
            if choosing is None:
                train_and_test(*loaded[""], [job])
            else:
                keep_chosen(loaded, choosing, job)


def train_folds(plan: Plan, clips: Sequence[Clip], jobs: Sequence[Job], share: Share) -> None:
    """Train and test the jobs that fall to this process, as many at once as is best, and gather those of the others."""
    if jobs:
        size = fold_batch(plan, training_of(clips, jobs[0]))
        bar = tqdm(dealt(jobs, share), desc="folds", disable=share.rank != 0)
        for chunk in unfinished(bar, size):
            train_and_test(plan, clips, chunk)
        collect(jobs, share)


def keep_chosen(loaded: Loaded, choosing: Choosing, job: Job) -> None:
    """Train what a fold chooses, and keep it with the choice."""

    def finish(jobs: Mapping[Job, str]) -> None:
        for each, name in jobs.items():
            with each.held(wait=True):  # another process may still be at work on it
                if each.kept() is None:
                    train_and_test(*loaded[name], [each])

    finish(choosing.jobs_before(job.fold))
    choice = choosing.choice(job.fold)
    taken = choosing.job(choice.chosen, job.fold, job.seed)
    finish({taken: choice.chosen})
    content = cast(Kept, taken.content())
    job.keep(pd.DataFrame(content["predictions"]), content["curve"], choice=asdict(choice))


def found_of(plan: Plan, model: RcnForVideoClassification, predictions: pd.DataFrame | None) -> Found:
    """The scores of the predictions of a run and of drawn motion; from which score on the model can be relied on.

    The model is told the latter, in its configuration.
    """
    found: Found = {}
    averaged = plan.recipe.average_seeds
    if predictions is not None:
        found = {"classes": plan.classes}
        if len(plan.classes) > 1:
            shown = headline(predictions, plan.classes, averaged)
            found = {**summarise(predictions, plan.classes), "headline": shown}
        units = unit_scores(ensemble(predictions, plan.classes) if averaged else predictions)
        found |= {} if units is None else {"action_units": units}
    if (confidence := confidence_in(plan, model, predictions)) is not None:
        found["confidence"] = confidence
        believe(model.config, confidence, DRAWN_BECAUSE if plan.dataset is None else BECAUSE)
    if plan.dataset is None:
        found |= {"classes": plan.classes, "drawn_motion": dict(score_drawn(model))}
    return found


def confidence_in(plan: Plan, model: RcnForVideoClassification, predictions: pd.DataFrame | None) -> Confidence | None:
    """From which score on the model in the end can be relied on; None where no other people's clips tell."""
    if plan.dataset is None:
        return drawn_confidence(model)
    # lovo: other clips of the same people were trained on; cross: its test clips are no inner fold of the model
    if predictions is None or plan.recipe.protocol in ("lovo", "cross") or len(plan.classes) < 2:
        return None
    return confidence_of(predictions, plan.classes, plan.recipe.average_seeds)


def believe(config: RcnConfig, confidence: Confidence, because: str) -> None:
    """Write a temperature and a threshold into the configuration of a model.

    Args:
        config: is changed.
        confidence: what was fitted.
        because: what the threshold stands for; a share of wrong answers goes into its braces.
    """
    config.temperature = round(confidence["temperature"], 4)
    config.abstain_below = math.ceil(1e4 * confidence["abstain_below"]) / 1e4  # not below the risk that it stands for
    config.abstain_because = because.format(f"{confidence['risk']:.0%}")


def record_of(plan: Plan, folds: int) -> Record:
    """What was run on what."""
    record: Record = {"folds": folds, "recipe": recipe_record(plan.recipe, plan.arguments), **data_of(plan.dataset)}
    if plan.recipe.protocol == "cross":
        record |= sides_record(cast(Dataset, plan.dataset))
    if plan.candidates:
        record["candidates"] = {n: recipe_record(each.recipe, each.arguments) for n, each in plan.candidates.items()}
    return record


def identity_of(plan: Plan, loaded: Loaded) -> dict[str, object]:
    """What makes a run the same run when it is started again: recipe, candidates, precision, versions, clips."""

    def fixed(each: Plan) -> dict[str, object]:
        record = recipe_record(each.recipe, each.arguments)
        return {name: value for name, value in record.items() if name not in MAY_DIFFER}

    digests = [None if each.dataset is None else digest_of(each.dataset, clips) for each, clips in loaded.values()]
    identity = {**fixed(plan), "precision": plan.arguments.mixed_precision, "versions": versions()}
    identity["data_sha256"] = digests[0] if len({*digests}) == 1 else digests
    if plan.candidates:
        identity["candidates"] = {name: fixed(each) for name, each in plan.candidates.items()}
    return identity


def data_of(dataset: Dataset | None) -> Record:
    """What `results.json` says of the data: clips, or drawn motion."""
    return {"data": DRAWN_DATA} if dataset is None else data_record(dataset)


def training_of(clips: Sequence[Clip], job: Job) -> Training:
    """The training of a job: on the clips of one side of its fold."""
    return Training([clips[row] for row in job.fold.train], job.random_seed, job.name)


def train_and_test(plan: Plan, clips: Sequence[Clip], jobs: Sequence[Job]) -> None:
    """Train on one side of each fold, as one where there are several, and keep what the models say of the other.

    Raises:
        RunError: for a training that goes astray.
    """
    trainings = [training_of(clips, job) for job in jobs]
    for job, trained in zip(jobs, train_all(plan, trainings, len(jobs)), strict=True):
        keep_test(plan, clips, job, trained)


def keep_test(plan: Plan, clips: Sequence[Clip], job: Job, trained: Trained) -> None:
    """Keep what the model of a fold says of those who were held out.

    Raises:
        RunError: for scores that are not finite numbers.
    """
    model = trained.model if plan.companion is None else averaged(plan, [trained.model])
    held_out = [clips[row] for row in job.fold.test]
    predicted = predict(model, held_out, plan.processor, plan.arguments.eval_batch_size)
    if not predicted.logits.isfinite().all():
        raise RunError(f"{job.name}: the scores of held-out clips are not finite numbers")
    rows = cast(Dataset, plan.dataset).select(job.fold.test)
    predictions = predictions_table(rows, predicted, job.fold.name, job.seed, plan.recipe.action_units)
    scored = scores([clip.label for clip in held_out], predicted.logits.argmax(1).tolist(), len(plan.classes))
    finish_tracking(trained, {f"test_{name}": scored[name] for name in SCORES})
    job.keep(predictions, trained.curve)


def final_model(plan: Plan, clips: Sequence[Clip], whole: Fold | None) -> RcnForVideoClassification:
    """The model of all clips, see `all_clips`, or of drawn motion; of all seeds, where they are averaged."""
    seeds = plan.seeds if plan.recipe.average_seeds else plan.seeds[:1]
    rows = () if whole is None else whole.train
    trainings = [Training([clips[row] for row in rows], seed, f"all clips, seed {seed}") for seed in seeds]
    models = []
    for trained in train_all(plan, trainings, fold_batch(plan, trainings[0])):
        finish_tracking(trained, {})
        if plan.config.action_units and not plan.recipe.action_units:  # of coded clips they are as those of the folds
            calibrate_units(trained.model)
        models.append(trained.model)
    model = averaged(plan, models)
    if plan.dataset is None:
        model.config.trained_on = TRAINED_ON
        return model
    known = [saved.model.config.training_subjects or () for saved in (plan.start, plan.companion) if saved is not None]
    model.config.training_subjects = sorted({*plan.dataset.select(rows)["subject"]}.union(*known))
    return model


def averaged(plan: Plan, models: Sequence[RcnForVideoClassification]) -> RcnForVideoClassification:
    """One model of several and, with an equal vote, of the one that the plan averages with."""
    average = RcnForVideoClassification.average(models)
    return average if plan.companion is None else RcnForVideoClassification.average([average, plan.companion.model])


# --- a saved model, scored ---


def score(
    model: str | Path | Recogniser,
    clips: Dataset | str,
    processor: Mapping[str, object] | None = None,
    batch_size: int = 64,
    num_proc: int | None = None,
    device: str | torch.device | None = None,
) -> Outcome:
    """Score a saved model on all clips of a dataset; nothing is trained.

    Args:
        model: a folder, a name on the Hub, `"default"`, or what `mer_hf.open_model` gave.
        clips: what `mer_hf.load_dataset` gives, or a Dataset like it; its classes go by their names, and flow may be of
            any size. Or `"action-units"`: drawn motion.
        processor: options of `RcnVideoProcessor` to change.
        batch_size: number of clips that go through the model at once.
        num_proc: number of processes that prepare the clips.
        device: where to compute; a GPU where there is one by default.

    Raises:
        MerHfError: for a model, dataset or clip that cannot be used.
    """
    started = time.monotonic()
    name = "a model in memory" if isinstance(model, Recogniser) else str(model)
    saved = model if isinstance(model, Recogniser) else open_model(name)
    prepares = saved.processor.with_options(**(processor or {}))
    recogniser = saved.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    asked: dict[str, object] = {"model": name, "processor": dict(processor or {})}
    classes = recogniser.config.class_names()
    if isinstance(clips, str):
        if clips != DRAWN:
            raise RunError(f"clips is {clips!r}; give what mer_hf.load_dataset gives, or {DRAWN!r}")
        drawn: Found = {"classes": classes, "drawn_motion": dict(score_drawn(recogniser))}
        known: Record = {"scored": asked, **data_of(None), **circumstances(started)}
        return Outcome(recogniser, prepares, None, drawn, known, {"scored": asked})
    check_dataset(clips)
    dataset = with_classes(with_identity(clips), classes)
    held = load_clips(dataset, prepares, num_proc)
    outputs = predict(recogniser, held, prepares, batch_size)
    predictions = predictions_table(dataset, outputs, "none", 0, recogniser.config.action_units)
    units = unit_scores(predictions)
    trained_on = {subject_name(subject) for subject in recogniser.config.training_subjects or ()}
    found: Found = {
        **summarise(predictions, classes),
        "headline": headline(predictions, classes),
        "clips_of_training_subjects": sum(subject in trained_on for subject in dataset["subject"]),
    }
    if units is not None:
        found["action_units"] = units
    record: Record = {"scored": asked, **data_of(dataset), **circumstances(started)}
    identity = {"scored": asked, "data_sha256": digest_of(dataset, held)}
    return Outcome(recogniser, prepares, predictions, found, record, identity)


__all__ = ["run", "score", "train", "train_parsed"]
