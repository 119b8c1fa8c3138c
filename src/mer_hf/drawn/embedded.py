"""A corpus that anyone may share: drawn faces, moved by facial action units, written in the layout of CASME II."""

import hashlib
import io
import math
import multiprocessing
import os
import shutil
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import cv2
import datasets.config
import numpy as np
from filelock import FileLock
from openpyxl import Workbook
from openpyxl.writer.excel import ExcelWriter
from tqdm import tqdm

from mer_hf import action_units
from mer_hf.drawn import expression, portraits, rendering
from mer_hf.drawn.rendering import (
    CODER_STREAM,
    NAME_STREAM,
    SMALLEST,
    RenderedClip,
    check_at_least,
    check_rate,
    draw_recording,
    one_thread,
    random_stream,
    render_clip,
)

FRAMES_FOLDER = "CASME2_RAW_selected"
SHEET = "CASME2-coding-20190701.xlsx"
COLUMNS = (
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    None,
    "Action Units",
    "Estimated Emotion",
    "Objective Classes",
)

# Coders go through a clip frame by frame and do not agree to the frame, least of all on the apex, where the motion is
# slowest. Deviations in seconds, set by judgement; frames are written for EDGE seconds before the onset and after the
# offset.
CODING_ERROR = {"onset": 0.010, "apex": 0.030, "offset": 0.020}
EDGE = 0.05

_PINNED_TIME = datetime(2019, 7, 1)


def synthesize(
    data_dir: str | Path,
    *,
    subjects: int = 8,
    clips: int = 12,
    fps: float = 200.0,
    size: int = 256,
    seed: int = 0,
    num_proc: int = 1,
    progress: bool = True,
) -> Path:
    """Render a corpus and write it as CASME II lies on disk.

    Writes `CASME2_RAW_selected/sub01/EP01_01f/img46.jpg`, the frames from just before the onset to just after the
    offset, and the sheet `CASME2-coding-20190701.xlsx`, whose onset, apex and offset are as imprecise as a coder's, and
    whose action units are all those that move. Every subject has as many clips of each class as `clips` allows. The
    same arguments give the same bytes, whatever `num_proc`. Everything is written beside `data_dir` and moved there
    when whole.

    Args:
        data_dir: folder to write; it must not exist, or be empty.
        subjects: number of subjects, at least 1.
        clips: number of clips per subject, at least 1; a multiple of 3 is balanced over the classes.
        fps: frames per second, above 0; CASME II has 200. Below about 10 a clip lasts longer than half a second.
        size: width and height of a frame in pixels, at least 64.
        seed: of everything random, at least 0.
        num_proc: processes to render with. More than one start with `spawn`, so a script needs its `__main__` guard.
        progress: whether to show a bar over the clips.

    Returns:
        `data_dir`, as a Path.

    Raises:
        FileExistsError: if `data_dir` holds anything.
        ValueError: if an argument is out of its range.
    """
    check_at_least(subjects=(subjects, 1), clips=(clips, 1), num_proc=(num_proc, 1))
    check_at_least(size=(size, SMALLEST), seed=(seed, 0))
    check_rate(fps)
    data_dir = Path(data_dir)
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        raise FileExistsError(f"{data_dir} exists and is not an empty folder; choose another data_dir or remove it.")

    data_dir.parent.mkdir(parents=True, exist_ok=True)
    unfinished = data_dir.absolute().with_name(f".{data_dir.absolute().name}.unfinished-{os.getpid()}")
    unfinished.mkdir()
    try:
        jobs = [(unfinished, subject, clip, fps, size, seed) for subject in range(subjects) for clip in range(clips)]
        rows = list(tqdm(_run(jobs, clips, num_proc), total=len(jobs), desc="clips", disable=not progress))
        _write_sheet(unfinished / SHEET, rows)
        if data_dir.exists():
            data_dir.rmdir()
        unfinished.rename(data_dir.absolute())
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return data_dir


def default_folder(cache_dir: str | Path | None = None, fps: float = 200.0, num_proc: int | None = None) -> Path:
    """The default corpus on disk, rendered on the first call: what `load_corpus("synthetic", ...)` reads.

    The folder is named after the parameters and the code of the rendering, so changed code renders anew. A second
    process waits for the first.

    Args:
        cache_dir: folder in which it is kept; the cache of `datasets` by default.
        fps: frames per second, above 0.
        num_proc: processes to render with; see `synthesize`.

    Raises:
        MerHfError: if an argument is out of its range.
    """
    parameters: dict[str, Any] = {"subjects": 8, "clips": 12, "fps": fps, "size": 256, "seed": 0}
    key = hashlib.sha256(repr(parameters).encode())
    sources = [Path(file) for file in (action_units.__file__, expression.__file__, rendering.__file__, __file__)]
    for source in [*sources, *sorted(Path(portraits.__file__).parent.glob("*.py"))]:
        key.update(source.read_bytes())

    cache = Path(cache_dir or datasets.config.HF_DATASETS_CACHE).expanduser() / "mer_hf-synthetic"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / key.hexdigest()[:16]
    with FileLock(f"{folder}.lock"):
        if not folder.exists():  # it comes into being whole
            synthesize(folder, **parameters, num_proc=num_proc or 1)
    return folder


