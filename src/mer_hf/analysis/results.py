"""A folder of results: what was found in many videos, file by file, so that a run that was stopped goes on.

paths, folders, patterns -> find_videos -> a Job each, of a long video one for each part -> watching
  -> videos/NAME.json, NAME.html, exports -> events.csv, spans.csv, files.csv, curves.parquet

A video is done when its record, videos/NAME.json, is there and belongs to the same file, options and model. Everything
that is joined in the end is read from the records, whoever wrote them.
"""

import csv
import functools
import glob
import hashlib
import io
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm
from transformers import Pipeline, pipeline

from mer_hf.analysis.page import LIMITS, page
from mer_hf.analysis.parts import LENGTH, joined, parts_of, read_part, write_part
from mer_hf.analysis.watching import LEAD, TAIL, Entry, Options, Part, Segment, Watched, classify_segments, watch
from mer_hf.corpora.licence import names_a_gated_corpus
from mer_hf.errors import MerHfError
from mer_hf.exports import FORMATS, Span
from mer_hf.files import check_columns, read_cells, write_atomically
from mer_hf.hub.connection import first_line
from mer_hf.hub.models import model_folder
from mer_hf.hub.packaged import SPOTTER
from mer_hf.rcn.decoding_rcn import announced_seconds
from mer_hf.rcn.pipeline_rcn import TASK as CLASSIFICATION
from mer_hf.rcn.pipeline_rcn import MicroExpressionClassificationPipeline
from mer_hf.rcn.pipeline_spotting_rcn import TASK as SPOTTING
from mer_hf.rcn.pipeline_spotting_rcn import MicroExpressionSpottingPipeline
from mer_hf.rcn.sources_rcn import IMAGE_SUFFIXES, is_address
from mer_hf.rcn.spotting_rcn import OUTPUTS

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "asf", "avi", "dv", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf"),
        *("nut", "ogv", "ts", "vob", "webm", "wmv"),
    )
)
"""What is taken for a video in a folder; a file that is named is taken whatever it is called."""
EVENT_COLUMNS = (
    *("file", "face", "start", "apex", "end", "start_frame", "apex_frame", "end_frame", "kind", "score"),
    *("label", "label_score", "parts", "action_units", "flags"),
)
SPAN_COLUMNS = ("file", "face", "start", "end", "kind", "reason")
FILE_COLUMNS = ("file", "name", "seconds", "frames", "events", "problems", "error")
DEFAULT = "default"
SHORTEST = 60.0
"""Seconds of a part, below which what overlaps is too much of it."""


class AnalysisError(MerHfError):
    """Videos, segments or options that an analysis cannot work with."""


@dataclass(frozen=True)
class Job:
    """A video, or a part of a long one, and what its results are called."""

    video: str
    name: str
    part: Part | None = None
    number: int = 0  # of the part


@dataclass(frozen=True)
class Plan:
    """What the analysis of all videos has in common.

    Args:
        folder: where the results go.
        options: what is looked for.
        exports: keys of `exports.FORMATS`.
        model: of the task micro-expression-spotting, or of the classification where there are segments.
        device: where to compute; by default where `transformers.pipeline` does.
        segments: video -> what somebody has coded in it; None: events are looked for.
        pictures: whether events have pictures; None: those of all videos but the corpora's.
        part_seconds: of which length the parts of a long video are.
    """

    folder: Path
    options: Options
    exports: tuple[str, ...] = ()
    model: str = DEFAULT
    device: str | None = None
    segments: Mapping[str, Sequence[Segment]] | None = None
    pictures: bool | None = None
    part_seconds: float = LENGTH

    def record(self, job: Job) -> Path:
        """Where the record of a video is, or of a part, until the whole is done."""
        folder = self.folder / "videos"
        return folder / f"{job.name}.json" if job.part is None else folder / f"{job.name}.parts/{job.number:03}.json"

    def model_in_memory(self) -> Pipeline:
        """The pipeline of the model, loaded once a process."""
        return _loaded(SPOTTING if self.segments is None else CLASSIFICATION, self.model, self.device)

    def options_for(self, video: str) -> Options:
        """The options for a video; frames of a gated corpus go on no page unless that is wished."""
        pictures = not names_a_gated_corpus(video) if self.pictures is None else self.pictures
        return replace(self.options, pictures=pictures)


