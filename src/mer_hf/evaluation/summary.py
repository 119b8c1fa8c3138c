"""The one place that groups predictions and scores them.

a table of predictions -> summarise -> `results.json`, `mer-hf scores`, the card, the report
"""

from collections.abc import Sequence
from typing import TypedDict, cast

import numpy as np
import pandas as pd

from mer_hf.evaluation.predictions import SCORE
from mer_hf.evaluation.units import UNIT
from mer_hf.metrics import (
    SCORES,
    Metric,
    confusion_by_subject,
    drawn_subjects,
    interval_of_draws,
    scores,
    subject_bootstrap,
)

DRAWS = 2000
"""How often subjects are drawn for an interval, as in `subject_bootstrap`."""


TITLES: dict[Metric, str] = {"uf1": "UF1", "uar": "UAR", "accuracy": "accuracy"}


class Scored(TypedDict, total=False):
    """Some rows of predictions, scored; ready for JSON.

    `clips` and `subjects` count what the rows are of; without a column `subject` there are no `subjects`, and without
    two of them no `interval`. `per_<column>` holds the same of the rows that have one value there.
    """

    uf1: float
    uar: float
    accuracy: float
    confusion: list[list[int]]
    clips: int
    subjects: int
    interval: dict[str, list[float]]
    per_corpus: dict[str, "Scored"]


class Seed(Scored, total=False):
    """The rows of one seed, scored."""

    seed: int | str


class Summary(TypedDict, total=False):
    """What `summarise` returns; ready for JSON."""

    classes: list[str]
    seeds: list[Seed]
    mean: dict[str, float]
    sd: dict[str, float]
    pooled: Scored
    ensemble: Scored
    headline: Scored


def summarise(predictions: pd.DataFrame, classes: list[str], by: Sequence[str] = ("corpus",)) -> Summary:
    """Scores of predictions, each from counts pooled over folds.

    Args:
        predictions: as `read_predictions` returns, or a run writes.
        classes: names in the order of the score columns.
        by: columns whose values are scored each, of all seeds pooled; those that the table lacks are passed over.

    Returns:
        `classes`; `seeds`: all clips of each seed, and those of each corpus in `per_corpus`; `mean` and `sd` of UF1,
        UAR and accuracy over seeds (sd with n - 1; 0 for one seed); `pooled`: the clips of all seeds together;
        `ensemble`: the mean of the seeds' scores of each clip, where there are score columns.
    """
    by = [column for column in by if column in predictions]
    corpora = [column for column in by if column == "corpus"]

    def scored_by(rows: pd.DataFrame, columns: Sequence[str]) -> Scored:
        groups = {
            f"per_{column}": {str(name): _scored(part, classes) for name, part in rows.groupby(column)}
            for column in columns
        }
        return {**_scored(rows, classes), **groups}

    seeds: list[Seed] = [
        {"seed": seed if isinstance(seed, str) else int(cast(int, seed)), **scored_by(rows, corpora)}
        for seed, rows in predictions.groupby("seed")
    ]
    measured = {name: [seed[name] for seed in seeds] for name in SCORES}
    result: Summary = {
        "classes": classes,
        "seeds": seeds,
        "mean": {name: float(np.mean(values)) for name, values in measured.items()},
        "sd": {name: float(np.std(values, ddof=1)) if len(seeds) > 1 else 0.0 for name, values in measured.items()},
        "pooled": scored_by(predictions, by),
    }
    if all(f"{SCORE}{name}" in predictions for name in classes):
        result["ensemble"] = scored_by(ensemble(predictions, classes), corpora)
    return result


def parts_of(scored: Scored, column: str) -> dict[str, Scored]:
    """The scores of the rows that have one value in a column, by that value; empty where it was not asked for."""
    return cast(dict[str, dict[str, Scored]], scored).get(f"per_{column}", {})


