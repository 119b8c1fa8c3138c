"""Long recordings as the network that finds expressions learns from them.

    a recording -> motion of its faces, moment by moment, kept on disk -> what is coded: targets of every moment
      -> Recorded -> pieces, cut at random from the recordings of one side of a fold, and drawn ones beside them

What is kept is named after the frames on disk, their numbers and rate, and the code that touches pixels.
"""

import hashlib
import io
import itertools
import math
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import datasets.config
import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from tqdm.auto import tqdm

from mer_hf.analysis.recordings import RecordingRow, recording_frames
from mer_hf.drawn.sequences import LOWER_UNITS, NEAR, RATE, TARGETS, UPPER_UNITS
from mer_hf.evaluation.units import coded_units
from mer_hf.files import write_atomically
from mer_hf.rcn.configuration_spotting_rcn import RcnSpottingConfig
from mer_hf.rcn.motion_rcn import GRID, ResidualMotion
from mer_hf.rcn.pipeline_spotting_rcn import TASK, FaceMotion, MicroExpressionSpottingPipeline
from mer_hf.rcn.spotting_rcn import RcnForSpotting, moment_input
from mer_hf.training.clips import feed
from mer_hf.training.spotting import SpottingRecipe, drawn_batches

MOMENT = np.dtype([("span", "<i4"), ("seconds", "<f8"), ("field", "<f2", (2, *GRID)), ("head", "<f2"), ("fit", "<f2")])
"""What is kept of a moment: which span of a face it is in, when it is, its residual motion."""
TOUCHES_PIXELS = ("sources", "decoding", "faces", "motion", "tracking", "pipeline_spotting")
"""The files of the Hub room that motion follows from."""
PIECE = 150  # moments, 6 s, of a piece; drawn sequences are cut to as many
AROUND = 0.5  # of the pieces, cut around something that is coded; the others lie anywhere
OPEN = 0.5  # seconds around a coded blink in which the eye is taken to be open; elsewhere nobody has told
LONGEST_END = 3.0  # seconds after its apex that an expression without an offset may take
SPEECH, BLINK, MACRO = (TARGETS.index(name) for name in ("speech", "blink", "macro"))
PARTS = (UPPER_UNITS, LOWER_UNITS)


class Recorded(NamedTuple):
    """A recording that can be learnt from.

    Attributes:
        row: as `mer_hf.load_recordings` gives it, but for its frames; of their numbers it has the first and the last.
        moments: (T,) `MOMENT`, of all faces, span after span.
        key: by which its motion is kept.
    """

    row: RecordingRow
    moments: np.ndarray
    key: str


# --- the motion of a recording, once ---


def load_motion(recordings: Dataset, num_proc: int | None = None, progress: bool = False) -> list[Recorded]:
    """The motion of the faces of recordings, kept in the cache of `datasets` for the next time.

    Args:
        recordings: as `mer_hf.load_recordings` returns.
        num_proc: number of processes that watch.
        progress: whether a bar is shown.

    Raises:
        VideoError: a frame cannot be read; the recording is named.
    """
    num_proc = num_proc or 1
    rows, paths = [], []
    for row in cast(Iterator[RecordingRow], recordings):
        paths.append(motion_path(row))
        rows.append(RecordingRow({**row, "frames": [], "numbers": [row["numbers"][0], row["numbers"][-1]]}))
    waiting = [place for place, path in enumerate(paths) if not path.exists()]
    jobs = ((cast(RecordingRow, recordings[place]), paths[place]) for place in waiting)
    with tqdm(total=len(waiting), desc="motion", disable=not progress or not waiting) as bar:
        if num_proc == 1 or len(waiting) < 2:
            for job in jobs:
                _watch(job)
                bar.update()
        else:
            context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
            with ProcessPoolExecutor(num_proc, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                while some := list(itertools.islice(jobs, 4 * num_proc)):  # not the frames of all at once
                    for _ in pool.map(_watch, some):
                        bar.update()
    return [Recorded(row, np.load(path, mmap_mode="r"), path.stem) for row, path in zip(rows, paths, strict=True)]


def motion_path(row: RecordingRow) -> Path:
    """Where the motion of a recording is kept, or would be."""
    digest = hashlib.sha256(repr((MOMENT.descr, RATE, row["fps"], row["numbers"])).encode())
    code = Path(__file__).parents[1] / "rcn"
    for name in TOUCHES_PIXELS:
        digest.update((code / f"{name}_rcn.py").read_bytes())
    feed(digest, row["frames"])
    return Path(datasets.config.HF_DATASETS_CACHE) / "mer_hf-recordings" / f"{digest.hexdigest()[:32]}.npy"


def _watch(job: tuple[RecordingRow, Path]) -> None:
    """Keep the motion of a recording."""
    row, path = job
    spot = MicroExpressionSpottingPipeline(
        model=RcnForSpotting(RcnSpottingConfig()), task=TASK, device="cpu", classifier=None
    )
    file = io.BytesIO()
    np.save(file, moments_of(spot.motion(recording_frames(row))))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, file.getvalue())