@dataclass(frozen=True)
class Analysis:
    """What came out.

    Attributes:
        folder: where the results are.
        videos: how many videos there are.
        events: how many events were found in them.
        failed: video -> why nothing of it was watched.
        doubtful: video -> what is wrong with the file.
    """

    folder: Path
    videos: int
    events: int
    failed: Mapping[str, str] = field(default_factory=dict)
    doubtful: Mapping[str, Sequence[str]] = field(default_factory=dict)


def analyze(
    videos: str | Path | Sequence[str | Path],
    output_dir: str | Path,
    options: Options | None = None,
    exports: Sequence[str] = (),
    segments: str | Path | None = None,
    pictures: bool | None = None,
    model: str = DEFAULT,
    device: str | None = None,
    num_proc: int = 1,
    progress: bool = False,
    part_seconds: float = LENGTH,
) -> Analysis | None:
    """Watch videos, and write what was found into a folder; started again, go on with those that are not done.

    Where `accelerate launch` started several processes, they share the videos out among themselves. A video of twice
    `part_seconds` or more is watched in parts that overlap, by whatever processes there are, and joined in the end.

    Args:
        videos: files, addresses, folders, patterns such as "day*/*.mp4".
        output_dir: the folder, made where it is not there.
        options: what is looked for.
        exports: further files for each video, keys of `mer_hf.exports.FORMATS`.
        segments: a CSV file with the columns file, start, end (seconds): only these are classified.
        pictures: whether pages have pictures of faces; None: not those of videos in a folder named as a gated corpus.
        model: folder or name of the model that finds events, or with segments of the one that names them.
        device: where to compute, such as "cpu" or "cuda:0".
        num_proc: number of processes, a video each, or a part of a long one.
        progress: whether bars are shown.
        part_seconds: length of a part, one minute at least.

    Returns:
        What came out; None in all processes of a launcher but the first.

    Raises:
        AnalysisError: there are no videos, or an option cannot be used.
        MerHfError: the model cannot be used.
        OSError: the folder cannot be written.
    """
    given = [videos] if isinstance(videos, str | Path) else videos
    unknown = sorted(set(exports) - set(FORMATS))
    if unknown:
        raise AnalysisError(f"there is no export {unknown[0]!r}; there are {', '.join(FORMATS)}")
    if num_proc < 1:
        raise AnalysisError(f"num_proc is {num_proc}; give 1 or more")
    if not part_seconds >= SHORTEST:
        raise AnalysisError(f"part_seconds is {part_seconds:g}; parts overlap by {LEAD + TAIL:g} s, give {SHORTEST:g}")
    jobs = jobs_of(find_videos(list(map(str, given))))
    coded = None if segments is None else read_segments(Path(segments), [job.video for job in jobs])
    shown = options or Options()
    plan = Plan(Path(output_dir), shown, tuple(exports), model, device, coded, pictures, part_seconds)
    plan.model_in_memory()
    (plan.folder / "videos").mkdir(parents=True, exist_ok=True)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        return _in_processes(jobs, plan, progress)
    try:
        work(pieces_of(jobs, plan), plan, num_proc, progress)
    finally:  # what was finished before Ctrl-C is in the tables
        analysis = join(jobs, plan)
    return analysis


def _in_processes(jobs: Sequence[Job], plan: Plan, progress: bool) -> Analysis | None:
    """The part of one process of a launcher; the first joins what all of them have found."""
    from accelerate import PartialState

    torch.set_num_threads(1)
    state = PartialState(timeout=timedelta(days=30))  # the first to finish waits for the last
    mine = replace(plan, device=plan.device or str(state.device))
    # large files spread evenly, whatever their order
    pieces = pieces_of(jobs, plan)
    dealt = [piece for rank in range(state.num_processes) for piece in pieces[rank :: state.num_processes]]
    with state.split_between_processes(dealt) as part:
        work(part, mine, 1, progress and state.is_main_process)
    state.wait_for_everyone()
    analysis = join(jobs, plan) if state.is_main_process else None
    state.destroy_process_group()
    return analysis


