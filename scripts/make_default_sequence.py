"""Make the sequence model in the package anew: train it on drawn courses, score it on rendered clips, put it in place.

    python scripts/make_default_sequence.py [--output-dir runs/default-sequence] [--num-proc 2]

Minutes on two cores. The rendered clips are those that `default` is scored on (`make_default_model.py`); they are also
scored with onsets and offsets that are wrong by as much as a tenth of a second, and no apex is given or spotted.
"""

import argparse
import re
import shutil
from pathlib import Path

import datasets
import numpy as np
from datasets import Dataset

import mer_hf
from mer_hf.drawn.embedded import synthesize
from mer_hf.files import write_json
from mer_hf.hub.cards import without_paths, write_card
from mer_hf.hub.catalogue import put_version
from mer_hf.hub.packaged import PACKAGED

RECIPE = Path(__file__).parent / "recipes" / "action-unit-sequences.yaml"
SUBJECTS, CLIPS, SEED = 30, 3, 7
WRONG_BY = 0.1  # seconds; the corpus has frames for .05 s before the onset and after the offset, so outwards it is less
SHORTEST = 10  # frames


def with_wrong_ends(clips: Dataset, seed: int = 0) -> Dataset:
    """The same clips of a synthetic corpus on disk, each cut at another onset and offset; without an apex."""
    rng, rows = np.random.default_rng(seed), []
    feature = datasets.List(datasets.Image(decode=False))
    for row in clips.cast_column("frames", feature).to_list():
        folder = Path(row["frames"][0]["path"]).parent
        files = sorted(folder.glob("*.jpg"), key=lambda path: int(re.findall(r"\d+", path.stem)[-1]))
        first = int(re.findall(r"\d+", files[0].stem)[-1])
        shift = np.rint(rng.uniform(-WRONG_BY, WRONG_BY, 2) * row["fps"]).astype(int)
        onset = int(np.clip(row["onset"] - first + shift[0], 0, len(files) - SHORTEST))
        offset = int(np.clip(row["offset"] - first + shift[1], onset + SHORTEST - 1, len(files) - 1))
        frames = [{"path": str(path), "bytes": None} for path in files[onset : offset + 1]]
        rows.append({**row, "frames": frames, "onset": first + onset, "offset": first + offset, "apex": None})
    return Dataset.from_list(rows, features=clips.features)


def make(model: Path, corpus: Path, num_proc: int) -> dict[str, dict[str, object]]:
    """What a trained model scores on rendered clips: as annotated, and with wrong ends."""
    rendered = mer_hf.load_dataset("synthetic", corpus)
    evaluations = {}
    for name, clips in {
        "rendered faces": rendered,
        "rendered faces, onset and offset wrong by up to .1 s": with_wrong_ends(rendered),
    }.items():
        scored = mer_hf.score(model, clips, num_proc=num_proc).scores
        evaluations[name] = {**scored["pooled"], "action_unit_f1": scored["action_units"]["macro_f1"]}
    return evaluations


def main() -> None:
    """Train, score, and write the files of the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/default-sequence"))
    parser.add_argument("--num-proc", type=int, default=2, help="processes that render and prepare (%(default)s)")
    arguments = parser.parse_args()
    trained, corpus = (arguments.output_dir / name for name in ("trained", "rendered"))
    outcome = mer_hf.train(RECIPE, output_dir=trained)
    outcome.save(trained)
    if not corpus.exists():
        synthesize(corpus, subjects=SUBJECTS, clips=CLIPS, seed=SEED, num_proc=arguments.num_proc)
    evaluations = make(trained / "model", corpus, arguments.num_proc)
    folder = PACKAGED["default-sequence"]
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors", "video_preprocessor_config.json"):
        shutil.copyfile(trained / "model" / name, folder / name)
    write_json(folder / "results.json", without_paths({**outcome.results, "evaluations": evaluations}))
    put_version(folder)
    write_card(folder)


if __name__ == "__main__":
    main()
