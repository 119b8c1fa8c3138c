"""Make the model in the package anew: train it on drawn motion, score it on rendered clips, put it in its place.

    python scripts/make_default_model.py [--output-dir runs/default-model] [--num-proc 2] [--confidence-only]

A quarter of an hour on two cores. What its card says by hand is in src/mer_hf/hub/packaged/default/notes.md. The
temperature and the threshold come with the training; --confidence-only fits them anew to the weights that are there.
"""

import argparse
import json
import shutil
from pathlib import Path

import mer_hf
from mer_hf.drawn.embedded import synthesize
from mer_hf.files import write_json
from mer_hf.hub.cards import without_paths, write_card
from mer_hf.hub.catalogue import put_version
from mer_hf.hub.packaged import PACKAGED
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.training.drawn import drawn_confidence
from mer_hf.training.runs import DRAWN_BECAUSE, believe

RECIPE = Path(__file__).parent / "recipes" / "action-units.yaml"
SUBJECTS, CLIPS, SEED = 30, 3, 7
RENDERED = "rendered faces"
DEFAULT_MODEL = PACKAGED["default"]


def main() -> None:
    """Train, score, and write the files of the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/default-model"))
    parser.add_argument("--num-proc", type=int, default=2, help="processes that render and prepare (%(default)s)")
    parser.add_argument("--confidence-only", action="store_true", help="keep the weights, fit the rest")
    arguments = parser.parse_args()
    if arguments.confidence_only:
        fit_confidence()
        return
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
    put_version(DEFAULT_MODEL)
    write_card(DEFAULT_MODEL)


def fit_confidence() -> None:
    """Write temperature and threshold of the packaged weights into their configuration, results and card."""
    model = RcnForVideoClassification.from_pretrained(DEFAULT_MODEL).eval()
    model.config.temperature = 1.0
    confidence = drawn_confidence(model)
    believe(model.config, confidence, DRAWN_BECAUSE)
    config, results = (json.loads((DEFAULT_MODEL / f"{name}.json").read_text()) for name in ("config", "results"))
    fitted = {name: getattr(model.config, name) for name in ("temperature", "abstain_below", "abstain_because")}
    write_json(DEFAULT_MODEL / "config.json", dict(sorted({**config, **fitted}.items())))
    write_json(DEFAULT_MODEL / "results.json", {**results, "confidence": confidence})
    write_card(DEFAULT_MODEL)


if __name__ == "__main__":
    main()