# --- what there is to do ---


def find_videos(paths: Sequence[str]) -> list[str]:
    """The videos that are meant, each once, in the order in which they are named; those of a folder or pattern by name.

    Args:
        paths: files, addresses, patterns; folders that hold videos at any depth, or the frames of one video.

    Raises:
        AnalysisError: a folder or pattern holds no video, or there is none at all.
    """
    found: dict[str, str] = {}  # a place -> as it is named first
    for path in paths:
        if not is_address(path) and not Path(path).exists() and glob.has_magic(path):
            matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - an absolute pattern too
            videos = [each for match in matches for each in _videos_at(match)]
            if not videos:
                raise AnalysisError(f"no video is named as {path!r} (looked in {Path.cwd()})")
        else:
            videos = _videos_at(path)
        if not videos:
            kinds = ", ".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
            raise AnalysisError(f"{path} holds neither videos ({kinds}) nor images")
        for video in videos:
            found.setdefault(_place_of(video), video)
    if not found:
        raise AnalysisError("no videos are named; give files, folders or patterns")
    return list(found.values())


def _place_of(video: str) -> str:
    """Where a video is, however it is named."""
    return video if is_address(video) else str(Path(video).resolve())


def _videos_at(path: str) -> list[str]:
    if is_address(path) or not Path(path).is_dir():
        return [path]
    inside = sorted(each for each in Path(path).rglob("*") if each.suffix.lower() in VIDEO_SUFFIXES and each.is_file())
    if inside:
        return list(map(str, inside))
    return [path] if any(each.suffix.lower() in IMAGE_SUFFIXES for each in Path(path).iterdir()) else []


def jobs_of(videos: Sequence[str]) -> list[Job]:
    """Names for the results: those of the files without their ends; of several that are alike, each with a mark."""
    stems = [Path(video.split("?")[0] if is_address(video) else video).stem or "video" for video in videos]
    folded = [stem.casefold() for stem in stems]  # some disks take upper case for lower

    def mark(video: str) -> str:
        return hashlib.sha256(_place_of(video).encode(errors="surrogateescape")).hexdigest()[:8]

    return [
        Job(video, stem if folded.count(stem.casefold()) == 1 else f"{stem}-{mark(video)}")
        for video, stem in zip(videos, stems, strict=True)
    ]


def pieces_of(jobs: Sequence[Job], plan: Plan) -> list[Job]:
    """The videos, the parts of long ones in their place: by the files and the options alone, so everywhere the same."""
    pieces = []
    for job in jobs:
        parts = []
        if plan.segments is None and Path(job.video).is_file():
            parts = parts_of(announced_seconds(job.video), plan.options, plan.part_seconds)
        pieces += [replace(job, part=part, number=number) for number, part in enumerate(parts)] or [job]
    return pieces


def read_segments(path: Path, videos: Sequence[str]) -> dict[str, list[Segment]]:
    """Read what somebody has coded: a CSV file with the columns file, start, end, in seconds.

    Args:
        path: of the table.
        videos: which there are; a row names one by its path, or by its name where that is enough.

    Raises:
        AnalysisError: a column is missing, a cell is no number, or a row names no video, or several.
        OSError: it cannot be read.
    """
    table, remarks = read_cells(path, AnalysisError)
    check_columns(table, path, ("file", "start", "end"), AnalysisError)
    segments: dict[str, list[Segment]] = {video: [] for video in videos}
    for line, (file, *cells) in enumerate(zip(table.file, table.start, table.end, strict=True), start=2 + remarks):
        meant = [video for video in videos if file in (video, Path(video).name)]
        if len(meant) != 1:
            raise AnalysisError(f"{path}, row {line}: {file!r} names {len(meant)} of the videos; give its path")
        try:
            start, end = map(float, cells)
        except ValueError as error:
            raise AnalysisError(f"{path}, row {line}: from {cells[0]!r} to {cells[1]!r} are no seconds") from error
        if not 0 <= start < end < float("inf"):
            raise AnalysisError(f"{path}, row {line}: from {start} to {end} s; the end comes after the start")
        segments[meant[0]].append(Segment(start, end))
    return segments


