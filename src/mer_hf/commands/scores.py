"""`mer-hf scores`: score a table of predictions, or of intervals spotted in long videos."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Print UF1, UAR, accuracy and the confusion matrix of a predictions.csv: of each fold, of all clips together
(the counts of all folds pooled, as MEGC 2019 asks), of each corpus, and of each seed with the mean over
seeds; 95 % intervals over resampled subjects; and the published figures of the same protocol.
Its columns: clip_id, label, predicted; and where there are, subject, corpus, seed and score_<class>.
With action_units (as coded) and unit_AU<number> (probabilities), F1 of each action unit as well.

With --truth, score intervals spotted in long videos: columns video, onset, offset (frames, inclusive), and
where there are, type (micro, macro), and label (of a truth) or predicted (of a find) for STRS."""
EXAMPLE = "mer-hf scores runs/composite/predictions.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("table", type=Path, help="predictions.csv, the folder of a run, or spotted.csv")
    parser.add_argument("--protocol", help="a published protocol whose figures to show (default: that of the run)")
    parser.add_argument("--truth", type=Path, help="the intervals that are there, where TABLE holds spotted ones")
    parser.add_argument("--iou", type=float, default=0.5, help="least overlap of a match (default: %(default)s)")
    parser.add_argument(
        "--matching",
        choices=("best", "first"),
        default="best",
        help="as many matches as can be had, or each find the first truth in order (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the scores."""
    from mer_hf.evaluation.predictions import class_names, read_predictions
    from mer_hf.evaluation.published import figures_of, how_of_run, protocol_of_run, published_lines
    from mer_hf.evaluation.spotted import read_intervals, score_spotted, spotting_lines
    from mer_hf.evaluation.summary import summarise, summary_lines
    from mer_hf.evaluation.units import unit_lines, unit_scores

    if arguments.truth is not None:
        found, truth = read_intervals(arguments.table), read_intervals(arguments.truth)
        lines = spotting_lines(score_spotted(found, truth, arguments.iou, arguments.matching))
        protocol = arguments.protocol
    else:
        table, said = read_predictions(arguments.table), how_of_run(arguments.table)
        classes, units = class_names(table), unit_scores(table)
        lines = [] if said is None else [said, ""]
        if len(classes) > 1 or units is None:
            lines += summary_lines(summarise(table, classes, ("fold", "corpus")))
        if units is not None:
            lines += [*([""] if len(classes) > 1 else []), *unit_lines(units)]
        protocol = arguments.protocol or protocol_of_run(arguments.table)
    if protocol is not None:
        lines += ["", *published_lines(figures_of(protocol))]
    print("\n".join(lines))
    return 0
