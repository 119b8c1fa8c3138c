"""What do image sequences, recurrence, jitter and drawn motion bring? Ablations on rendered faces, paired by clip.

    python scripts/sequences.py [--output-dir runs/sequences] [--corpora 5] [--seeds 5] [--sizes 3 6 12] [--ways ...]

For each corpus (a seed of the embedded one, at a size at which motion is a fraction of a pixel), number of training
subjects, and seed, networks are trained on the clips of so many subjects and predict those of the others, through the
whole front end. Prints UF1 of every way, and the differences that decide with 95 % intervals over subjects and seeds.
A training that is finished is kept, so the command goes on where it was stopped.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset
from tqdm import tqdm

import mer_hf
from mer_hf.drawn.embedded import synthesize
from mer_hf.evaluation.comparison import compare
from mer_hf.hub.models import Recogniser
from mer_hf.training.recipe import read_recipe
from mer_hf.training.trainer import many_small_steps

RECIPES = Path(__file__).parent / "recipes"
POOL, SIZE = 12, 96  # subjects that may be trained on; pixels of a frame
GREY = {"connectivity": "sequence", "num_channels": 1, "num_frames": 8, "image_size": [64, 48]}
WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "flow picture": ("rcn-best", {}),
    "flow picture, no jitter": ("rcn-best", {"jitter": False}),
    "flow sequence": ("sequence", {}),
    "flow sequence, no jitter": ("sequence", {"jitter": False}),
    "flow sequence, no recurrence": ("sequence", {"changed": {"recurrent_steps": 0}}),
    "flow sequence, drawn first": ("sequence", {"start": "default-sequence"}),
    "flow sequence, drawn first, no jitter": ("sequence", {"start": "default-sequence", "jitter": False}),
    "changes": ("sequence", {"changed": {**GREY, "changes": True}}),
    "grey levels": ("sequence", {"changed": GREY}),
    "appearance, changes": ("appearance", {}),
    "appearance, changes, no jitter": ("appearance", {"jitter": False}),
    "appearance, grey levels": ("appearance", {"changed": {"changes": False}}),
}
"""Name -> recipe and what is other than it says; `changed` are fields of the model beside those of the recipe."""
PAIRS = (
    ("flow picture", "flow sequence"),
    ("flow sequence, no recurrence", "flow sequence"),
    ("flow sequence", "flow sequence, drawn first"),
    ("flow picture", "flow sequence, drawn first"),
    ("changes", "flow sequence"),
    ("grey levels", "changes"),
    ("appearance, grey levels", "appearance, changes"),
    ("flow picture, no jitter", "flow picture"),
    ("flow sequence, no jitter", "flow sequence"),
    ("flow sequence, drawn first, no jitter", "flow sequence, drawn first"),
    ("appearance, changes, no jitter", "appearance, changes"),
)
"""Differences that decide: what the second brings over the first."""


def options_of(way: str) -> tuple[Path, dict[str, object]]:
    """The recipe of a way, and the options that it adds."""
    name, options = WAYS[way]
    path, options = RECIPES / f"{name}.yaml", dict(options)
    recipe, _ = read_recipe(path)
    changed = options.pop("changed", {})
    if "start" in options:  # whose configuration it is
        return path, {**options, "preset": "rcn", "model": "{}"}
    return path, {**options, "model": {**recipe.config_fields, **changed}}


def predicted(way: str, corpus: Dataset, number: int, subjects: int, seed: int) -> pd.DataFrame:
    """Train on the clips of some subjects, and predict those of the subjects outside the pool."""
    names = sorted(set(corpus["subject"]))
    chosen = set(np.random.default_rng(seed).permutation(names[:POOL])[:subjects])
    seen = corpus.filter(lambda row: row["subject"] in chosen)
    held_out = corpus.filter(lambda row: row["subject"] not in names[:POOL])
    path, options = options_of(way)
    trained = mer_hf.train(path, seen, protocol="none", seed=seed, average_seeds=False, **options)
    table = mer_hf.score(Recogniser(trained.model, trained.processor), held_out).predictions
    for column in ("clip_id", "subject"):
        table[column] = f"{number}/" + table[column]  # another corpus has other people of the same names
    return table.assign(seed=seed)


def kept(folder: Path, way: str, corpus: Dataset, number: int, subjects: int, seed: int) -> pd.DataFrame:
    """As `predicted`, from its file where there is one."""
    path = folder / "predictions" / f"{way.replace(', ', '-').replace(' ', '-')}-{number}-{subjects}-{seed}.csv"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        predicted(way, corpus, number, subjects, seed).to_csv(path, index=False)
    return pd.read_csv(path)


def main() -> None:
    """Measure, and print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/sequences"))
    parser.add_argument("--corpora", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 6, 12], help="training subjects (3 6 12)")
    parser.add_argument(
        "--held-out", type=int, default=12, help="subjects of a corpus that are predicted (%(default)s)"
    )
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), metavar="NAME")
    parser.add_argument("--num-proc", type=int, default=2, help="processes that render (%(default)s)")
    arguments = parser.parse_args()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    corpora = []
    for number in range(arguments.corpora):
        folder = arguments.output_dir / f"corpus-{number}"
        if not folder.exists():
            people = POOL + arguments.held_out
            synthesize(folder, subjects=people, size=SIZE, seed=20 + number, num_proc=arguments.num_proc)
        corpora.append(mer_hf.load_dataset("synthetic", folder))
    for subjects in arguments.sizes:
        tables = {}
        with many_small_steps():
            for way in tqdm(arguments.ways, desc=f"{subjects} subjects"):
                parts = [
                    kept(arguments.output_dir, way, corpus, number, subjects, seed)
                    for number, corpus in enumerate(corpora)
                    for seed in range(arguments.seeds)
                ]
                tables[way] = pd.concat(parts, ignore_index=True)
        print(f"\n{subjects} training subjects")
        for first, second in PAIRS:
            if first in tables and second in tables:
                (pair,) = compare({first: tables[first], second: tables[second]}, "paired").pairs
                found = next(each for each in pair.differences if each.metric == "uf1")
                low, high = found.interval
                print(
                    f"{first} {found.first:.3f} -> {second} {found.second:.3f}: {found.difference:+.3f} "
                    f"[{low:+.3f}, {high:+.3f}]"
                )


if __name__ == "__main__":
    main()