def moments_of(faces: Sequence[FaceMotion]) -> np.ndarray:
    """What is kept of faces, (T,) `MOMENT`."""
    moments: np.ndarray = np.zeros(sum(len(face.seconds) for face in faces), MOMENT)
    begin = 0
    for span, face in enumerate(faces):
        part: np.ndarray = moments[begin : begin + len(face.seconds)]
        part["span"], part["seconds"] = span, face.seconds
        for name, values in zip(ResidualMotion._fields, face.motion, strict=True):
            part[name] = values.numpy()
        begin += len(part)
    return moments


def input_of(moments: np.ndarray) -> Tensor:
    """What the network sees of moments: (T, 4, rows, columns) float32."""
    return moment_input(ResidualMotion(*(torch.from_numpy(moments[n].astype("f4")) for n in ResidualMotion._fields)))


def spans_of(moments: np.ndarray) -> list[np.ndarray]:
    """The moments of each span by itself."""
    return np.split(moments, 1 + np.flatnonzero(np.diff(moments["span"]))) if len(moments) else []


# --- what is coded ---


def targets_of(row: RecordingRow, seconds: np.ndarray, codes_macro: bool) -> np.ndarray:
    """What is true of moments by what is coded, (T, 11) float32 in the order of `TARGETS`; NaN where nobody has told.

    Macro-expressions are expressions too, and at the same time macro. An event is of the upper, of the lower face, or
    of both, by its action units; where none is coded, of both. Nobody codes speech, and blinks only some of them. Where
    an event ends at its apex, as those do whose offset is not known, what follows is not told.

    Args:
        row: the recording.
        seconds: (T,), of the moments, from its first frame.
        codes_macro: whether macro-expressions are coded, so that there is none elsewhere.
    """
    targets = np.zeros((len(seconds), len(TARGETS)), np.float32)
    targets[:, [SPEECH, BLINK]] = np.nan
    if not codes_macro:
        targets[:, MACRO] = np.nan
    for event in row["events"]:
        onset, apex, offset = (_seconds(row, event[name]) for name in ("onset", "apex", "offset"))
        within = (seconds >= onset) & (seconds <= offset)
        for part in _parts(event["action_units"]):
            _tell(targets[:, 4 * part : 4 * part + 4], seconds, within, (onset, apex, offset))
        if event["kind"] == "macro":
            targets[within, MACRO] = 1
    for blink in row["blinks"]:
        onset, offset = _seconds(row, blink["onset"]), _seconds(row, blink["offset"])
        around = (seconds >= onset - OPEN) & (seconds <= offset + OPEN)
        targets[around, BLINK] = np.fmax(targets[around, BLINK], 0)
        targets[(seconds >= onset) & (seconds <= offset), BLINK] = 1
    return targets


def _tell(targets: np.ndarray, seconds: np.ndarray, within: np.ndarray, moments: tuple[float, ...]) -> None:
    """Write an event into the targets (T, 4) of a part of the face."""
    _, apex, offset = moments
    targets[within, 0] = 1
    if apex == offset:
        after = (seconds > offset) & (seconds < offset + LONGEST_END)
        for place in (0, 3):
            targets[after & (targets[:, place] == 0), place] = math.nan
        moments = moments[:2]
    for place, moment in enumerate(moments, start=1):
        if math.isnan(moment):
            targets[within & (targets[:, place] == 0), place] = math.nan
            continue
        value = np.exp(-(((seconds - moment) / NEAR) ** 2) / 2)
        near = value > 0.01
        targets[near, place] = np.fmax(targets[near, place], value[near])