# --- watching ---


def work(jobs: Sequence[Job], plan: Plan, num_proc: int, progress: bool) -> None:
    """Watch the videos and parts that are not done; a bad one leaves a record that says so, and the others go on."""
    waiting = [job for job in jobs if _done(job, plan) is None and _done(replace(job, part=None), plan) is None]
    with _bar(waiting, progress) as advance:
        if num_proc == 1 or len(waiting) < 2:
            for job in waiting:
                advance(job, functools.partial(watch_one, job, plan))
            return
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        with ProcessPoolExecutor(num_proc, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            futures = {pool.submit(watch_one, job, plan): job for job in waiting}
            try:
                for future in as_completed(futures):
                    advance(futures[future], lambda _, done=future: done.result())
            except BrokenProcessPool as error:
                raise AnalysisError(
                    "a process was killed, perhaps for want of memory; the same command goes on with what is not done"
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)


Work = Callable[[Callable[[float], None] | None], None]


@contextmanager
def _bar(jobs: Sequence[Job], progress: bool) -> Any:
    """A bar over all videos, and one over the seconds of each: how much time is left."""
    if not progress:
        yield lambda job, do: do(None)
        return
    lengths = {job: _seconds(job) for job in jobs}
    known = all(length is not None for length in lengths.values())
    unit = {"unit": "s of video", "bar_format": "{l_bar}{bar}| {n:.0f}/{total:.0f} s of video, {remaining} left"}
    options = unit if known else {"unit": "video"}
    total = sum(cast(float, length) for length in lengths.values()) if known else len(jobs)
    with tqdm(total=total, desc="all", disable=not jobs, **options) as overall:

        def advance(job: Job, do: Work) -> None:
            length = lengths[job]
            before = overall.n

            with tqdm(total=length, desc=job.name[:24], leave=False, **(unit if length else {"unit": "s"})) as own:

                def reached(seconds: float) -> None:
                    own.update(max(seconds - own.n, 0))
                    if known:
                        overall.update(max(before + min(seconds, cast(float, length)) - overall.n, 0))

                do(reached)
            overall.update(before + (cast(float, length) if known else 1) - overall.n)

        yield advance


def _seconds(job: Job) -> float | None:
    """How long a video, or a part, says that it is; None where it does not say."""
    seconds = None if is_address(job.video) else announced_seconds(job.video)
    if job.part is None or seconds is None:
        return seconds
    return (job.part.end or seconds) - job.part.start


def watch_one(job: Job, plan: Plan, progress: Callable[[float], None] | None = None) -> None:
    """Watch a video, and write what belongs to it; the record comes last, and makes it done."""
    options = plan.options_for(job.video)
    model = plan.model_in_memory()
    plan.record(job).parent.mkdir(exist_ok=True)  # of the parts of a video
    start = job.part.start if job.part else 0.0
    reached = None if progress is None else lambda seconds: progress(seconds - start)
    try:
        if plan.segments is None:
            watched = watch(job.video, cast(MicroExpressionSpottingPipeline, model), options, reached, job.part)
        else:
            classify = cast(MicroExpressionClassificationPipeline, model)
            watched = classify_segments(job.video, plan.segments[job.video], classify, options, progress)
    except (MerHfError, OSError) as error:
        _write_record(job, plan, {"error": str(error)})
        return
    if job.part is not None:
        _write_record(job, plan, write_part(plan.record(job).with_suffix(".npz"), watched))
        return
    write_whole(job, plan, watched)


def join_parts(job: Job, plan: Plan) -> None:
    """Make one of the parts of a long video that are all done, and remove them."""
    parts = [piece for piece in pieces_of([job], plan) if piece.part is not None]
    records = [] if _done(job, plan) is not None else [_record(piece, plan) for piece in parts]
    if records and all(record is not None for record in records):
        kept = cast(list[Entry], records)
        if "error" in kept[0]:
            _write_record(job, plan, {"error": kept[0]["error"]})
        else:
            paths = [plan.record(piece).with_suffix(".npz") for piece in parts]
            seen = [
                Watched(problems=[record["error"]]) if "error" in record else read_part(path, record)
                for path, record in zip(paths, kept, strict=True)
            ]
            write_whole(job, plan, joined(seen))
    if _record(job, plan) is not None:
        shutil.rmtree(plan.folder / "videos" / f"{job.name}.parts", ignore_errors=True)


def write_whole(job: Job, plan: Plan, watched: Watched) -> None:
    """Write what belongs to a video that was watched; the record comes last, and makes it done."""
    options = plan.options_for(job.video)
    if options.curves:
        buffer = io.BytesIO()
        _curves(job.video, watched).to_parquet(buffer, index=False)
        write_atomically(plan.record(job).with_suffix(".parquet"), buffer.getvalue())
    for name in plan.exports:
        ending, writer = FORMATS[name]
        write_atomically(plan.folder / f"{job.name}{ending}", writer(spans_of(watched), job.video, watched.seconds))
    write_atomically(plan.folder / f"{job.name}.html", page(Path(job.video).name, watched))
    kept = {name: getattr(watched, name) for name in ("seconds", "frames", "events", "spans", "problems")}
    _write_record(job, plan, kept)


def spans_of(watched: Watched) -> list[Span]:
    """What the tools of annotators are given: events, then everything else that lasts."""
    events = [
        Span(
            f"face {event['face']}",
            event["kind"],
            event["start"],
            event["end"],
            ", ".join(filter(None, (event["label"], *(event["action_units"] or ()), *event["flags"]))),
            (event["start_frame"], event["end_frame"]),
        )
        for event in watched.events
    ]
    return events + [
        Span(
            "" if span["face"] is None else f"face {span['face']}",
            span["kind"],
            span["start"],
            span["end"],
            span["reason"],
        )
        for span in watched.spans
    ]


def load_spotter(model: str = DEFAULT, device: str | None = None) -> MicroExpressionSpottingPipeline:
    """The pipeline that finds events, with the classifier in the package.

    Raises:
        AnalysisError: the model cannot be loaded, or is of another task.
    """
    return cast(MicroExpressionSpottingPipeline, _loaded(SPOTTING, model, device))


@functools.lru_cache(maxsize=2)
def _loaded(task: str, model: str, device: str | None) -> Any:
    """A pipeline.

    Raises:
        AnalysisError: the model cannot be loaded, or is of another task.
    """
    spots = task == SPOTTING
    options = {"classifier": _loaded(CLASSIFICATION, DEFAULT, device)} if spots else {}
    folder = str(SPOTTER) if spots and model == DEFAULT else model_folder(model)
    try:
        # ty: ignore[no-matching-overload] - the overloads name transformers' own tasks
        return pipeline(task, model=folder, device=device, **options)
    except Exception as error:  # whatever a file raises that was cut off, tampered with, or is of something else
        raise AnalysisError(f"{model} is no model of {task} that can be loaded: {first_line(error)}") from error


def _curves(video: str, watched: Watched) -> pd.DataFrame:
    names = ["seconds", *(name.replace(" ", "_") for name in OUTPUTS)]
    parts = [pd.DataFrame(np.stack(rows), columns=names).assign(face=face) for face, rows in watched.curves.items()]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*names, "face"], dtype=np.float32)
    table.insert(0, "file", pd.Series([video] * len(table), dtype=str))
    table.insert(1, "face", table.pop("face").astype(np.int32))
    return table


