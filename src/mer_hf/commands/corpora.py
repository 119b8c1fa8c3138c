"""`mer-hf corpora`: list the corpora, or check a copy of one."""

import argparse
import json

from mer_hf.commands import CommandError
from mer_hf.corpora import CORPORA, find_corpus
from mer_hf.corpora.check import check_corpus, describe_corpora, description_lines, report_lines
from mer_hf.corpora.recordings import RECORDINGS, find_recordings, read_recordings, recordings_lines

DESCRIPTION = """\
List the corpora that can be read: clips, subjects, classes, licence, how to come by a copy, and how it lies on disk;
`mer-hf corpora list NAME`: of one.
`mer-hf corpora check NAME --recordings` reads the long recordings of samm-lv, casme_squared, casme3 or smic-e.
`mer-hf corpora check NAME` reads a copy and says everything that is wrong with it: clips in the sheet and on disk,
missing frames, counts of classes and subjects, corrections. Its exit status is 1 when something is wrong."""
EXAMPLE = "mer-hf corpora check casme2 --data-dir /data/CASME2 --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("action", nargs="?", choices=("list", "check"), default="list", help="%(choices)s (list)")
    parser.add_argument(
        "corpus", metavar="NAME", nargs="?", help="the corpus to check, or the one to list, e.g. casme2"
    )
    parser.add_argument("--data-dir", help="folder of the copy; for megc2019 also smic=DIR,casme2=DIR,samm=DIR")
    parser.add_argument("--recordings", action="store_true", help="check the long recordings, with all that is coded")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """List, or check."""
    if arguments.action == "check":
        if arguments.corpus is None or arguments.data_dir is None:
            raise CommandError("say which copy to check: mer-hf corpora check NAME --data-dir DIR")
        if arguments.recordings or (arguments.corpus in RECORDINGS and arguments.corpus not in CORPORA):
            return _check_recordings(arguments)
        report = check_corpus(arguments.corpus, arguments.data_dir)
        print(json.dumps(report, indent=2) if arguments.json else "\n".join(report_lines(report)))
        return 1 if report["problems"] else 0
    corpora = describe_corpora()
    if arguments.corpus is not None:
        wanted = find_corpus(arguments.corpus).corpus
        corpora = [corpus for corpus in corpora if corpus["corpus"] == wanted]
    if arguments.json:
        print(json.dumps(corpora, indent=2))
    else:
        print("\n\n".join("\n".join(description_lines(corpus)) for corpus in corpora))
    return 0


def _check_recordings(arguments: argparse.Namespace) -> int:
    corpus = find_recordings(arguments.corpus)
    read = read_recordings(corpus, arguments.data_dir)
    if arguments.json:
        problems = [{"kind": problem.kind, "text": problem.text} for problem in read.problems]
        said = {"corpus": corpus.corpus, "sources": read.sources, **read.counts._asdict()}
        print(json.dumps({**said, "notes": [note.text for note in read.notes], "problems": problems}, indent=2))
    else:
        print("\n".join(recordings_lines(corpus, read)))
    return 1 if read.problems else 0
