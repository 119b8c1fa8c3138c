"""Train and test a model by a recipe, in one process or several.

    accelerate launch scripts/train.py                               # the embedded corpus
    accelerate launch scripts/train.py scripts/recipes/default.yaml --seeds 3 --output_dir runs/three-seeds
    torchrun --nproc_per_node 2 scripts/train.py                     # two processes share the folds out
    accelerate launch scripts/train.py --evaluate-only --model default --dataset DIR   # score a saved model
    accelerate launch scripts/train.py --help                        # every option

It is `mer-hf train`, with scripts/recipes/default.yaml where a training names no recipe.
"""

import sys
from pathlib import Path

from mer_hf.commands import main

DEFAULT_RECIPE = Path(__file__).parent / "recipes" / "default.yaml"

if __name__ == "__main__":
    argv = sys.argv[1:]
    trains = not {"--evaluate-only", "--evaluate_only"} & set(argv)
    if trains and (not argv or argv[0].startswith("-")):
        argv = [str(DEFAULT_RECIPE), *argv]
    sys.exit(main(["train", *argv]))