def _seconds(row: RecordingRow, number: int | None) -> float:
    return math.nan if number is None else (number - row["numbers"][0]) / row["fps"]


def _parts(text: str | None) -> list[int]:
    """Which parts of the face move, 0 the upper, 1 the lower; both where nothing says which."""
    units = coded_units(text) or set()
    return [part for part, known in enumerate(PARTS) if units & known] or [0, 1]


# --- pieces ---


class Side:
    """The recordings of one side of a fold: what a network learns from, and nothing else.

    Args:
        recorded: those of the people of this side.
    """

    def __init__(self, recorded: Sequence[Recorded]) -> None:
        self.spans: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []
        self.coded: dict[str, list[tuple[int, int]]] = {}
        """kind -> span and moment of what is coded and was seen"""
        self.codes_macro = any(event["kind"] == "macro" for each in recorded for event in each.row["events"])
        for row, moments, _ in recorded:
            for span in spans_of(moments):
                seconds = span["seconds"]
                for event in row["events"]:
                    middle = _seconds(row, event["onset"] if event["apex"] is None else event["apex"])
                    if seconds[0] <= middle <= seconds[-1]:
                        place = len(self.spans), int(np.abs(seconds - middle).argmin())
                        self.coded.setdefault(event["kind"], []).append(place)
                self.spans.append(span)
                self.targets.append(targets_of(row, seconds, self.codes_macro))

    def pieces(self, recipe: SpottingRecipe, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs (B, 150, 4, rows, columns) and targets (B, 150, 11) of each step, cut at random.

        Half of them have something in them that is coded, as often a micro- as a macro-expression. What is beyond the
        end of a span is zero, and not told.
        """
        generator = np.random.default_rng(recipe.seed)
        ends = np.cumsum([len(span) for span in self.spans])
        kinds = sorted(self.coded)
        for _ in range(recipe.steps):
            inputs = torch.zeros(recipe.batch_size, PIECE, 4, *GRID)
            targets = torch.full((recipe.batch_size, PIECE, len(TARGETS)), math.nan)
            for place in range(recipe.batch_size):
                if kinds and generator.random() < AROUND:
                    events = self.coded[kinds[generator.integers(len(kinds))]]
                    number, moment = events[generator.integers(len(events))]
                else:
                    anywhere = int(generator.integers(ends[-1]))
                    number = int(np.searchsorted(ends, anywhere, side="right"))
                    moment = anywhere - int(ends[number]) + len(self.spans[number])
                first = moment - int(generator.integers(PIECE))
                first = max(min(first, len(self.spans[number]) - PIECE), 0)
                cut = self.spans[number][first : first + PIECE]
                inputs[place, : len(cut)] = input_of(cut)
                targets[place, : len(cut)] = torch.from_numpy(self.targets[number][first : first + PIECE])
            yield inputs.to(device), targets.to(device)

    def batches(self, recipe: SpottingRecipe, drawn: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """As `pieces`, with so many drawn pieces beside each.

        Where macro-expressions are coded, those that are drawn are not told to be none.
        """
        if not drawn:
            yield from self.pieces(recipe, device)
            return
        count = recipe.batch_size * drawn
        both = replace(recipe, batch_size=-(-count // 2), pieces=2, seconds=2 * PIECE / RATE)
        beside = drawn_batches(both, None, device)
        for (inputs, targets), (more, told) in zip(self.pieces(recipe, device), beside, strict=True):
            if self.codes_macro:
                told = told.clone()
                for part in (slice(0, 4), slice(4, 8)):
                    longer = (told[..., MACRO] > 0) & (told[..., part.start] == 0)
                    told[..., part] = told[..., part].masked_fill(longer[..., None], math.nan)
            yield torch.cat([inputs, more[:count]]), torch.cat([targets, told[:count]])


def facts_of(recorded: Sequence[Recorded]) -> Iterator[Mapping[str, object]]:
    """What a training follows from of each recording, for a digest."""
    for row, _, key in recorded:
        yield {**{name: value for name, value in row.items() if name != "frames"}, "motion": key}


__all__ = [
    "MOMENT",
    "Recorded",
    "Side",
    "facts_of",
    "input_of",
    "load_motion",
    "moments_of",
    "motion_path",
    "spans_of",
    "targets_of",
]