def ensemble(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """A row for each clip with the mean of the seeds' scores, and the class whose mean is highest as `predicted`.

    Probabilities of action units are averaged likewise.
    """
    scored = [f"{SCORE}{name}" for name in classes]
    columns = [*scored, *(name for name in predictions if str(name).startswith(UNIT))]
    others = [name for name in predictions if name not in ("clip_id", "seed", "predicted", *columns)]
    how = {**dict.fromkeys(others, "first"), **dict.fromkeys(columns, "mean")}
    table = predictions.groupby("clip_id", as_index=False, sort=False).agg(how)
    table["predicted"] = [classes[index] for index in table[scored].to_numpy().argmax(axis=1)]
    return table


def headline(predictions: pd.DataFrame, classes: list[str], averaged: bool = False) -> Scored:
    """The scores that stand for a run, and for each corpus: those that are printed last, and that its card shows.

    Args:
        predictions: as a run writes them: each seed has every clip.
        classes: names in the order of the score columns.
        averaged: whether the model is the average of all seeds. Then they are the scores of the mean prediction of the
            seeds, otherwise the mean of the scores over seeds.

    Returns:
        The scores with their intervals; `confusion` counts the predictions of all seeds together.
    """
    table = ensemble(predictions, classes) if averaged else predictions
    corpora = {str(name): _mean_over_seeds(rows, classes) for name, rows in table.groupby("corpus")}
    return {**_mean_over_seeds(table, classes), "per_corpus": corpora}


def _mean_over_seeds(rows: pd.DataFrame, classes: list[str]) -> Scored:
    pooled = _scored(rows, classes)
    if "seed" not in rows or rows["seed"].nunique() == 1:
        return pooled
    subjects = pooled["subjects"]
    seeds = [_numbers(part, classes) for _, part in rows.groupby("seed")]
    counts = np.stack([confusion_by_subject(*numbers, len(classes))[1] for numbers in seeds])
    result: Scored = {**pooled, **{name: float(score(counts.sum(1)).mean()) for name, score in SCORES.items()}}
    if "interval" in pooled:
        drawn = np.tensordot(drawn_subjects(subjects, DRAWS, 0), counts, axes=(1, 1))  # (draws, seeds, C, C)
        result["interval"] = {name: interval_of_draws(score(drawn).mean(1), subjects) for name, score in SCORES.items()}
    return result


def _numbers(rows: pd.DataFrame, classes: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and predictions as class numbers, and the subjects."""
    return *(rows[name].map(classes.index).to_numpy() for name in ("label", "predicted")), rows["subject"].to_numpy()


def summary_lines(summary: Summary) -> list[str]:
    """A summary for a reader: scores of folds, corpora and seeds, intervals, and the pooled confusion matrix."""
    pooled = summary["pooled"]
    groups = [(f"corpus {name}", part) for name, part in pooled.get("per_corpus", {}).items()]
    folds = parts_of(pooled, "fold")
    seeds = [(f"seed {seed['seed']}", seed) for seed in summary["seeds"]]
    rows: list[tuple[str, Scored]] = [("pooled", pooled), *groups, *seeds]
    if 1 < len(folds) < pooled["clips"]:  # a fold of one clip has no score to show
        rows = [*((f"fold {name}", part) for name, part in folds.items()), *rows]
    if len(summary["seeds"]) > 1 and "ensemble" in summary:
        rows.append(("mean prediction of the seeds", summary["ensemble"]))
    rows.append(("mean over seeds", cast(Scored, summary["mean"])))
    width = max(len(name) for name, _ in rows)
    lines = [f"{'':{width}}  predictions     UF1     UAR  accuracy"]
    for name, part in rows:
        count = np.sum(part["confusion"]) if "confusion" in part else ""
        lines.append(f"{name:{width}}  {count:>11}  {part['uf1']:6.4f}  {part['uar']:6.4f}  {part['accuracy']:8.4f}")
    if "headline" in summary:
        shown = "  ".join(f"{title} {summary['headline'][name]:.4f}" for name, title in TITLES.items())
        lines += ["", f"headline, as on the card: {shown}"]
    lines += _interval_lines([("pooled", pooled), *(groups if len(groups) > 1 else [])])
    return [*lines, "", *_confusion_lines(pooled["confusion"], summary["classes"])]


def _interval_lines(groups: Sequence[tuple[str, Scored]]) -> list[str]:
    groups = [(name, part) for name, part in groups if "interval" in part]
    width = max((len(name) for name, _ in groups), default=0)
    lines = ["", "95 % intervals over resampled subjects"] if groups else []
    for name, part in groups:
        ends = "  ".join(f"{key} {low:.4f} to {high:.4f}" for key, (low, high) in part["interval"].items())
        lines.append(f"  {name:{width}}  {part['subjects']:>4} subjects  {ends}")
    return lines


def _confusion_lines(counts: list[list[int]], classes: list[str]) -> list[str]:
    corner = "true \\ predicted"
    width = max(len(name) for name in [*classes, corner])
    columns = [max(len(name), 6) for name in classes]
    header = "  ".join(f"{name:>{size}}" for name, size in zip(classes, columns, strict=True))
    lines = [f"{corner:{width}}  {header}"]
    for name, row in zip(classes, counts, strict=True):
        lines.append(f"{name:{width}}  " + "  ".join(f"{n:{size}d}" for n, size in zip(row, columns, strict=True)))
    return lines


def _scored(rows: pd.DataFrame, classes: list[str]) -> Scored:
    labels, predicted = (rows[name].map(classes.index).to_numpy() for name in ("label", "predicted"))
    result: Scored = {**scores(labels, predicted, len(classes)), "clips": rows["clip_id"].nunique()}
    if "subject" in rows:
        result["subjects"] = rows["subject"].nunique()
        if result["subjects"] > 1:
            result["interval"] = subject_bootstrap(labels, predicted, rows["subject"], len(classes))
    return result
