"""`mer-hf compare`: whether one system is better than another on the same clips."""

import argparse
import json
from pathlib import Path

from mer_hf.errors import MerHfError

DESCRIPTION = """\
Print by how much UF1, UAR and accuracy of each pair of systems differ, with 95 % intervals over resampled
subjects and seeds, Holm's correction where there are several pairs, the clips on which they disagree each
way, and the smallest difference that these clips can show. Clips are paired by clip_id."""
EXAMPLE = "mer-hf compare runs/rcn runs/other/predictions.csv --picture differences.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs, or tables of predictions")
    parser.add_argument("--names", nargs="+", help="what to call them (default: their folders)")
    parser.add_argument(
        "--seeds",
        choices=("averaged", "paired"),
        default="averaged",
        help="draw the seeds of each apart, or the same for all (default: %(default)s)",
    )
    parser.add_argument(
        "--format", choices=("text", "json", "markdown", "latex"), default="text", help="default: %(default)s"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the differences; needs matplotlib")
    parser.add_argument("--draws", type=int, default=2000, help="draws of subjects and seeds (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison."""
    from mer_hf.evaluation.comparison import compare, comparison_lines, comparison_table, draw_comparison
    from mer_hf.evaluation.predictions import names_of_runs, read_predictions

    if arguments.draws < 100:
        raise MerHfError(f"--draws is {arguments.draws}; an interval needs 100 at least")
    names = names_of_runs(arguments.runs, arguments.names)
    systems = {name: read_predictions(path) for name, path in zip(names, arguments.runs, strict=True)}
    comparison = compare(systems, arguments.seeds, arguments.draws)
    if arguments.format == "json":
        lines = [json.dumps(comparison.to_dict(), indent=2)]
    elif arguments.format == "text":
        lines = comparison_lines(comparison)
    else:
        lines = comparison_table(comparison, arguments.format)
    print("\n".join(lines))
    if arguments.picture is not None:
        try:
            draw_comparison(comparison, arguments.picture)
        except ModuleNotFoundError as error:
            raise MerHfError('the picture is drawn with matplotlib: pip install "mer-hf[inspect]"') from error
    return 0
