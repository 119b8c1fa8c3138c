"""What leaks: the same person or clip on both sides of a fold, under two names.

a dataset, or a run's predictions -> audit_names (cheap) and audit_pictures -> Audit -> audit_lines
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import cast

import cv2
import numpy as np
import pandas as pd
from datasets import Dataset
from PIL.Image import Image as Picture

from mer_hf.errors import MerHfError

SAME_PEOPLE = (frozenset({"smic", "smic-vis", "smic-nir"}), frozenset({"samm", "samm-lv"}))
"""Corpora that recorded the same people."""

PERSON = re.compile(r"(?:participant|subject|subj|sub|spno|sp|s|p)?[\s._-]*0*(\d+)", re.IGNORECASE)
"""How subjects are spelt: s1, S01, sub01, spNO.1, 006, 1."""

SIDE = 32
"""Height and width of a thumbnail."""
FRAMES = 32
"""At most so many frames of a clip are looked at, evenly spread."""
SMALLEST = 16
"""Frames of fewer pixels a side are not compared: they do not show who it is."""
OTHERS = 0.01
"""Thumbnails of two people, or two pictures of motion, are nearly the same up to this 1 - correlation. Copies as JPEG
of quality 30, at half the size, mirrored, or with noise of 4 grey levels are up to .0014 apart; drawn people .39."""
ONE_PERSON = 0.0015
"""Those of two clips of one person, which are alike anyway: drawn ones are .003 apart or more. They must also be nearer
to each other than `STILL` of what moves in the clip itself."""
STILL = 0.3


@dataclass(frozen=True)
class Finding:
    """Something that leaks, or may.

    Args:
        kind: what kind of leak it is.
        text: what was found, and what to do.
        clips: ids of the clips that it is about, a few of them.
    """

    kind: str
    text: str
    clips: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Args:
        findings: all of them.
        clips: how many were looked at.
        compared: how many of these have pictures that could be compared with one another.
    """

    findings: tuple[Finding, ...]
    clips: int
    compared: int = 0

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return asdict(self)


def audit_dataset(dataset: Dataset) -> Audit:
    """Audit clips by their names, intervals and pictures.

    Args:
        dataset: clips with `subject`, and where there are `clip_id`, `corpus`, `label`, `onset`, `offset`, and
            pictures: `frames`, `flow` or `pixel_values_videos`.
    """
    text = [name for name in ("clip_id", "corpus", "subject", "onset", "offset") if name in dataset.column_names]
    table = pd.DataFrame({name: dataset[name] for name in text})
    if "clip_id" not in table:
        table["clip_id"] = [f"row {row}" for row in range(len(table))]
    label = dataset.features.get("label")
    if label is not None:
        table["label"] = [label.names[each] if hasattr(label, "names") else str(each) for each in dataset["label"]]
    if "frames" in dataset.column_names:
        table["files"] = [tuple(frame["path"] for frame in row if frame["path"]) for row in dataset["frames"]]
    pictures, compared = audit_pictures(dataset, table)
    return Audit((*audit_names(table), *pictures), len(table), compared)


def audit_names(table: pd.DataFrame) -> tuple[Finding, ...]:
    """The cheap checks: spellings, people, classes, intervals, folds.

    Args:
        table: a row for each clip (and seed) with `clip_id` and `subject`; where there are, `corpus`, `label`, `onset`
            and `offset` (frame numbers, inclusive), `files` (the frames on disk), `fold` and `seed`.

    Raises:
        MerHfError: `clip_id` or `subject` is not there.
    """
    missing = [name for name in ("clip_id", "subject") if name not in table]
    if missing:
        raise MerHfError(f"an audit needs the columns clip_id and subject; {' and '.join(missing)} is not there")
    seeds = table.seed if "seed" in table else pd.Series(0, index=table.index)
    first = table[seeds == seeds.iloc[0]] if len(table) else table
    corpora = first.corpus if "corpus" in first else first.subject.str.rpartition("/")[0]
    first = first.assign(corpus=corpora.fillna(""))
    checks = (_ids, _corpora, _people, _classes, _intervals, _files, _folds)
    return tuple(finding for check in checks for finding in check(first))


