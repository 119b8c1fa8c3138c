"""`mer-hf audit`: what leaks in a dataset or in the predictions of a run."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mer_hf.errors import MerHfError

if TYPE_CHECKING:
    from mer_hf.evaluation.audit import Audit

DESCRIPTION = """\
Look for what makes a score too good: nearly the same clip under two subjects or two names, one subject in two
spellings, people who are in several corpora, clips that lie in another clip's interval, a class that one
subject alone shows, subjects on both sides of a fold. Exit status 1 where something is found.

SOURCE is a corpus by name (with --data-dir), the folder of a saved datasets.Dataset, a table of predictions, or
the folder of a run. A run is also trained again, which takes as long as one of its seeds: on labels that are
shuffled within subjects, where its score must fall to chance, and with other clips held out, which must not
change the weights of their fold. --quick looks at its names and folds only."""
EXAMPLE = "mer-hf audit casme2 --data-dir /data/CASME2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("source", metavar="SOURCE", help="a corpus, a saved dataset, a run, or predictions.csv")
    parser.add_argument("--data-dir", help="folder of the corpus; of several also smic=DIR,samm=DIR")
    parser.add_argument("--label-set", default="3class", help="classes of the corpus (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="train nothing again")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print what was found."""
    from mer_hf.evaluation.audit import audit_lines

    audit = _audited(arguments)
    print(json.dumps(audit.to_dict(), indent=2) if arguments.json else "\n".join(audit_lines(audit)))
    return 1 if audit.findings else 0


def is_trained(folder: Path) -> bool:
    """Whether a folder holds a run that trained, and not the scores of a saved model."""
    results = folder / "results.json"
    try:
        return results.exists() and "recipe" in json.loads(results.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MerHfError(f"{results} is not JSON: {error}") from error


def _audited(arguments: argparse.Namespace) -> "Audit":
    from mer_hf.corpora import CORPORA
    from mer_hf.data import corpora_of, load_dataset
    from mer_hf.evaluation.audit import Audit, audit_dataset, audit_names
    from mer_hf.evaluation.predictions import read_predictions

    path = Path(arguments.source)
    if corpora_of(arguments.source):
        return audit_dataset(load_dataset(arguments.source, arguments.data_dir, arguments.label_set))
    if is_trained(path) and not arguments.quick:
        from mer_hf.training.leaks import audit_run

        return audit_run(path, arguments.data_dir)
    if path.suffix == ".csv" or (path / "predictions.csv").exists():
        table = read_predictions(path)
        return Audit(audit_names(table), table.clip_id.nunique())
    if (path / "dataset_info.json").exists():
        return audit_dataset(load_dataset(path))
    raise MerHfError(
        f"{arguments.source} is neither a corpus ({', '.join(CORPORA)}), nor the folder of a saved dataset or of a run"
    )
