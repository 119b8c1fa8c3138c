"""Does the project's own recipe beat the published ones? Prints the table of the README; resumes where it was stopped.

    torchrun --nproc_per_node 2 scripts/compare.py [--output-dir runs/compare] [--seeds 3] [--data-dir DIR]

Runs RCN, RCN-A, RCN-S and RCN-W with the training of their release, and `rcn-best`, leave one subject out, and the
classical control. The corpus is the embedded one, of other subjects and at a size at which the motion is a fraction
of a pixel; `--data-dir` names another folder that `mer-hf synthesize` wrote. torchrun shares the folds out.
"""

import argparse
from pathlib import Path

from filelock import FileLock

import mer_hf
from mer_hf.drawn.embedded import synthesize
from sanity import RECIPES, print_table, row

NAMES = ("rcn", "rcn-a", "rcn-s", "rcn-w", "rcn-best")
SUBJECTS, SIZE, SEED = 12, 96, 1


def main() -> None:
    """Run everything, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/compare"))
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each recipe (%(default)s)")
    parser.add_argument("--data-dir", type=Path, help="folder of a synthetic corpus (it is rendered)")
    arguments = parser.parse_args()
    corpus = arguments.data_dir or arguments.output_dir / "corpus"
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(arguments.output_dir / ".corpus.lock"):  # one process renders, the others wait
        if not corpus.exists():
            synthesize(corpus, subjects=SUBJECTS, size=SIZE, seed=SEED, num_proc=2)
    dataset = mer_hf.load_dataset("synthetic", corpus)
    rows = {}
    for name in NAMES:
        folder = arguments.output_dir / name
        outcome = mer_hf.train(
            RECIPES / f"{name}.yaml", dataset, folder, seeds=arguments.seeds, control=name == NAMES[-1]
        )
        rows[name] = row(outcome)
    if outcome is not None:
        control = outcome.scores["control"]
        rows["PCA and RBF machine"] = control["uf1"], 0.0, control["uar"]
    print_table(rows)


if __name__ == "__main__":
    main()
