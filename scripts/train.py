"""Train and test a model by a recipe, in one process or several.

    accelerate launch scripts/train.py                               # the embedded corpus
    accelerate launch scripts/train.py scripts/recipes/default.yaml --seeds 3 --output-dir runs/three-seeds
    torchrun --nproc_per_node 2 scripts/train.py                     # two processes share the folds out
    accelerate launch scripts/train.py --help                        # the options

It is `mer-hf train`, with scripts/recipes/default.yaml where no recipe is named.
"""

import sys
from pathlib import Path

from mer_hf.commands import main

DEFAULT_RECIPE = Path(__file__).parent / "recipes" / "default.yaml"

if __name__ == "__main__":
    argv = sys.argv[1:]
    if not argv or argv[0].startswith("-"):
        argv = [str(DEFAULT_RECIPE), *argv]
    sys.exit(main(["train", *argv]))
