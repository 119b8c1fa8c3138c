"""Find the faces and the motion of all clips once, on all cores, as the training of the same recipe would do first."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from mer_hf.commands import CommandError

USAGE = """usage: mer-hf prepare [RECIPE.yaml] [--OPTION VALUE ...]

Find the faces and the motion of all clips, and keep them in the cache of datasets: what training does first, on all
cores. It takes the recipe and the options of the training, see `mer-hf train --help`, and prepares just what that
training reads.

example:
  mer-hf prepare scripts/recipes/rcn-best.yaml --dataset casme2 --data-dir /data/CASME2"""


def run(argv: Sequence[str]) -> int:
    """Run the command with what stands behind its name."""
    if not argv or argv[-1] in ("-h", "--help", "--help-all"):
        print(USAGE)
        return 0 if argv else 2
    from datasets import Dataset

    from mer_hf.corpora.recordings import load_recordings
    from mer_hf.training.clips import FROM_PICTURES, check_dataset, clips_of_recipe, prepare
    from mer_hf.training.plan import make_plan
    from mer_hf.training.recipe import parse_recipe
    from mer_hf.training.recordings import load_motion

    recipe, arguments = parse_recipe(argv)
    if recipe.is_spotting:
        recordings = load_recordings(recipe.dataset, recipe.data_dir, recipe.fps)
        load_motion(recordings, recipe.num_proc or os.cpu_count(), progress=True)
        print(f"the motion of {len(recordings)} recordings of {recipe.dataset} is prepared")
        return 0
    if recipe.is_drawn:
        raise CommandError(f"{recipe.dataset} is drawn while it is trained on; there is nothing to prepare")
    clips = clips_of_recipe(recipe)
    if check_dataset(clips) not in FROM_PICTURES:
        raise CommandError(f"{recipe.dataset} holds ready inputs; there is nothing to prepare")
    plan = make_plan(recipe, arguments, clips)
    started = time.monotonic()
    dataset = cast(Dataset, plan.dataset)
    prepared = prepare(dataset, plan.processor, recipe.num_proc or os.cpu_count())
    folder = Path(prepared.cache_files[0]["filename"]).parent
    print(f"{len(prepared)} clips of {recipe.dataset} are prepared ({time.monotonic() - started:.1f} s), in {folder}")
    for clip, problems in zip(dataset["clip_id"], prepared["problems"], strict=True):
        if problems:
            print(f"{clip}: {'; '.join(problems)}")
    return 0