def audit_lines(audit: Audit) -> list[str]:
    """An audit for a reader."""
    lines = [f"{finding.kind}: {finding.text}" for finding in audit.findings]
    compared = f", the pictures of {audit.compared} compared" if audit.compared else ", no pictures compared"
    found = f"{len(lines)} found" if lines else "nothing found"
    return [*lines, f"{audit.clips} clips{compared}: {found}"]


def warning_line(findings: Sequence[Finding]) -> str:
    """One line about what was found, such as a run prints of its data; empty where nothing was."""
    if not findings:
        return ""
    kinds = ", ".join(f"{kind} ({count})" for kind, count in Counter(each.kind for each in findings).items())
    return f"the data may leak: {kinds}; `mer-hf audit` tells more"


# --- names ---


def _ids(table: pd.DataFrame) -> Iterable[Finding]:
    for clip_id, rows in table[table.duplicated("clip_id", keep=False)].groupby("clip_id", sort=False):
        text = f"{clip_id} stands for {len(rows)} clips; predictions cannot be joined to them"
        yield Finding("clip id twice", text, (clip_id,))


def _corpora(table: pd.DataFrame) -> Iterable[Finding]:
    spellings: dict[str, list[str]] = {}
    for corpus in dict.fromkeys(table.corpus):
        spellings.setdefault(re.sub(r"[\W_]", "", corpus).casefold(), []).append(corpus)
    for names in spellings.values():
        if len(names) > 1:
            yield Finding("corpus in two spellings", f"{' and '.join(names)} may be one corpus, with the same people")


def person(subject: str) -> str:
    """Who a subject is, however it is spelt: `casme2/sub01`, `S1` and `01` are `1`."""
    name = subject.rpartition("/")[2].strip()
    number = PERSON.fullmatch(name)
    return number[1] if number else re.sub(r"[\W_]", "", name).casefold()


def _people(table: pd.DataFrame) -> Iterable[Finding]:
    pairs = table[["corpus", "subject"]].drop_duplicates()
    family = {name: " ".join(sorted(group)) for group in SAME_PEOPLE for name in group}
    families = pairs.corpus.map(lambda name: family.get(name.casefold(), name.casefold()))
    for _, rows in pairs.assign(person=pairs.subject.map(person), family=families).groupby(["family", "person"]):
        names = list(dict.fromkeys(rows.subject))
        for _, spelt in rows.groupby("corpus"):
            if len(spelt) > 1:
                text = f"{', '.join(spelt.subject)} may be one person, held out by one name and trained on by another"
                yield Finding("one subject in two spellings", text)
        if rows.corpus.nunique() > 1 and len(names) > 1:
            recorded = ", ".join(dict.fromkeys(rows.corpus))
            text = f"{', '.join(names)}: {recorded} recorded the same people, who need one name each"
            yield Finding("subject shared by corpora", text)
    for subject, rows in pairs.groupby("subject", sort=False):
        if len(rows) > 1:
            text = f"{subject} is in {', '.join(rows.corpus)}: hold people out, not corpora; or name two people apart"
            yield Finding("subject shared by corpora", text)


def _classes(table: pd.DataFrame) -> Iterable[Finding]:
    if "label" not in table or table.subject.nunique() < 2:
        return
    for label, rows in table.groupby("label"):
        if rows.subject.nunique() == 1:
            text = f"only {rows.subject.iloc[0]} shows {label}: held out, it cannot be learnt; its score says who it is"
            yield Finding("class of one subject", text, tuple(rows.clip_id[:3]))


