"""Make the model in the package anew: train it on drawn motion, score it on rendered clips, put it in its place.

    python scripts/make_default_model.py [--output-dir runs/default-model] [--num-proc 2]

A quarter of an hour on two cores. What its card says by hand is in src/mer_hf/hub/packaged/default/notes.md.
"""

import argparse
import shutil
from pathlib import Path

import mer_hf
from mer_hf.drawn.embedded import synthesize
from mer_hf.hub.cards import without_paths, write_card
from mer_hf.hub.packaged import PACKAGED
from mer_hf.training.folds import write_json

RECIPE = Path(__file__).parent / "recipes" / "action-units.yaml"
SUBJECTS, CLIPS, SEED = 30, 3, 7
RENDERED = "rendered faces"
DEFAULT_MODEL = PACKAGED["default"]


def main() -> None:
    """Train, score, and write the files of the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/default-model"))
    parser.add_argument("--num-proc", type=int, default=2, help="processes that render and prepare (%(default)s)")
    arguments = parser.parse_args()
    trained, corpus = (arguments.output_dir / name for name in ("trained", "rendered"))
    outcome = mer_hf.train(RECIPE, output_dir=trained)
    outcome.save(trained)
    if not corpus.exists():
        synthesize(corpus, subjects=SUBJECTS, clips=CLIPS, seed=SEED, num_proc=arguments.num_proc)
    rendered = mer_hf.load_dataset("synthetic", corpus)
    on_clips = mer_hf.score(trained / "model", rendered, num_proc=arguments.num_proc).scores

    units = on_clips["action_units"]["macro_f1"]
    results = {**outcome.results, "evaluations": {RENDERED: {**on_clips["pooled"], "action_unit_f1": units}}}
    for name in ("config.json", "model.safetensors", "video_preprocessor_config.json"):
        shutil.copyfile(trained / "model" / name, DEFAULT_MODEL / name)
    write_json(DEFAULT_MODEL / "results.json", without_paths(results))
    write_card(DEFAULT_MODEL)


if __name__ == "__main__":
    main()
