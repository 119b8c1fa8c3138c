"""What do image sequences, recurrence, jitter and drawn motion bring? Ablations on rendered faces, paired by clip.

    python scripts/sequences.py [--output-dir runs/sequences] [--corpora 5] [--seeds 3] [--sizes 6 3 12] [--num-proc 2]

For each corpus (a seed of the embedded one, at a size at which motion is a fraction of a pixel), number of training
subjects, and seed, networks are trained on the clips of so many subjects and predict those of the others, through the
whole front end. Prints UF1 of every way, and the differences that decide with 95 % intervals over subjects and seeds.
`--ways` measures some of them. A training that is finished is kept, so the command goes on where it was stopped.
"""

import argparse
import functools
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

import mer_hf
from mer_hf.drawn.embedded import synthesize
from mer_hf.evaluation.comparison import compare
from mer_hf.files import write_atomically
from mer_hf.training.clips import Clip, load_clips
from mer_hf.training.outcome import predictions_table
from mer_hf.training.plan import Plan, make_plan
from mer_hf.training.recipe import read_recipe
from mer_hf.training.trainer import many_small_steps, predict, train

RECIPES = Path(__file__).parent / "recipes"
POOL, HELD_OUT = 12, 6  # subjects that may be trained on, and subjects that are predicted
CORPUS = {"subjects": POOL + HELD_OUT, "clips": 6, "fps": 60, "size": 96}
GREY = {"connectivity": "sequence", "num_channels": 1, "num_frames": 8, "image_size": [64, 48]}
IMAGES = "drawn-images"
"""The appearance network that was trained on drawn image sequences, in the output folder."""
FURTHER = {"num_train_epochs": 10}  # of a network that drawn motion was shown first
WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "flow picture": ("rcn-best", {}),
    "flow picture, drawn first": ("rcn-best", {"start": "default", **FURTHER}),
    "flow sequence": ("sequence", {}),
    "flow sequence, drawn first": ("sequence", {"start": "default-sequence", **FURTHER}),
    "flow sequence, neighbours averaged": ("sequence", {"interpolation": "box"}),
    "flow sequence, no recurrence": ("sequence", {"changed": {"recurrent_steps": 0}}),
    "changes": ("sequence", {"changed": {**GREY, "changes": True}}),
    "grey levels": ("sequence", {"changed": GREY}),
    "appearance": ("appearance", {}),
    "appearance, drawn first": ("appearance-further", {"start": IMAGES}),
    "appearance, grey levels": ("appearance", {"changed": {"changes": False}}),
}
"""Name -> recipe and what is other than it says; `changed` are fields of the model beside those of the recipe, and
`interpolation` is how time is resampled where it is not jittered."""
PLAIN = ", no jitter"
JITTERED = [name for name in WAYS if name.split(",")[0] in ("flow picture", "flow sequence", "appearance")]
JITTERED = [name for name in JITTERED if name not in ("flow sequence, no recurrence", "appearance, grey levels")]
WAYS |= {name + PLAIN: (WAYS[name][0], {**WAYS[name][1], "jitter": False}) for name in JITTERED}
PAIRS = (
    *((name + PLAIN, name) for name in JITTERED),
    ("flow sequence", "flow sequence, neighbours averaged"),
    ("flow picture", "flow sequence"),
    ("flow sequence, no recurrence", "flow sequence"),
    ("flow picture", "flow picture, drawn first"),
    ("flow sequence", "flow sequence, drawn first"),
    ("flow picture, drawn first", "flow sequence, drawn first"),
    ("appearance", "appearance, drawn first"),
    ("grey levels", "changes"),
    ("changes", "flow sequence"),
    ("appearance, grey levels", "appearance"),
    ("appearance", "flow sequence"),
)
"""Differences that decide: what the second brings over the first."""


class Task(NamedTuple):
    """A training: of a way, on so many subjects of a corpus, with a seed."""

    folder: Path
    way: str
    corpus: int
    subjects: int
    seed: int

    @property
    def path(self) -> Path:
        """The table that is kept of it."""
        way = self.way.replace(", ", "-").replace(" ", "-")
        return self.folder / "predictions" / f"{way}-{self.corpus}-{self.subjects}-{self.seed}.csv"


def render(folder: Path, number: int, num_proc: int) -> None:
    """Render a corpus, and save its clips as one dataset."""
    if folder.exists():
        return
    with tempfile.TemporaryDirectory(dir=folder.parent) as rendered:
        synthesize(rendered, seed=20 + number, num_proc=num_proc, **CORPUS)
        mer_hf.load_dataset("synthetic", rendered).save_to_disk(folder)


