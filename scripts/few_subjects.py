"""What are the clips of few subjects good for? Makes the table and the plot of the README.

    python scripts/few_subjects.py [--output_dir runs/few-subjects] [--plot hub_cards/few_subjects.png]

On rendered faces, through detection, alignment and DIS flow: networks are trained on the clips of 3, 6 and 12 subjects,
and scored on those of 16 others. Beside them stand the model in the package, which has seen no clip, the average of the
two, and one network of clips and drawn motion. Every figure is the mean over seeds, each with other training subjects.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from mer_hf import RcnForVideoClassification, load_corpus
from mer_hf.drawn.embedded import synthesize
from mer_hf.hub.models import open_model
from mer_hf.metrics import scores
from mer_hf.training.clips import samples
from mer_hf.training.recipe import parse_recipe
from mer_hf.training.trainer import build_config, many_small_steps, predict, train

RECIPES = Path(__file__).parent / "recipes"
SIZES, POOL, SUBJECTS, SIZE, CORPUS_SEED = (3, 6, 12), 16, 32, 128, 2
PACKAGED, CLIPS, AVERAGE, JOINT = "packaged, as it is", "clips only", "their average", "joint"


def measure(corpus: Path, seeds: int, num_proc: int) -> Iterator[dict]:
    """UF1 of every way on the held-out subjects: `way`, `subjects`, `seed`, `uf1`."""
    dataset = load_corpus("synthetic", corpus, num_proc=num_proc)
    packaged, processor = open_model("default")
    clips = samples(dataset, processor, num_proc)
    names = sorted(set(dataset["subject"]))
    held_out = [clip for clip, subject in zip(clips, dataset["subject"], strict=True) if subject in names[POOL:]]
    recipes = {
        way: parse_recipe([str(RECIPES / name)]) for way, name in ((CLIPS, "rcn-best.yaml"), (JOINT, "joint.yaml"))
    }

    def uf1(model: RcnForVideoClassification) -> float:
        told = predict(model, held_out, processor).logits.argmax(1)
        return scores([clip["label"] for clip in held_out], told.tolist(), 3)["uf1"]

    yield {"way": PACKAGED, "subjects": 0, "seed": 0, "uf1": uf1(packaged)}
    for seed, subjects in tqdm([(seed, count) for seed in range(seeds) for count in SIZES]):
        chosen = set(np.random.default_rng(seed).permutation(names[:POOL])[:subjects])
        seen = [clip for clip, subject in zip(clips, dataset["subject"], strict=True) if subject in chosen]
        trained = {}
        for way, (recipe, arguments) in recipes.items():
            config = build_config(recipe, dataset)
            trained[way] = train(seen, config, processor, recipe, arguments, seed).model
        trained[AVERAGE] = RcnForVideoClassification.average([trained[CLIPS], packaged])
        for way, model in trained.items():
            yield {"way": way, "subjects": subjects, "seed": seed, "uf1": uf1(model)}


def plot(measured: pd.DataFrame, path: Path) -> None:
    """UF1 over the number of training subjects, with a standard deviation to either side."""
    figure = Figure(figsize=(6.4, 3.8), dpi=150, layout="constrained")
    axes = figure.subplots()
    packaged = measured[measured.way == PACKAGED].uf1.item()
    axes.axhline(packaged, color="0.4", linestyle="--", label=f"{PACKAGED} (no clip)")
    for number, way in enumerate((CLIPS, AVERAGE, JOINT)):
        rows = measured[measured.way == way].groupby("subjects").uf1
        places = np.array(SIZES) * 1.03 ** (number - 1)  # side by side on the logarithmic axis
        axes.errorbar(places, rows.mean(), rows.std(), marker="o", capsize=3, label=way)
    axes.set_xscale("log", base=2)
    axes.set_xticks(SIZES, [str(size) for size in SIZES])
    axes.minorticks_off()
    axes.set(xlabel="subjects whose clips were trained on", ylabel="UF1 on 16 other subjects")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    """Measure, print the table, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/few-subjects"))
    parser.add_argument("--plot", type=Path, default=Path("hub_cards/few_subjects.png"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--num_proc", type=int, default=2, help="processes that render and prepare (default: 2)")
    arguments = parser.parse_args()
    corpus = arguments.output_dir / "corpus"
    if not corpus.exists():
        synthesize(corpus, subjects=SUBJECTS, size=SIZE, seed=CORPUS_SEED, num_proc=arguments.num_proc)
    with many_small_steps():
        measured = pd.DataFrame(measure(corpus, arguments.seeds, arguments.num_proc))
    measured.to_csv(arguments.output_dir / "few_subjects.csv", index=False)
    plot(measured, arguments.plot)
    table = measured.groupby(["way", "subjects"], sort=False).uf1.agg(["mean", "std"]).unstack()
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
