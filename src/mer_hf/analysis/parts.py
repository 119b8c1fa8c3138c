"""A long video in parts, which several processes watch at once, and which are one again in the end.

length of the file -> parts_of: parts, by the file and the options alone -> watching.watch each -> write_part
  -> read_part -> joined: one `Watched`, with faces that keep their number, and frames counted from the beginning

Parts overlap while they are watched, so that what is said of a moment depends little on where a part begins: events,
times and frames are those of the whole, scores nearly so.
"""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from mer_hf.analysis.pictures import Pictures
from mer_hf.analysis.watching import Edge, Entry, Options, Part, Watched, span_order
from mer_hf.files import write_atomically

LENGTH = 600.0
"""Seconds of a part. A file of less than two of them is watched as a whole."""
SAME = 0.6
"""Eye distances by which the places of one face in two parts may differ."""
TOGETHER = 0.03
"""Seconds between two moments of one time in two parts, each of which counts its moments from its own beginning."""


def parts_of(seconds: float | None, options: Options, length: float = LENGTH) -> list[Part]:
    """The parts in which a video is watched; none where it is watched as a whole.

    Args:
        seconds: how long the file says that it is; None where it does not say.
        options: of which `start` and `end` are looked at.
        length: of a part.
    """
    if seconds is None:
        return []
    start = options.start or 0.0
    end = seconds if options.end is None else min(options.end, seconds)
    count = math.floor((end - start) / length)
    if count < 2:
        return []
    starts = [start + length * number for number in range(count)]
    return [Part(*each) for each in zip(starts, [*starts[1:], options.end], strict=True)]


# --- as files ---


def write_part(path: Path, watched: Watched) -> dict[str, object]:
    """Keep the curves of a part, and give the rest ready for JSON.

    Args:
        path: of the curves, which are written where there are some.
        watched: what was seen.
    """
    if watched.curves:
        buffer = io.BytesIO()
        curves: Any = {str(face): np.stack(rows) for face, rows in watched.curves.items()}
        np.savez(buffer, **curves)
        write_atomically(path, buffer.getvalue())
    pictures = [None if each is None else _as_text(each) for each in watched.pictures]
    return {**vars(replace(watched, curves={})), "pictures": pictures}


def read_part(path: Path, kept: Entry) -> Watched:
    """What `write_part` kept.

    Args:
        path: of the curves.
        kept: what it gave.
    """
    names = ("seconds", "frames", "events", "spans", "problems")
    watched = Watched(**{name: kept[name] for name in names})
    watched.edges = [Edge(*edge) for edge in kept["edges"]]
    watched.pictures = [None if each is None else _from_text(each) for each in kept["pictures"]]
    if path.exists():
        with np.load(path, allow_pickle=False) as curves:
            watched.curves = {int(face): [*curves[face]] for face in curves}
    return watched


def _as_text(pictures: Pictures) -> Entry:
    films = {name: getattr(pictures, name) for name in ("film", "flow")}
    return asdict(pictures) | {n: None if f is None else base64.b64encode(f).decode() for n, f in films.items()}


def _from_text(kept: Entry) -> Pictures:
    films = {name: None if kept[name] is None else base64.b64decode(kept[name]) for name in ("film", "flow")}
    return Pictures(**cast(dict[str, Any], kept | films))


# --- one again ---


def joined(parts: Sequence[Watched]) -> Watched:
    """What was seen in the whole video, from what was seen in its parts, in their order; one that is empty counts."""
    whole = Watched()
    before: list[Edge] = []  # of the part before, by the numbers of the whole
    faces = 0
    for part in parts:
        number, faces = _numbers(part, before, faces)
        for event, pictures in zip(part.events, part.pictures, strict=True):
            frames = {name: event[name] + whole.frames for name in event if name.endswith("_frame")}
            whole.events.append(event | frames | {"face": number[event["face"]]})
            whole.pictures.append(pictures)
        for span in part.spans:
            _add(whole.spans, span | {"face": None if span["face"] is None else number[span["face"]]})
        for face, rows in part.curves.items():
            whole.curves.setdefault(number[face], []).extend(rows)
        before = [edge._replace(face=number[edge.face]) for edge in part.edges]
        whole.problems += [problem for problem in part.problems if problem not in whole.problems]
        whole.frames += part.frames
        whole.seconds = part.seconds if part.frames else whole.seconds
    whole.spans.sort(key=span_order)
    return whole


def _numbers(part: Watched, before: Sequence[Edge], faces: int) -> tuple[dict[int, int], int]:
    """The numbers in the whole of the faces of a part, and how many faces there are now.

    A face is one of the part before where both were at one place at the same time; otherwise it is new.
    """
    known: dict[int, int] = {}
    ours, theirs = _by_face(part.edges), _by_face(before)
    apart = sorted((_distance(ours[new], theirs[old]), old, new) for old in theirs for new in ours)
    for distance, old, new in apart:
        if distance <= SAME and new not in known and old not in known.values():
            known[new] = old
    seen = {*part.curves, *(event["face"] for event in part.events), *(edge.face for edge in part.edges)}
    seen |= {span["face"] for span in part.spans if span["face"] is not None}
    for face in sorted(seen - known.keys()):
        known[face], faces = faces, faces + 1
    return known, faces


def _by_face(edges: Sequence[Edge]) -> dict[int, list[Edge]]:
    return {face: [edge for edge in edges if edge.face == face] for face in {edge.face for edge in edges}}


def _distance(one: Sequence[Edge], other: Sequence[Edge]) -> float:
    """Between two faces at the same times, in eye distances, the median; infinite where they have no time in common."""
    ours, theirs = np.array(one), np.array(other)
    rows, columns = np.nonzero(np.abs(ours[:, None, 1] - theirs[None, :, 1]) <= TOGETHER)
    if not len(rows):
        return math.inf
    apart = np.hypot(*(ours[rows, 2:4] - theirs[columns, 2:4]).T)
    return float(np.median(apart / theirs[columns, 4]))


def _add(spans: list[Entry], span: Entry) -> None:
    """Add a span; one that goes on where another was cut off is the same."""
    for place, old in enumerate(spans):
        alike = all(old[name] == span[name] for name in ("face", "kind", "reason"))
        if alike and old["end"] == span["start"]:
            spans[place] = old | {"end": span["end"]}
            return
    spans.append(span)


__all__ = ["LENGTH", "joined", "parts_of", "read_part", "write_part"]
