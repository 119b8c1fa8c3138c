"""`mer-hf spot-scores`: score the model that finds events on the long recordings of a corpus."""

import argparse
from pathlib import Path

from mer_hf.corpora.recordings import RECORDINGS, load_recordings

DESCRIPTION = """\
Watch every recording of a corpus, those in which nothing is coded too, and print F1 of micro- and macro-expressions and
of both, STRS where emotions are coded, false finds a minute, recall at one of them, and the errors of onset, apex and
offset; intervals over subjects. Nothing is trained."""
EXAMPLE = "mer-hf spot-scores casme_squared --data-dir /data/CASME_sq --out runs/spotted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("corpus", metavar="NAME", help=f"{', '.join(RECORDINGS)}")
    parser.add_argument("--data-dir", required=True, help="folder of the copy")
    parser.add_argument("--fps", type=float, help="frames per second of the frames on disk, where thinned")
    parser.add_argument("--model", default="default", help="folder or name of the model (the one in the package)")
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:0")
    parser.add_argument("--threshold", type=float, help="least score of an event (the model's)")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where to write spotted.csv, truth.csv, results.json")


def run(arguments: argparse.Namespace) -> int:
    """Watch, score, print."""
    from transformers.utils import logging

    from mer_hf.analysis.recordings import watch_recordings
    from mer_hf.analysis.results import load_spotter
    from mer_hf.evaluation.recordings import recording_score_lines, score_recordings
    from mer_hf.files import write_atomically, write_json

    logging.disable_progress_bar()
    recordings = load_recordings(arguments.corpus, arguments.data_dir, arguments.fps)
    spot = load_spotter(arguments.model, arguments.device)
    threshold = spot.model.config.threshold if arguments.threshold is None else arguments.threshold
    watched = watch_recordings(recordings, spot, progress=True)
    scored = score_recordings(*watched, threshold)
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_atomically(arguments.out / "spotted.csv", watched.found.to_csv(index=False))
        write_atomically(arguments.out / "truth.csv", watched.truth.to_csv(index=False))
        write_json(arguments.out / "results.json", {"threshold": threshold, **scored})
    print("\n".join(recording_score_lines(scored)))
    return 0
