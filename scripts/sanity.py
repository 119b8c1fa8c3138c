"""Does the embedded corpus measure what it should? Prints the table of the README; resumes where it was stopped.

    torchrun --nproc_per_node 2 scripts/sanity.py [--output-dir runs/sanity] [--seeds 3]

Runs the default recipe and its controls, leave one subject out: over several seeds with and without temporal jittering,
and on labels shuffled within subjects, where nothing can be learnt; over one seed, because they take longest, the other
connectivities. A linear classifier on the mean frame of each clip, which sees no motion, shows what faces give away.
torchrun shares the folds out; python alone trains all of them.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from datasets import Dataset

import mer_hf
from mer_hf.metrics import scores
from mer_hf.protocols import leave_one_subject_out
from mer_hf.rcn.decoding_rcn import load_video
from mer_hf.training.leaks import shuffle_within_subjects

RECIPES = Path(__file__).parent / "recipes"
Row = tuple[float, float, float]
"""UF1, its standard deviation over seeds, and UAR."""


def row(outcome: mer_hf.Outcome | None) -> Row | None:
    """Mean and deviation of the scores over seeds; None in all processes but the first."""
    if outcome is None:
        return None
    return outcome.scores["mean"]["uf1"], outcome.scores["sd"]["uf1"], outcome.scores["mean"]["uar"]


def mean_frame_control(dataset: Dataset) -> Row:
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
    return found["uf1"], 0.0, found["uar"]


def print_table(rows: dict[str, Row | None]) -> None:
    """Print named rows; nothing in all processes but the first, whose rows alone are there."""
    if None in rows.values():
        return
    width = max(map(len, rows))
    print(f"\n{'':{width}}  UF1    (sd)      UAR")
    for name, (uf1, deviation, uar) in rows.items():
        print(f"{name:{width}}  {uf1:.3f}  ({deviation:.3f})  {uar:.3f}")


def main() -> None:
    """Run everything, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/sanity"))
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the runs of the default (%(default)s)")
    arguments = parser.parse_args()
    where, seeds = arguments.output_dir, arguments.seeds
    dataset = mer_hf.load_dataset("synthetic", num_proc=2)
    shuffled = shuffle_within_subjects(dataset)
    default, one_seed = RECIPES / "default.yaml", "connectivity, one seed"
    rows = {
        "default": row(mer_hf.train(default, dataset, where / "default", seeds=seeds)),
        "default without jitter": row(mer_hf.train(default, dataset, where / "no-jitter", seeds=seeds, jitter=False)),
        "labels shuffled within subjects": row(mer_hf.train(default, shuffled, where / "shuffled", seeds=seeds)),
        f"appearance {one_seed}": row(mer_hf.train(RECIPES / "appearance.yaml", dataset, where / "appearance")),
        f"sequence {one_seed}": row(mer_hf.train(RECIPES / "sequence.yaml", dataset, where / "sequence")),
        "linear classifier on the mean frame": mean_frame_control(dataset),
    }
    print_table(rows)


if __name__ == "__main__":
    main()