def plan_of(folder: Path, way: str, number: int) -> Plan:
    """What the trainings of a way on a corpus have in common."""
    name, options = WAYS[way]
    # in one of hundreds of clips of 96 pixels the detector misses the face, and the middle of the picture is taken
    path, options = RECIPES / f"{name}.yaml", {"protocol": "none", "average_seeds": False, **options}
    options["processor"] = {"face_problems": "flag", "interpolation": options.pop("interpolation", "linear")}
    changed = options.pop("changed", {})
    if options.get("start") == IMAGES:
        options["start"] = str(folder / IMAGES)
    elif "start" in options:  # whose configuration it is
        options |= {"preset": "rcn", "model": "{}"}
    else:
        options["model"] = {**read_recipe(path)[0].config_fields, **changed}
    corpus = mer_hf.load_dataset(folder / f"corpus-{number}")
    return make_plan(*read_recipe(path, output_dir=str(folder), **options), corpus)


@functools.cache
def prepared(folder: Path, way: str, number: int) -> tuple[Plan, list[Clip]]:
    """A plan, and the clips of its corpus in memory; they are prepared once, whatever asks for them first."""
    plan = plan_of(folder, way, number)
    return plan, load_clips(plan.dataset, plan.processor)


def carry_out(task: Task) -> None:
    """Train on the clips of some subjects, and keep what is predicted of the subjects outside the pool."""
    plan, clips = prepared(task.folder, task.way, task.corpus)
    people = plan.dataset["subject"][:]
    pool = sorted(set(people))[:POOL]
    chosen = np.random.default_rng(task.seed).permutation(pool)[: task.subjects]
    seen = [clip for clip, person in zip(clips, people, strict=True) if person in chosen]
    others = [row for row, person in enumerate(people) if person not in pool]
    with many_small_steps():
        trained = train(plan, seen, task.seed, f"{task.way}, corpus {task.corpus}")
    predicted = predict(trained.model, [clips[row] for row in others], plan.processor)
    table = predictions_table(plan.dataset.select(others), predicted, "none", task.seed)
    for column in ("clip_id", "subject"):
        table[column] = f"{task.corpus}/" + table[column]  # another corpus has other people of the same names
    task.path.parent.mkdir(exist_ok=True)
    write_atomically(task.path, table.to_csv(index=False))


def carry_out_all(tasks: Sequence[Task], num_proc: int) -> None:
    """Carry out what is not kept, so many at a time, in the order of the tasks."""
    tasks = [task for task in tasks if not task.path.exists()]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_proc, context, torch.set_num_threads, (1,)) as pool:
        for done in tqdm(as_completed([pool.submit(carry_out, task) for task in tasks]), total=len(tasks)):
            done.result()


def differences(tables: dict[str, pd.DataFrame]) -> Iterator[str]:
    """A line for each of the differences that decide."""
    for first, second in PAIRS:
        if first in tables and second in tables:
            (pair,) = compare({first: tables[first], second: tables[second]}, "paired").pairs
            found = next(each for each in pair.differences if each.metric == "uf1")
            low, high = found.interval
            yield (
                f"{first} {found.first:.3f} -> {second} {found.second:.3f}: {found.difference:+.3f} "
                f"[{low:+.3f}, {high:+.3f}]"
            )


def main() -> None:
    """Measure, and print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/sequences"))
    parser.add_argument("--corpora", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[6, 3, 12], help="training subjects (6 3 12)")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), metavar="NAME")
    parser.add_argument("--num-proc", type=int, default=2, help="trainings at a time (%(default)s)")
    arguments = parser.parse_args()
    folder, ways = arguments.output_dir.absolute(), arguments.ways
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(arguments.corpora):
        render(folder / f"corpus-{number}", number, arguments.num_proc)
    if any(WAYS[way][1].get("start") == IMAGES for way in ways) and not (folder / IMAGES / "model").exists():
        mer_hf.train(RECIPES / "action-unit-images.yaml", output_dir=folder / IMAGES).save(folder / IMAGES)
    tasks = {
        (subjects, way): [
            Task(folder, way, number, subjects, seed)
            for seed in range(arguments.seeds)
            for number in range(arguments.corpora)
        ]
        for subjects in arguments.sizes
        for way in ways
    }
    ordered = sorted((task for each in tasks.values() for task in each), key=lambda task: task.seed)
    carry_out_all(ordered, arguments.num_proc)
    for subjects in arguments.sizes:
        print(f"\n{subjects} training subjects")
        tables = {way: pd.concat([pd.read_csv(task.path) for task in tasks[subjects, way]]) for way in ways}
        print(*differences(tables), sep="\n")


if __name__ == "__main__":
    main()
