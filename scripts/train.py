"""Train and test a model by a recipe, in one process or several.

    accelerate launch scripts/train.py                               # the embedded corpus
    accelerate launch scripts/train.py scripts/recipes/default.yaml --seeds 3 --output-dir runs/three-seeds
    accelerate launch --num_processes 4 scripts/train.py --task spotting --dataset smic-e --data-dir /data/SMIC
    torchrun --nproc_per_node 2 scripts/train.py                     # two processes share the folds out
    accelerate launch scripts/train.py --help                        # the options

It is `mer-hf train`, with scripts/recipes/default.yaml, or spotting.yaml, where no recipe is named.
"""

import itertools
import sys
from pathlib import Path

from mer_hf.commands import main

RECIPES = Path(__file__).parent / "recipes"

if __name__ == "__main__":
    argv = sys.argv[1:]
    if not argv or argv[0].startswith("-"):
        spots = "--task=spotting" in argv or ("--task", "spotting") in itertools.pairwise(argv)
        argv = [str(RECIPES / ("spotting.yaml" if spots else "default.yaml")), *argv]
    sys.exit(main(["train", *argv]))
