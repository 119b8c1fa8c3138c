"""How fast the package is on this machine, as figures that can be compared within one run.

    python scripts/benchmark.py prepare

Machines differ and are busy with other things: what is compared runs in turns, again and again, and medians are
printed; a ratio of two lines of one run says more than either.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import datasets
import numpy as np

from mer_hf import RcnVideoProcessor, load_corpus
from mer_hf.corpora.rendering import render_clip
from mer_hf.corpora.synthetic import synthesize
from mer_hf.preparation import prepare
from mer_hf.rcn.decoding_rcn import stream_video

WIDTH, HEIGHT, FPS, CLIP = 640, 480, 200, 70  # a recording of CASME II


def in_turns(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run each in turn, once to warm up and then `rounds` times; the median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def write_recording(path: Path, clips: int) -> int:
    """A face of the embedded corpus in a picture of 640 x 480, several clips long, as H.264; the number of frames."""
    shown = [
        render_clip(subject=3, clip=number, emotion_class="positive", fps=FPS, size=HEIGHT) for number in range(clips)
    ]
    frames = [cv2.copyMakeBorder(f, 0, 0, 80, 80, cv2.BORDER_REPLICATE) for clip in shown for f in clip.frames]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return len(frames)


def benchmark_prepare(rounds: int) -> None:
    """From a video to model inputs: appearance and geometry; and a corpus by one process and by two."""
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "recording.mp4"
        total = write_recording(video, clips=4)
        appearance = RcnVideoProcessor(
            connectivity="appearance", num_channels=1, num_frames=30, size={"height": 128, "width": 128}
        )
        seconds = in_turns(
            {
                "luma decoded, nothing else": lambda: sum(1 for _ in stream_video(video, grey=True)),
                "appearance input, 128 x 128, face found": lambda: appearance(video),
            },
            rounds,
        )
        print(f"{WIDTH} x {HEIGHT} H.264, {total} frames, frames a second:")
        for name, median in seconds.items():
            print(f"  {name:42} {total / median:8.0f}")

        clip = np.stack([frame for frame, _ in stream_video(video, grey=True)][:CLIP])
        geometric = RcnVideoProcessor()
        seconds = in_turns(
            {
                "geometric input, apex spotted": lambda: geometric(clip, fps=FPS),
                "geometric input, apex known": lambda: geometric(clip, fps=FPS, apex=CLIP // 2),
                "geometric input, align=none, apex known": lambda: geometric(
                    clip, fps=FPS, apex=CLIP // 2, align="none"
                ),
            },
            rounds * 3,
        )
        print(f"a decoded clip of {CLIP} frames, milliseconds:")
        for name, median in seconds.items():
            print(f"  {name:42} {median * 1000:8.1f}")

        datasets.disable_caching()
        datasets.disable_progress_bars()
        synthesize(Path(folder) / "corpus", subjects=8, clips=6, num_proc=2, progress=False)
        corpus = load_corpus("synthetic", Path(folder) / "corpus", cache_dir=Path(folder) / "cache")
        seconds = in_turns(
            {
                "by 1 process": lambda: prepare(corpus, geometric, 1),
                "by 2 processes": lambda: prepare(corpus, geometric, 2),
            },
            max(3, rounds // 4),
        )
        one, two = seconds.values()
        print(f"a corpus of {len(corpus)} clips prepared, clips a second:")
        for name, median in seconds.items():
            print(f"  {name:42} {len(corpus) / median:8.1f}")
        print(f"  {'ratio':42} {one / two:8.2f}")


def main() -> None:
    """Read the command line and run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare",))
    parser.add_argument("--rounds", type=int, default=12, help="how often each contestant runs (default: %(default)s)")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, OpenCV {cv2.__version__}, {cv2.getNumThreads()} threads")
    {"prepare": benchmark_prepare}[arguments.what](arguments.rounds)


if __name__ == "__main__":
    main()
