"""Which of several candidates is trained: chosen for each fold on its training side alone.

Plan with candidates, a fold -> inner folds of the other subjects -> a Job a candidate and inner fold -> Choice

A held-out clip has no part in the choice of its fold. What choosing on the held-out clips would have claimed can be had
as well, by `chosen_on_test`, and is called what it is.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np
import pandas as pd
from datasets import Dataset

from mer_hf.evaluation.summary import headline
from mer_hf.metrics import scores
from mer_hf.protocols import Fold, balanced_k_fold
from mer_hf.training.folds import Job, all_clips, check_learnable, folder_name
from mer_hf.training.plan import Plan, RunError

INNER_FOLDS = 3
"""Parts into which the subjects of a training side are put, fewer where there are fewer subjects."""


@dataclass(frozen=True)
class Choice:
    """What was chosen for a fold.

    Attributes:
        chosen: the name of a candidate.
        uf1: of each candidate, over the clips of all inner folds; of equal ones the first is chosen.
    """

    chosen: str
    uf1: dict[str, float]


class Claimed(TypedDict):
    """Scores of held-out clips."""

    uf1: float
    uar: float
    accuracy: float


class Chosen(TypedDict):
    """What an outcome says of its choices; ready for JSON.

    `chosen` counts the folds that chose each candidate, `final` is what the model in the end was trained by. Scores of
    `candidates`, each in all folds, and of `test_choice`, the best of them in each fold, are of the held-out clips: who
    picks among them picks on the test subjects.
    """

    chosen: dict[str, int]
    final: str
    inner_folds: int
    candidates: NotRequired[dict[str, Claimed]]
    test_choice: NotRequired[Claimed]


def inner_folds(fold: Fold, dataset: Dataset) -> list[Fold]:
    """The training side of a fold in parts of whole subjects, each with about as many clips of each class.

    Args:
        fold: of the protocol; of its test side nothing is looked at.
        dataset: whose rows the fold counts.

    Returns:
        Folds of the same row numbers, `<fold>/fold-0` and so on.

    Raises:
        RunError: for one subject on the training side, or a class that an inner training side lacks.
    """
    subjects, labels = (np.array(dataset[name])[list(fold.train)].tolist() for name in ("subject", "label"))
    count = len(set(subjects))
    if count < 2:
        raise RunError(
            f"fold {fold.name}: {subjects[0]} alone is trained on, and a choice needs others; name one recipe"
        )
    parts = balanced_k_fold(subjects, labels, min(INNER_FOLDS, count))
    sides = [(tuple(fold.train[row] for row in side) for side in (part.train, part.test)) for part in parts]
    inner = [Fold(f"{fold.name}/{part.name}", *side) for part, side in zip(parts, sides, strict=True)]
    check_learnable(inner, dataset)
    return inner


def check_choosable(folds: Sequence[Fold], dataset: Dataset) -> None:
    """Refuse folds on whose training side nothing can be chosen, as `inner_folds` says."""
    for fold in folds:
        inner_folds(fold, dataset)


@dataclass(frozen=True)
class Choosing:
    """The jobs by which a run chooses: `choice/<candidate>/folds/...` of its folder, each a candidate and a fold.

    Attributes:
        plan: with its candidates.
        dataset: its clips.
        run: digest of what the run is.
    """

    plan: Plan
    dataset: Dataset
    run: str

    def job(self, name: str, fold: Fold, seed: int) -> Job:
        """The training of a candidate on a fold, inner or outer; all candidates have the same random numbers."""
        names = self.dataset["clip_id"][:]
        clips = tuple(names[row] for row in fold.test)
        return Job(fold, seed, self.plan.output_dir / "choice" / folder_name(name), f"{self.run}, {name}", clips)

    def jobs(self, folds: Sequence[Fold]) -> dict[Job, str]:
        """All jobs that are known before any choice, and their candidates.

        They are those of the inner folds, and with `also_test_choice` those of all candidates on the folds themselves.
        """
        jobs: dict[Job, str] = {}
        for fold in [*folds, all_clips(self.plan.recipe, self.dataset)]:
            jobs |= self.jobs_before(fold)
        if self.plan.recipe.also_test_choice:
            for seed in self.plan.seeds:
                jobs |= {self.job(name, fold, seed): name for fold in folds for name in self.plan.candidates}
        return jobs

    def jobs_before(self, fold: Fold) -> dict[Job, str]:
        """The jobs that the choice of a fold needs, and their candidates: its inner folds with the first seed."""
        parts = inner_folds(fold, self.dataset)
        return {self.job(name, part, self.plan.seeds[0]): name for part in parts for name in self.plan.candidates}

    def choice(self, fold: Fold) -> Choice:
        """The choice of a fold, whose inner jobs are done."""
        tables: dict[str, list[pd.DataFrame]] = {name: [] for name in self.plan.candidates}
        for job, name in self.jobs_before(fold).items():
            tables[name].append(predictions_of(job))
        return best_of({name: pd.concat(each) for name, each in tables.items()}, self.plan.classes)

    def found(self, folds: Sequence[Fold], final: Choice) -> Chosen:
        """What the outcome says of the choices of folds whose jobs are done.

        Args:
            folds: of the protocol.
            final: the choice for the model in the end.
        """
        counts = Counter(self.choice(fold).chosen for fold in folds)
        found = Chosen(chosen=dict(counts.most_common()), final=final.chosen, inner_folds=INNER_FOLDS)
        if self.plan.recipe.also_test_choice:
            pairs = [(fold, seed) for seed in self.plan.seeds for fold in folds]
            tables = {
                name: pd.concat([predictions_of(self.job(name, *pair)) for pair in pairs], ignore_index=True)
                for name in self.plan.candidates
            }
            averaged = self.plan.recipe.average_seeds
            found["candidates"] = {name: _claimed(rows, self.plan.classes, averaged) for name, rows in tables.items()}
            found["test_choice"] = _claimed(chosen_on_test(tables), self.plan.classes, averaged)
        return found


def predictions_of(job: Job) -> pd.DataFrame:
    """What was predicted in a job that is done.

    Raises:
        RunError: where it is not done.
    """
    table = job.kept()
    if table is None:
        raise RunError(f"{job.path} is gone, which a choice needs; start the run again")
    return table


def best_of(found: Mapping[str, pd.DataFrame], classes: Sequence[str]) -> Choice:
    """The candidate of the highest UF1, the first of equal ones.

    Args:
        found: predictions of each candidate for the same clips, all inner folds together.
        classes: names of the classes.
    """
    number = {name: place for place, name in enumerate(classes)}
    uf1 = {
        name: float(scores(rows.label.map(number), rows.predicted.map(number), len(classes))["uf1"])
        for name, rows in found.items()
    }
    return Choice(max(uf1, key=uf1.__getitem__), uf1)


def chosen_on_test(found: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What choosing on the held-out clips would have predicted: no result, for it knows their labels.

    Args:
        found: predictions of each candidate for the held-out clips of all folds and seeds.

    Returns:
        The rows of the candidate that got most of them right in each fold and seed, the first of equal ones.
    """
    rights = {
        name: (rows.label == rows.predicted).groupby([rows.fold, rows.seed]).sum() for name, rows in found.items()
    }
    best = pd.DataFrame(rights).idxmax(axis=1)
    picked = [rows[best.loc[zip(rows.fold, rows.seed, strict=True)].to_numpy() == name] for name, rows in found.items()]
    return pd.concat(picked, ignore_index=True)


def _claimed(rows: pd.DataFrame, classes: list[str], averaged: bool) -> Claimed:
    shown = headline(rows, classes, averaged)
    return Claimed(uf1=shown["uf1"], uar=shown["uar"], accuracy=shown["accuracy"])


def choice_lines(found: Chosen) -> list[str]:
    """The choices for a reader."""
    folds = sum(found["chosen"].values())
    counts = [f"{name} in {count} of {folds} folds" for name, count in found["chosen"].items()]
    said = ", ".join([*counts, f"of all clips {found['final']}"])
    lines = [f"chosen by UF1 on inner folds of the other subjects: {said}"]
    if "test_choice" in found:
        lines.append("scores of held-out clips, among which nothing may be picked:")
        rows = {
            **{f"{n} in all folds": c for n, c in found["candidates"].items()},
            "picked on them": found["test_choice"],
        }
        width = max(map(len, rows))
        lines += [f"  {name:{width}}  UF1 {row['uf1']:.4f}  UAR {row['uar']:.4f}" for name, row in rows.items()]
    return lines


__all__ = ["INNER_FOLDS", "Choice", "Choosing", "Chosen", "best_of", "choice_lines", "chosen_on_test", "inner_folds"]
