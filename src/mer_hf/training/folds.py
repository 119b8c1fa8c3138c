"""Who is held out, who trains which fold, and what is kept of it.

    Plan -> folds_of -> Job: a fold and a seed -> dealt -> unfinished, held by locks -> a file each -> collect

A finished job is a file, so a run that was stopped goes on where it was. The processes of a launcher deal the jobs out
among themselves and gather the files in the end, also from machines with disks of their own. A job at work is a lock,
so that the same command may run in a second terminal as well.
"""

import contextlib
import hashlib
import json
import logging
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict, cast
from urllib.parse import quote

import numpy as np
import pandas as pd
from datasets import Dataset
from filelock import FileLock, Timeout

from mer_hf.files import write_atomically, write_json
from mer_hf.protocols import (
    SIDES,
    Fold,
    balanced_k_fold,
    cd6me,
    cross,
    hold_one_corpus_out,
    leave_one_subject_out,
    leave_one_video_out,
    select_folds,
    subject_k_fold,
)
from mer_hf.training.clips import SIDE
from mer_hf.training.plan import RunError
from mer_hf.training.processes import Share
from mer_hf.training.recipe import Recipe

logger = logging.getLogger(__name__)


def folds_of(recipe: Recipe, dataset: Dataset) -> list[Fold]:
    """The folds of the recipe's protocol, each with every class on its training side; none where nobody is held out.

    Raises:
        RunError: for a class that the training side of a fold lacks.
        MerHfError: for an unknown fold, or too few subjects.
    """
    if recipe.protocol == "none":
        return []
    if recipe.protocol == "loso":
        folds = leave_one_subject_out(dataset["subject"])
    elif recipe.protocol == "lovo":
        folds = leave_one_video_out(dataset["clip_id"])
    elif recipe.protocol == "hde":
        folds = hold_one_corpus_out(dataset["corpus"][:], dataset["subject"][:])
    elif recipe.protocol == "cross":
        folds = cross(dataset[SIDE][:], dataset["subject"][:])
    elif recipe.protocol == "cd6me":
        folds = cd6me(dataset["corpus"][:], dataset["subject"][:])
    elif recipe.protocol == "balanced":
        folds = balanced_k_fold(dataset["subject"][:], dataset["label"][:], recipe.num_folds)
    else:
        folds = subject_k_fold(dataset["subject"], recipe.num_folds)
    if recipe.fold_names is not None:
        folds = select_folds(folds, recipe.fold_names)
    check_learnable(folds, dataset)
    return folds


def all_clips(recipe: Recipe, dataset: Dataset) -> Fold:
    """The training of the model in the end, which holds nobody out, but those whom `cross` only tests on."""
    rows = range(len(dataset))
    if recipe.protocol == "cross":
        rows = [row for row, side in enumerate(dataset[SIDE]) if side == SIDES[0]]
    return Fold("all clips", tuple(rows), ())


def check_learnable(folds: Sequence[Fold], dataset: Dataset) -> None:
    """Refuse folds without a training clip of each class.

    Raises:
        RunError: for a class that the training side of a fold lacks.
    """
    names, labels = dataset.features["label"].names, np.array(dataset["label"])
    for fold in folds:
        missing = set(range(len(names))) - set(labels[list(fold.train)].tolist())
        if missing:
            raise RunError(
                f"fold {fold.name}: no training clip shows {', '.join(names[label] for label in sorted(missing))}; it "
                "could not be learnt. Leave the class out of the label set, or hold out less at a time."
            )


class Kept(TypedDict):
    """What is kept of a job, but for what it belongs to."""

    predictions: dict[str, list]
    curve: list[dict[str, float]]
    choice: NotRequired[dict[str, object]]