def _intervals(table: pd.DataFrame) -> Iterable[Finding]:
    if "onset" not in table or "offset" not in table:
        return
    numbers = table.assign(onset=pd.to_numeric(table.onset), offset=pd.to_numeric(table.offset))
    videos = numbers.assign(video=numbers.clip_id.str.rpartition("@")[0]).dropna(subset=["onset", "offset"])
    for _, rows in videos[videos.video != ""].groupby(["corpus", "subject", "video"]):
        clips = list(rows.sort_values("onset")[["clip_id", "onset", "offset"]].itertuples(index=False))
        for one, other in itertools.combinations(clips, 2):
            shared = min(one.offset, other.offset) - max(one.onset, other.onset) + 1
            if 2 * shared >= min(one.offset - one.onset, other.offset - other.onset) + 1:
                text = f"{one.clip_id} and {other.clip_id} share {shared:g} frames by their frame numbers"
                yield Finding("clip in another's interval", text, (one.clip_id, other.clip_id))


def _files(table: pd.DataFrame) -> Iterable[Finding]:
    if "files" not in table:
        return
    owners: dict[str, list[int]] = {}
    for row, files in enumerate(table.files):
        for file in dict.fromkeys(files):
            owners.setdefault(file, []).append(row)
    shared: dict[tuple[int, int], int] = {}
    for rows in owners.values():
        for pair in itertools.combinations(rows, 2):
            shared[pair] = shared.get(pair, 0) + 1
    for pair, count in shared.items():
        if 2 * count >= min(len(table.files.iloc[row]) for row in pair):
            names = tuple(table.clip_id.iloc[row] for row in pair)
            yield Finding("frames of another clip", f"{names[0]} and {names[1]} share {count} files of frames", names)


def _folds(table: pd.DataFrame) -> Iterable[Finding]:
    if "fold" not in table or table.fold.nunique() < 2:
        return
    folds = table.groupby("subject").fold.nunique()
    split = folds[folds > 1]
    if len(split):
        text = (
            f"{len(split)} subjects are held out in several folds, among them {split.index[0]} in {split.iloc[0]}: "
            "other clips of theirs were trained on, so the scores say nothing about people who are new"
        )
        yield Finding("subject on both sides", text)


# --- pictures ---


def audit_pictures(dataset: Dataset, table: pd.DataFrame) -> tuple[tuple[Finding, ...], int]:
    """Clips that are the same, or nearly, under two subjects or two names, by thumbnails of their frames or motion.

    Args:
        dataset: with `frames`, `flow` or `pixel_values_videos`; of several, the first of these is looked at.
        table: `clip_id`, `subject` and perhaps `label` of its rows.

    Returns:
        What was found, and how many clips have pictures that could be compared.
    """
    column = next((name for name in ("frames", "flow", "pixel_values_videos") if name in dataset.column_names), None)
    if column is None:
        return (), 0
    thumbnails = (_thumbnails(row[column], column) for row in dataset.select_columns([column]))
    prints = {row: thumbs for row, thumbs in enumerate(thumbnails) if thumbs is not None}
    subjects = table.subject.to_numpy()
    findings = []
    for one, other in _alike(prints, column):
        for mirrored in (False, True):
            first = _mirrored(prints[one], column) if mirrored else prints[one]
            if _nearly_the_same(first, prints[other], subjects[one] == subjects[other]):
                findings.append(_same_clip(table, (one, other), mirrored))
                break
    return tuple(findings), len(prints)


