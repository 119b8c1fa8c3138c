"""Does the embedded corpus measure what it should? Prints the table of the README; resumes where it was stopped.

    python scripts/sanity.py [--num_proc 2] [--output_dir runs/sanity] [--seeds 3]

Runs the default recipe and its controls, leave one subject out: over several seeds with and without temporal jittering,
and on labels shuffled within subjects, where nothing can be learnt; over one seed, because they take longest, the other
connectivities. Beside them stands a linear classifier on the mean frame of each clip, which sees no motion.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from datasets import Dataset

from mer_hf import load_corpus
from mer_hf.drawn.embedded import default_folder
from mer_hf.metrics import scores
from mer_hf.protocols import leave_one_subject_out
from mer_hf.rcn.decoding_rcn import load_video

SCRIPTS = Path(__file__).parent


def shuffle_within_subjects(dataset: Dataset, seed: int = 0) -> Dataset:
    """The same clips, with the labels of each subject dealt out anew."""
    rng = np.random.default_rng(seed)
    subjects, labels = np.array(dataset["subject"]), np.array(dataset["label"])
    for subject in np.unique(subjects):
        rows = np.flatnonzero(subjects == subject)
        labels[rows] = rng.permutation(labels[rows])
    feature = dataset.features["label"]
    return dataset.remove_columns("label").add_column("label", labels.tolist()).cast_column("label", feature)


def run(recipe: str, output_dir: Path, num_proc: int, *options: str) -> dict[str, float]:
    """Run a recipe in `num_proc` processes that share the folds; the mean and deviation of its scores over seeds."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_proc)]
    command = [*launch, str(SCRIPTS / "train.py"), str(SCRIPTS / "recipes" / recipe), "--output_dir", str(output_dir)]
    subprocess.run([*command, *options], check=True)
    results = json.loads((output_dir / "results.json").read_text())
    return {"uf1": results["mean"]["uf1"], "sd": results["sd"]["uf1"], "uar": results["mean"]["uar"]}


def mean_frame_control(dataset: Dataset) -> dict[str, float]:
    """Ridge regression of the classes on 32 x 32 grey mean frames, leave one subject out."""
    pictures = []
    for frames in dataset["frames"]:
        mean = load_video(frames).frames.mean((0, 3)).astype(np.float32)
        pictures.append(cv2.resize(mean, (32, 32), interpolation=cv2.INTER_AREA).ravel())
    pictures, labels = np.stack(pictures), np.array(dataset["label"])
    targets = np.eye(labels.max() + 1)[labels]
    predictions = np.empty_like(labels)
    for fold in leave_one_subject_out(dataset["subject"]):
        train, test = list(fold.train), list(fold.test)
        centre, scale = pictures[train].mean(0), pictures[train].std()
        x, held_out = (pictures[train] - centre) / scale, (pictures[test] - centre) / scale
        weights = np.linalg.solve(x @ x.T + len(train) * np.eye(len(train)), targets[train] - targets[train].mean(0))
        predictions[test] = (held_out @ x.T @ weights + targets[train].mean(0)).argmax(1)
    found = scores(labels, predictions, targets.shape[1])
    return {"uf1": found["uf1"], "sd": 0.0, "uar": found["uar"]}


def main() -> None:
    """Run everything, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/sanity"))
    parser.add_argument("--num_proc", type=int, default=2, help="processes that share the folds (default: 2)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the runs of the default (default: 3)")
    arguments = parser.parse_args()
    where, num_proc, seeds = arguments.output_dir, arguments.num_proc, ("--seeds", str(arguments.seeds))

    dataset = load_corpus("synthetic", default_folder(num_proc=num_proc), num_proc=num_proc)
    shuffled = where / "shuffled-dataset"
    if not shuffled.exists():
        shuffle_within_subjects(dataset).save_to_disk(shuffled)
    rows = {
        "default": run("default.yaml", where / "default", num_proc, *seeds),
        "default without jitter": run("default.yaml", where / "no-jitter", num_proc, *seeds, "--jitter", "false"),
        "labels shuffled within subjects": run(
            "default.yaml", where / "shuffled", num_proc, *seeds, "--dataset", str(shuffled)
        ),
        "appearance connectivity, one seed": run("appearance.yaml", where / "appearance", num_proc),
        "sequence connectivity, one seed": run("sequence.yaml", where / "sequence", num_proc),
        "linear classifier on the mean frame": mean_frame_control(dataset),
    }
    print(f"\n{'':36}  UF1    (sd)      UAR")
    for name, row in rows.items():
        print(f"{name:36}  {row['uf1']:.3f}  ({row['sd']:.3f})  {row['uar']:.3f}")


if __name__ == "__main__":
    main()
