"""Make the model in the package anew: train it on drawn motion, score it on rendered clips, put it in its place.

    python scripts/make_default_model.py [--output_dir runs/default-model] [--num_proc 2]

A quarter of an hour on two cores. What its card says by hand is in src/mer_hf/hub/packaged/default/notes.md.
"""

import argparse
import json
import shutil
from pathlib import Path

from mer_hf.commands import main as mer_hf
from mer_hf.drawn.embedded import synthesize
from mer_hf.hub.cards import without_paths, write_card
from mer_hf.hub.packaged import PACKAGED
from mer_hf.training.results import write_json

RECIPE = Path(__file__).parent / "recipes" / "action-units.yaml"
SUBJECTS, CLIPS, SEED = 30, 3, 7
RENDERED = "rendered faces"
DEFAULT_MODEL = PACKAGED["default"]


def run(*argv: str) -> None:
    """A command of mer-hf, which must succeed."""
    if mer_hf(argv) != 0:
        raise SystemExit(f"mer-hf {' '.join(argv)} failed")


def main() -> None:
    """Train, score, and write the files of the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/default-model"))
    parser.add_argument("--num_proc", type=int, default=2, help="processes that render and prepare (default: 2)")
    arguments = parser.parse_args()
    trained, corpus, scored = (arguments.output_dir / name for name in ("trained", "rendered", "scored"))
    run("train", str(RECIPE), "--output_dir", str(trained))
    if not corpus.exists():
        synthesize(corpus, subjects=SUBJECTS, clips=CLIPS, seed=SEED, num_proc=arguments.num_proc)
    on_rendered = ("--dataset", "synthetic", "--data_dir", str(corpus), "--num_proc", str(arguments.num_proc))
    run("train", "--evaluate-only", "--model", str(trained / "model"), *on_rendered, "--output_dir", str(scored))

    results, on_clips = (json.loads((folder / "results.json").read_text()) for folder in (trained, scored))
    units = on_clips["action_units"]["macro_f1"]
    results["evaluations"] = {RENDERED: {**on_clips["pooled"], "action_unit_f1": units}}
    for name in ("config.json", "model.safetensors", "video_preprocessor_config.json"):
        shutil.copyfile(trained / "model" / name, DEFAULT_MODEL / name)
    write_json(DEFAULT_MODEL / "results.json", without_paths(results))
    write_card(DEFAULT_MODEL)


if __name__ == "__main__":
    main()