def _alike(prints: Mapping[int, np.ndarray], column: str) -> list[tuple[int, int]]:
    """Pairs of clips whose mean pictures are alike, as they are or mirrored: the only ones worth a closer look."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for row, thumbs in prints.items():
        shapes.setdefault(thumbs.shape[1:], []).append(row)
    pairs = []
    for members in shapes.values():
        means = _flat(np.stack([prints[row].mean(axis=0) for row in members]))
        turned = _flat(np.stack([_mirrored(prints[row], column).mean(axis=0) for row in members]))
        alike = np.maximum(means @ means.T, turned @ means.T)
        pairs += [(members[one], members[other]) for one, other in np.argwhere(np.triu(alike >= 0.9, 1))]
    return pairs


def _same_clip(table: pd.DataFrame, pair: tuple[int, int], mirrored: bool) -> Finding:
    one, other = (table.iloc[row] for row in pair)
    two_people = one.subject != other.subject
    how = "mirrored, nearly the same pictures as" if mirrored else "nearly the same pictures as"
    text = f"{one.clip_id} shows {how} {other.clip_id}"
    if two_people:
        text += f", of {one.subject} and {other.subject}"
    if "label" in table and one.label != other.label:
        text += f", called {one.label} and {other.label}"
    kind = "one clip under two subjects" if two_people else "one clip under two names"
    return Finding(kind, text, (one.clip_id, other.clip_id))


def _nearly_the_same(first: np.ndarray, second: np.ndarray, one_person: bool) -> bool:
    """Whether all frames of one are among those of the other."""
    first, second = _flat(first), _flat(second)
    distance = 1 - max(_least_alike(first, second), _least_alike(second, first))
    if not one_person or len(first) == len(second) == 1:
        return distance <= OTHERS
    moves = min(1 - _least_alike(each, each[:1]) for each in (first, second))
    return distance <= min(ONE_PERSON, STILL * moves)


def _least_alike(frames: np.ndarray, others: np.ndarray) -> float:
    """How well the frame that fits worst is found among the others, as a correlation; (frames, values) each."""
    return float((frames @ others.T).max(axis=1).min())


def _flat(thumbs: np.ndarray) -> np.ndarray:
    """(frames, channels, height, width) -> (frames, values), each of unit length."""
    values = thumbs.reshape(len(thumbs), -1)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _mirrored(thumbs: np.ndarray, column: str) -> np.ndarray:
    """As a mirror shows them: motion to the left (the first channel of flow) is then motion to the right."""
    turned = thumbs[..., ::-1]
    if column == "frames" or thumbs.shape[1] < 2:
        return turned
    return np.concatenate([-turned[:, :1], turned[:, 1:]], axis=1)


def _thumbnails(pictures: object, column: str) -> np.ndarray | None:
    """(frames, channels, height, width), each channel around its mean; None for pictures that show too little."""
    if column == "frames":
        decoded = [_decoded(frame) for frame in _evenly(cast(Sequence[dict], pictures))]
        frames = [frame[None] for frame in decoded if frame is not None and min(frame.shape) >= SMALLEST]
        if not frames or len(frames) < len(decoded):
            return None
    elif isinstance(pictures, Picture):
        frames = [np.atleast_3d(np.asarray(pictures)).transpose(2, 0, 1)]
    else:
        array = np.asarray(pictures, dtype=np.float32)
        frames = _evenly(array if array.ndim == 4 else array[None])
    thumbs = np.stack([[_small(channel) for channel in frame] for frame in frames])
    thumbs -= thumbs.mean(axis=(2, 3), keepdims=True)
    return thumbs if (np.abs(thumbs).max(axis=(1, 2, 3)) > 0).all() else None


def _small(channel: np.ndarray) -> np.ndarray:
    """At most `SIDE` pixels a side."""
    size = tuple(min(SIDE, each) for each in channel.shape[::-1])
    return cv2.resize(channel, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _evenly(frames: Sequence | np.ndarray) -> list:
    places = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)) if len(frames) else ()
    return [frames[place] for place in places]


def _decoded(frame: dict) -> np.ndarray | None:
    if frame.get("bytes"):
        return cv2.imdecode(np.frombuffer(frame["bytes"], np.uint8), cv2.IMREAD_GRAYSCALE)
    return cv2.imread(frame["path"], cv2.IMREAD_GRAYSCALE)


__all__ = [
    "Audit",
    "Finding",
    "audit_dataset",
    "audit_lines",
    "audit_names",
    "audit_pictures",
    "person",
    "warning_line",
]
