"""What corpora there are, and whether a copy of one is sound: as data, and as lines of text."""

from collections import Counter
from collections.abc import Mapping
from typing import NotRequired, TypedDict

from mer_hf.corpora import CORPORA, find_corpus
from mer_hf.corpora.builder import CorpusBuilder
from mer_hf.corpora.declaration import Counts
from mer_hf.corpora.errors import MerDataError
from mer_hf.corpora.reading import DataDir, Problem, Reading, class_counts, expected_counts


class Release(TypedDict):
    """What a release is said to hold."""

    release: str
    clips: int
    subjects: int | None
    classes: NotRequired[dict[str, int]]


class Description(TypedDict):
    """What is declared of a corpus; ready for JSON."""

    corpus: str
    title: str
    releases: list[Release]
    fps: float
    resolution: list[int]
    label_sets: dict[str, list[str]]
    licence: str
    request: str
    homepage: str
    citation: str
    tree: str


class Clips(TypedDict):
    """Numbers of clips."""

    in_sheet: int
    on_disk: int
    expected: int | None


class Class(TypedDict):
    """The clips of a class."""

    clips: int
    expected: int | None


class Subjects(TypedDict):
    """The people of a copy, and the clips of each."""

    found: int
    expected: int | None
    clips: dict[str, int]


class Report(TypedDict):
    """What `check_corpus` says of a copy; ready for JSON."""

    corpus: str
    title: str
    data_dir: str
    sources: list[str]
    nearest_release: str | None
    clips: Clips
    classes: dict[str, Class]
    subjects: Subjects
    label_sets: dict[str, dict[str, int]]
    left_out: dict[str, int]
    corrections: list[dict[str, str]]
    notes: list[str]
    problems: list[dict[str, str]]


def describe_corpora() -> list[Description]:
    """What is declared of every corpus."""
    return [
        {
            "corpus": corpus.corpus,
            "title": corpus.title,
            "releases": [_release(counts) for counts in corpus.counts],
            "fps": corpus.fps,
            "resolution": list(corpus.resolution),
            "label_sets": {name: corpus.labels(name).class_names for name in _label_sets(corpus)},
            "licence": corpus.license,
            "request": corpus.request,
            "homepage": corpus.homepage,
            "citation": corpus.citation,
            "tree": corpus.tree.strip("\n"),
        }
        for corpus in CORPORA.values()
    ]


def _release(counts: Counts) -> Release:
    release: Release = {"release": counts.release, "clips": counts.clips, "subjects": counts.subjects}
    if counts.classes:
        release["classes"] = dict(counts.classes)
    return release


def _label_sets(corpus: type[CorpusBuilder]) -> list[str]:
    return ["native", *(labels.name for labels in corpus.label_sets)]


def check_corpus(name: str, data_dir: DataDir, corrections: bool = True) -> Report:
    """Read a copy of a corpus and report on it. Everything that is wrong is told at once.

    Args:
        name: A key of `CORPORA`.
        data_dir: As for `load_corpus`.
        corrections: Whether known mistakes of the sheet are put right first.

    Returns:
        What can be written as JSON: `sources`; `clips` in the sheet, on disk and expected; `subjects` and `classes`
        with their clips; `label_sets` with the clips of each class; `corrections` with their outcome; `notes` on
        oddities of the annotation; and `problems`, each of a `kind` and with a `text`, empty for a sound copy.

    Raises:
        ValueError: There is no such corpus.
    """
    corpus = find_corpus(name)
    try:
        reading = corpus.read(data_dir, corrections)
    except MerDataError as error:
        reading = Reading(corpus.title, [], problems=[Problem("cannot be read", str(error))])
    annotations = reading.annotations
    expected = expected_counts(corpus, annotations)
    classes = class_counts(corpus, annotations, expected.label_set if expected else "native")
    unclassed = len(annotations) - classes.total()
    found: dict[str, Class] = {
        name: {"clips": clips, "expected": expected.classes.get(name) if expected else None}
        for name, clips in classes.items()
    }
    if unclassed:
        found["several emotions"] = {"clips": unclassed, "expected": None}
    return {
        "corpus": name,
        "title": corpus.title,
        "data_dir": str(data_dir),
        "sources": reading.sources,
        "nearest_release": expected and expected.release,
        "clips": {
            "in_sheet": len(annotations),
            "on_disk": len(reading.clips),
            "expected": expected and expected.clips,
        },
        "classes": found,
        "subjects": {
            "found": len({annotation.subject for annotation in annotations}),
            "expected": expected and expected.subjects,
            "clips": dict(sorted(Counter(annotation.subject for annotation in annotations).items())),
        },
        "label_sets": {
            label_set: dict(class_counts(corpus, annotations, label_set)) for label_set in _label_sets(corpus)[1:]
        },
        "left_out": dict(sorted(reading.left_out.items())),
        "corrections": [
            {"clip": fix.clip, "outcome": outcome, "source": fix.source} for fix, outcome in reading.corrections
        ],
        "notes": reading.notes,
        "problems": [{"kind": problem.kind, "text": problem.text} for problem in reading.problems],
    }


# --- as text ----------------------------------------------------------------------------------------------------------


def description_lines(corpus: Description) -> list[str]:
    """One of `describe_corpora` for a reader."""
    width, height = corpus["resolution"]
    lines = [f"{corpus['corpus']}: {corpus['title']}, {width}x{height}, {corpus['fps']:g} frames a second"]
    for release in corpus["releases"]:
        subjects = f" of {release['subjects']} subjects" if release["subjects"] else ""
        lines.append(f"  {release['release']}: {release['clips']} clips{subjects}")
        if "classes" in release:
            lines.append(f"    {_counted(release['classes'])}")
    lines += [f"  label set {name}: {', '.join(classes)}" for name, classes in corpus["label_sets"].items()]
    lines.append(f"  licence: {corpus['licence']}")
    lines.append(f"  a copy: {corpus['request']}")
    if corpus["citation"]:
        lines.append(f"  cite: {corpus['citation']}")
    lines.append("  on disk:")
    return lines + [f"    {line}" for line in corpus["tree"].splitlines()]


def report_lines(report: Report) -> list[str]:
    """A report of `check_corpus` for a reader."""
    lines = [f"{report['title']} in {report['data_dir']}"]
    lines += [f"  {source}" for source in report["sources"]]
    if report["sources"]:
        clips, subjects = report["clips"], report["subjects"]
        lines.append(f"  clips: {clips['in_sheet']} annotated, {clips['on_disk']} with frames{_of(clips)}")
        lines.append(f"  subjects: {subjects['found']}{_of(subjects)}; {_counted(subjects['clips'])}")
        lines.append("  classes:")
        lines += [f"    {name}: {found['clips']}{_of(found)}" for name, found in report["classes"].items()]
        lines += [f"  label set {name}: {_counted(found)}" for name, found in report["label_sets"].items()]
        if report["left_out"]:
            lines.append(f"  left out: {_counted(report['left_out'])}")
    lines += [f"  correction of {fix['clip']}: {fix['outcome']} ({fix['source']})" for fix in report["corrections"]]
    lines += [f"  note: {note}" for note in report["notes"]]
    problems = report["problems"]
    lines += [f"  PROBLEM ({problem['kind']}): {problem['text']}" for problem in problems]
    lines.append(f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "nothing is wrong")
    # a folder may have a name in no Unicode, which cannot be printed
    return [line.encode(errors="backslashreplace").decode() for line in lines]


def _of(found: Clips | Class | Subjects) -> str:
    return "" if found["expected"] is None else f", {found['expected']} expected"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {clips}" for name, clips in counts.items())