# --- records ---


def _belongs(job: Job, plan: Plan) -> str:
    """A digest of what a record belongs to: the file, the options, the model, the version."""
    path = Path(job.video)
    stamp = (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None
    if path.is_dir():
        stamp = [(each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in sorted(path.iterdir())]
    segments = None if plan.segments is None else plan.segments[job.video]
    parts = [_place_of(job.video), stamp, asdict(plan.options_for(job.video)), plan.exports, segments, job.part]
    text = json.dumps([*parts, _model_stamp(plan.model, segments is None), version("mer-hf")])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


@functools.cache
def _model_stamp(model: str, is_spotter: bool) -> str:
    folder = SPOTTER if model == DEFAULT and is_spotter else Path(model)
    if not folder.is_dir():
        return model
    files = [path for path in sorted(folder.iterdir()) if path.name in ("config.json", "model.safetensors")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _write_record(job: Job, plan: Plan, content: Entry) -> None:
    whole = {"file": job.video, "belongs_to": _belongs(job, plan), **content}
    write_atomically(plan.record(job), json.dumps(whole, indent=1) + "\n")


def _record(job: Job, plan: Plan) -> Entry | None:
    """The record of a video, done or failed; None where there is none that belongs to it."""
    try:
        record = json.loads(plan.record(job).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("belongs_to") == _belongs(job, plan) else None


def _done(job: Job, plan: Plan) -> Entry | None:
    """The record of a video that was watched; one that failed is tried again."""
    record = _record(job, plan)
    files = (
        []
        if job.part is not None
        else [
            plan.folder / f"{job.name}.html",
            *(plan.folder / f"{job.name}{FORMATS[name][0]}" for name in plan.exports),
        ]
    )
    return record if record is not None and "error" not in record and all(file.exists() for file in files) else None


# --- tables ---


def join(jobs: Sequence[Job], plan: Plan) -> Analysis:
    """Write the tables of all videos from their records, in the order of the videos."""
    for left in plan.folder.rglob(".unfinished-*"):  # by a process that was killed while it wrote
        left.unlink()
    for job in jobs:
        join_parts(job, plan)
    records = {job: _record(job, plan) or {"error": "not watched yet"} for job in jobs}
    events = [(job.video, event) for job, record in records.items() for event in record.get("events", ())]
    spans = [(job.video, span) for job, record in records.items() for span in record.get("spans", ())]
    files = [
        {
            "file": job.video,
            "name": job.name,
            **{name: record.get(name) for name in ("seconds", "frames", "error")},
            "events": len(record.get("events", ())),
            "problems": record.get("problems", []),
        }
        for job, record in records.items()
    ]
    _write_table(plan.folder / "events.csv", EVENT_COLUMNS, [{"file": video, **event} for video, event in events])
    _write_table(plan.folder / "spans.csv", SPAN_COLUMNS, [{"file": video, **span} for video, span in spans])
    _write_table(plan.folder / "files.csv", FILE_COLUMNS, files)
    if plan.options.curves:
        _join_curves([plan.record(job).with_suffix(".parquet") for job in jobs], plan.folder / "curves.parquet")
    return Analysis(
        plan.folder,
        len(jobs),
        len(events),
        {job.video: record["error"] for job, record in records.items() if "error" in record},
        {job.video: record["problems"] for job, record in records.items() if record.get("problems")},
    )


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Entry]) -> None:
    """A CSV file whose first line, after a #, says what it is not."""
    buffer = io.StringIO()
    buffer.write(f"# {LIMITS}\n")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    write_atomically(path, buffer.getvalue().encode("utf-8", "surrogateescape"))


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}:{score}" for name, score in value.items())
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return "" if value is None else str(value)


def _join_curves(parts: Sequence[Path], path: Path) -> None:
    """One file of several, a part at a time."""
    import pyarrow.parquet as parquet

    there = [part for part in parts if part.exists()]
    unfinished = path.with_name(f".unfinished-{os.getpid()}")
    writer = None
    for part in there:
        table = parquet.read_table(part)
        writer = writer or parquet.ParquetWriter(unfinished, table.schema)
        writer.write_table(table.cast(writer.schema))
    if writer is not None:
        writer.close()
        unfinished.replace(path)


__all__ = [
    "DEFAULT",
    "Analysis",
    "AnalysisError",
    "analyze",
    "find_videos",
    "jobs_of",
    "load_spotter",
    "read_segments",
]
