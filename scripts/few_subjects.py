"""What are the clips of few subjects good for? Makes the table and the plot of the README.

    python scripts/few_subjects.py [--output-dir runs/few-subjects] [--plot hub_cards/few_subjects.png]

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

import mer_hf
from mer_hf.drawn.embedded import synthesize
from mer_hf.training.trainer import many_small_steps

RECIPES = Path(__file__).parent / "recipes"
SIZES, POOL, SUBJECTS, SIZE, CORPUS_SEED = (3, 6, 12), 16, 32, 192, 2
FLAGGED = {"face_problems": "flag"}  # a closed eye or a dark face is missed in a frame or two
PACKAGED, CLIPS, AVERAGE, JOINT = "packaged, as it is", "clips only", "their average", "joint"


def measure(corpus: Path, seeds: int) -> Iterator[dict[str, str | int | float]]:
    """UF1 of every way on the held-out subjects: `way`, `subjects`, `seed`, `uf1`."""
    dataset = mer_hf.load_dataset("synthetic", corpus)
    packaged = mer_hf.open_model("default")
    packaged.processor.face_problems = FLAGGED["face_problems"]
    names = sorted(set(dataset["subject"]))
    held_out = dataset.filter(lambda row: row["subject"] in names[POOL:])

    def uf1(model: mer_hf.RcnForVideoClassification) -> float:
        return mer_hf.score(packaged._replace(model=model), held_out).scores["pooled"]["uf1"]

    yield {"way": PACKAGED, "subjects": 0, "seed": 0, "uf1": uf1(packaged.model)}
    for seed, subjects in tqdm([(seed, count) for seed in range(seeds) for count in SIZES]):
        chosen = set(np.random.default_rng(seed).permutation(names[:POOL])[:subjects])
        seen = dataset.filter(lambda row, chosen=chosen: row["subject"] in chosen)
        options = {"protocol": "none", "seed": seed, "average_seeds": False, "processor": FLAGGED}
        clips_only = mer_hf.train(RECIPES / "rcn-best.yaml", seen, **options).model
        trained = {
            CLIPS: clips_only,
            AVERAGE: mer_hf.RcnForVideoClassification.average([clips_only, packaged.model]),
            JOINT: mer_hf.train(RECIPES / "joint.yaml", seen, **options).model,
        }
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
    parser.add_argument("--output-dir", type=Path, default=Path("runs/few-subjects"))
    parser.add_argument("--plot", type=Path, default=Path("hub_cards/few_subjects.png"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--num-proc", type=int, default=2, help="processes that render (%(default)s)")
    arguments = parser.parse_args()
    corpus = arguments.output_dir / "corpus"
    if not corpus.exists():
        synthesize(corpus, subjects=SUBJECTS, size=SIZE, seed=CORPUS_SEED, num_proc=arguments.num_proc)
    with many_small_steps():
        measured = pd.DataFrame(measure(corpus, arguments.seeds))
    measured.to_csv(arguments.output_dir / "few_subjects.csv", index=False)
    plot(measured, arguments.plot)
    table = measured.groupby(["way", "subjects"], sort=False).uf1.agg(["mean", "std"]).unstack()
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