def write_example(path: str | Path, *, subject: int = 99, emotion_class: str = "positive", fps: float = 100.0) -> str:
    """Write a clip of somebody whom the default corpus does not show as an H.264 video, from onset to offset.

    Args:
        path: of the video; its folder exists.
        subject: number of the subject, 8 or more to be new.
        emotion_class: what the face shows: negative, positive or surprise.
        fps: frames per second.

    Returns:
        `emotion_class`.
    """
    clip = render_clip(subject=subject, clip=0, emotion_class=emotion_class, fps=fps)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=round(fps), options={"crf": "10"})  # fine: the motion is a pixel
        stream.height, stream.width = clip.frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in clip.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return emotion_class


def _run(jobs: list[tuple], chunk: int, num_proc: int) -> Iterator[tuple]:
    """Yield the sheet's rows in the order of the jobs; a process takes a subject's clips together."""
    if num_proc == 1:
        yield from map(_write_clip, jobs)
        return
    # Fork would copy the locks of threads that other libraries run.
    with ProcessPoolExecutor(num_proc, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_write_clip, jobs, chunksize=chunk)


def _write_clip(job: tuple[Path, int, int, float, int, int]) -> tuple:
    """Render and write one clip; return its row of the sheet."""
    root, subject, clip, fps, size, seed = job
    rendered = render_clip(subject=subject, clip=clip, fps=fps, size=size, seed=seed, lead_in=EDGE, lead_out=EDGE)
    name, first = _clip_name(subject, clip, seed)
    onset, apex, offset = code_clip(rendered, fps, random_stream(seed, CODER_STREAM, subject, clip))
    folder = root / FRAMES_FOLDER / f"sub{subject + 1:02d}" / name
    folder.mkdir(parents=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, draw_recording(subject, seed).jpeg_quality]
    with one_thread():
        for index, frame in enumerate(rendered.frames):
            _, code = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), quality)
            (folder / f"img{first + index}.jpg").write_bytes(code.tobytes())
    units = "+".join(map(str, rendered.action_units))
    return (
        f"{subject + 1:02d}",
        name,
        None,
        first + onset,
        first + apex,
        first + offset,
        None,
        int(units) if units.isdecimal() else units,  # as in the release
        rendered.emotion,
        None,  # no objective class: nothing here reads it
    )


def code_clip(clip: RenderedClip, fps: float, rng: np.random.Generator) -> tuple[int, int, int]:
    """Onset, apex and offset as a coder would note them: indices of frames, each later than the one before.

    Each is off by a normal error of the deviation in CODING_ERROR, no more than EDGE; from onset to offset it stays
    under half a second.
    """
    error = {name: np.clip(rng.normal(0, deviation), -EDGE, EDGE) for name, deviation in CODING_ERROR.items()}
    onset = round(np.clip(clip.onset + error["onset"] * fps, 0, clip.apex - 1))
    offset = round(np.clip(clip.offset + error["offset"] * fps, clip.apex + 1, len(clip.frames) - 1))
    offset = min(offset, max(onset + 2, onset + math.ceil(fps / 2) - 1))
    apex = round(np.clip(clip.apex + error["apex"] * fps, onset + 1, offset - 1))
    return onset, apex, offset


def _clip_name(subject: int, clip: int, seed: int) -> tuple[str, int]:
    """A name in the style of the release, episode and take, sometimes with an f; and the first frame number."""
    rng = random_stream(seed, NAME_STREAM, subject, clip)
    episode, take = divmod(clip, 4)
    return f"EP{episode + 1:02d}_{take + 1:02d}{'f' if rng.random() < 0.4 else ''}", int(rng.integers(1, 400))


def _write_sheet(path: Path, rows: list[tuple]) -> None:
    """Write the coding sheet without the time of writing, which a workbook otherwise carries in three places."""
    book = Workbook()
    book.properties.created = book.properties.modified = _PINNED_TIME
    book.active.append(COLUMNS)
    for row in rows:
        book.active.append(row)
    raw = io.BytesIO()
    ExcelWriter(book, zipfile.ZipFile(raw, "w")).save()
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            member = zipfile.ZipInfo(name, date_time=_PINNED_TIME.timetuple()[:6])
            target.writestr(member, source.read(name), zipfile.ZIP_DEFLATED)
