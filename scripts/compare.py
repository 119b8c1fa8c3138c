"""Does the project's own recipe beat the published ones? Prints the table of the README; resumes where it was stopped.

    python scripts/compare.py [--num_proc 2] [--output_dir runs/compare] [--seeds 3] [--data_dir DIR]

Runs RCN, RCN-A, RCN-S and RCN-W with the training of their release, and `rcn-best`, leave one subject out, and beside
them the classical control. The corpus is the embedded one, of other subjects and at a size at which the motion is a
fraction of a pixel; `--data_dir` names another folder that `mer-hf synthesize` wrote.
"""

import argparse
import json
from pathlib import Path

from mer_hf.drawn.embedded import synthesize
from sanity import run

RECIPES = ("rcn", "rcn-a", "rcn-s", "rcn-w", "rcn-best")
SUBJECTS, SIZE, SEED = 12, 96, 1


def main() -> None:
    """Run everything, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/compare"))
    parser.add_argument("--num_proc", type=int, default=2, help="processes that share the folds (default: 2)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each recipe (default: 3)")
    parser.add_argument("--data_dir", type=Path, help="of a synthetic corpus (default: it is rendered)")
    arguments = parser.parse_args()
    corpus = arguments.data_dir or arguments.output_dir / "corpus"
    if not corpus.exists():
        synthesize(corpus, subjects=SUBJECTS, size=SIZE, seed=SEED, num_proc=arguments.num_proc)
    options = ("--data_dir", str(corpus), "--seeds", str(arguments.seeds), "--control", "true")
    rows = {}
    for name in RECIPES:
        rows[name] = run(f"{name}.yaml", arguments.output_dir / name, arguments.num_proc, *options)
    control = json.loads((arguments.output_dir / RECIPES[-1] / "results.json").read_text())["control"]
    rows["PCA and RBF machine"] = {"uf1": control["uf1"], "sd": 0.0, "uar": control["uar"]}
    print(f"\n{'':20}  UF1    (sd)      UAR")
    for name, row in rows.items():
        print(f"{name:20}  {row['uf1']:.3f}  ({row['sd']:.3f})  {row['uar']:.3f}")


if __name__ == "__main__":
    main()
