"""`mer-hf score`: score a saved model on all clips of a dataset."""

import argparse
from pathlib import Path

from datasets import Dataset

from mer_hf.commands.train import score_lines
from mer_hf.data import load_dataset
from mer_hf.training.recipe import DRAWN, HELP, json_object
from mer_hf.training.runs import score

DESCRIPTION = """\
Score a saved model on all clips of a dataset; nothing is trained. Clips of people that the model was trained on are
counted."""
EXAMPLE = "mer-hf score default --dataset casme2 --data-dir /data/CASME2 --output-dir runs/default-on-casme2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("model", help="folder of a model, its name on the Hub, or default: the one in the package")
    parser.add_argument("--dataset", required=True, help=f"{HELP['dataset']}: drawn motion")
    parser.add_argument("--data-dir", "--data_dir", help=HELP["data_dir"])
    parser.add_argument("--label-set", "--label_set", help=HELP["label_set"])
    parser.add_argument("--fps", type=float, help=HELP["fps"])
    parser.add_argument("--processor", help=HELP["processor"])
    parser.add_argument("--num-proc", "--num_proc", type=int, help=HELP["num_proc"])
    parser.add_argument("--batch-size", "--batch_size", type=int, default=64, help="clips at once (64)")
    parser.add_argument("--output-dir", "--output_dir", type=Path, help="where to write predictions.csv, results.json")


def run(arguments: argparse.Namespace) -> int:
    """Score, print, and write where a folder is named."""
    clips: Dataset | str = DRAWN
    if arguments.dataset != DRAWN:
        options = (arguments.data_dir, arguments.label_set, arguments.fps, arguments.num_proc)
        clips = load_dataset(arguments.dataset, *options)
    processor = json_object("processor", arguments.processor)
    outcome = score(arguments.model, clips, processor, arguments.batch_size, arguments.num_proc)
    lines = score_lines(outcome)
    if outcome.scores.get("clips_of_training_subjects"):
        seen = outcome.scores["clips_of_training_subjects"]
        lines.append(f"{seen} of the clips show subjects that the model was trained on")
    if arguments.output_dir is not None:
        lines.append(f"results.json and what was predicted are in {outcome.save(arguments.output_dir)}")
    print("\n".join(lines))
    return 0