@dataclass(frozen=True)
class Job:
    """A fold to train and test with a seed, and the file that is kept of it.

    Attributes:
        fold: who is trained on, and who is held out.
        seed: the seed as the run counts it.
        output_dir: of the run.
        run: digest of what the run is, which its files carry.
        clips: the held-out clips, by their names.
    """

    fold: Fold
    seed: int
    output_dir: Path
    run: str
    clips: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it is called in errors and by trackers."""
        return f"fold {self.fold.name}, seed {self.seed}"

    @property
    def random_seed(self) -> int:
        """Of its random numbers, which differ between the folds of one seed, in whatever order they are trained."""
        return zlib.crc32(f"{self.seed}/{self.fold.name}".encode())

    @property
    def folder(self) -> Path:
        """Two names never give one folder, and no name, such as the absolute path of a clip, leads out of the run's."""
        return self.output_dir.joinpath("folds", *map(folder_name, self.fold.name.split("/")))

    @property
    def path(self) -> Path:
        """The file that is kept."""
        return self.folder / f"seed-{self.seed}.json"

    @property
    def identity(self) -> dict[str, object]:
        """What the file must say of itself to be believed."""
        return {"run": self.run, "fold": self.fold.name, "seed": self.seed, "clips": list(self.clips)}

    @contextlib.contextmanager
    def held(self, wait: bool) -> Generator[bool]:
        """Hold the job's lock; give False where another process holds it and there is no reason to wait for it.

        Raises:
            RunError: where something else is in the place of the lock.
        """
        path = self.path.with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise RunError(f"{path} is a folder, and should be the lock of {self.name}; remove it")
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

    def keep(self, predictions: pd.DataFrame, curve: list[dict[str, float]], **more: object) -> None:
        """Write what came out of it, and `more` of it that is ready for JSON."""
        content = {**self.identity, **more, "predictions": predictions.to_dict(orient="list"), "curve": curve}
        write_json(self.path, {"sha256": json_digest(content), **content})

    def kept(self) -> pd.DataFrame | None:
        """The predictions that were kept; None where there are none, or where they belong to something else."""
        content = self.content()
        return None if content is None else pd.DataFrame(content["predictions"])

    def content(self) -> Kept | None:
        """All that was kept, as it was written; None as `kept`."""
        if not self.path.exists():
            return None
        try:
            content = dict(json.loads(self.path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            content = {}
        is_whole = content.pop("sha256", None) == json_digest(content)
        if not is_whole or {name: content.get(name) for name in self.identity} != self.identity:
            logger.warning("%s is damaged, or of another run; %s is trained again", self.path, self.name)
            return None
        return cast(Kept, content)


def folder_name(name: str) -> str:
    """A name of a folder for any name: another for each, and none that leads elsewhere."""
    safe = quote(name, safe=" ,@") if name.strip(".") else f"%{name}"
    return safe if len(safe) <= 200 else f"{safe[:180]}~{zlib.crc32(safe.encode()):08x}"


def dealt(jobs: Sequence[Job], share: Share) -> list[Job]:
    """The jobs that fall to this process, of those that none of the processes has kept; each may have its own disk."""
    if share.world_size == 1:
        return list(jobs)
    kept = share.gather([job.kept() is not None for job in jobs])
    unkept = [job for job, *by in zip(jobs, *kept, strict=True) if not any(by)]
    return unkept[share.rank :: share.world_size]


def collect(jobs: Sequence[Job], share: Share) -> None:
    """Give each process the files that others have kept and it has not; it waits until all are through."""
    share.gather(None)  # until here, others were still at work
    here = [job.kept() is not None for job in jobs]
    everywhere = [all(by) for by in zip(*share.gather(here), strict=True)]
    found = {
        number: job.path.read_text(encoding="utf-8")
        for number, (job, kept, by_all) in enumerate(zip(jobs, here, everywhere, strict=True))
        if kept and not by_all
    }
    for number, text in (entry for each in share.gather(found) for entry in each.items()):
        if not here[number]:
            jobs[number].path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(jobs[number].path, text)


def unfinished(jobs: Iterable[Job], size: int, wait: bool = False) -> Iterator[list[Job]]:
    """The jobs that are to be done, so many at a time, held until the next ones are asked for.

    Args:
        jobs: those of this process.
        size: number of jobs at a time, 1 where they are waited for.
        wait: whether to wait for a job that another process, of a second terminal, is at work on.
    """
    chunk: list[Job] = []
    with contextlib.ExitStack() as locks:
        for job in jobs:
            with contextlib.ExitStack() as lock:
                if lock.enter_context(job.held(wait)) and job.kept() is None:
                    locks.push(lock.pop_all())
                    chunk.append(job)
            if len(chunk) == size:
                yield chunk
                locks.close()
                chunk = []
        if chunk:
            yield chunk


def json_digest(content: dict[str, object]) -> str:
    """A digest of values by name, in whatever order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


__all__ = [
    "Job",
    "Kept",
    "all_clips",
    "check_learnable",
    "collect",
    "dealt",
    "folder_name",
    "folds_of",
    "json_digest",
    "unfinished",
]
