"""How fast the package is on this machine, as figures that can be compared within one run.

    python scripts/benchmark.py prepare
    python scripts/benchmark.py train
    python scripts/benchmark.py jitter
    python scripts/benchmark.py loso
    python scripts/benchmark.py spot
    python scripts/benchmark.py gpu

Machines differ and are busy with other things: what is compared runs in turns, again and again, and medians are
printed; a ratio of two lines of one run says more than either.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import datasets
import numpy as np
import torch
import torch.nn.functional as F
from datasets import Array3D, ClassLabel, Dataset, Features, Value
from PIL import Image
from torch import nn
from transformers import pipeline

from mer_hf import RcnConfig, RcnForVideoClassification, RcnVideoProcessor, load_corpus
from mer_hf.drawn.embedded import synthesize
from mer_hf.drawn.rendering import render_clip
from mer_hf.drawn.videos import RenderedVideo
from mer_hf.rcn.decoding_rcn import stream_video
from mer_hf.rcn.temporal_rcn import TemporalJitter, apply_operator
from mer_hf.training.batched import Together
from mer_hf.training.batches import DrawnFields
from mer_hf.training.clips import load_clips, prepare
from mer_hf.training.plan import make_plan
from mer_hf.training.recipe import has_bf16, read_recipe
from mer_hf.training.trainer import begin, many_small_steps

WIDTH, HEIGHT, FPS, CLIP = 640, 480, 200, 70  # a recording of CASME II


def in_turns(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run each in turn, once to warm up and then `rounds` times; the median seconds of each.

    With one thread, seconds of the processor are counted, which other processes do not lengthen as they do the clock's.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for _ in range(rounds + 1):
        for name, run in contestants.items():
            started = clock()
            run()
            seconds[name].append(clock() - started)
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


class PlainRcn(nn.Module):
    """The RCN and RCN-A as a textbook would write them, in fp32 and contiguous memory."""

    def __init__(self, attention: bool, width: int = 32, classes: int = 3, grid: int = 5) -> None:
        super().__init__()
        self.attention, self.grid = attention, grid
        self.conv, self.norm = nn.Conv2d(3, width, 5), nn.BatchNorm2d(width)
        self.forward_conv, self.forward_norm = nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)
        self.recurrent_conv, self.recurrent_norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width * grid * grid, classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> logits."""
        stem = F.dropout(F.max_pool2d(F.relu(self.norm(self.conv(pictures))), 2), 0.5, self.training)
        state = F.relu(self.forward_norm(self.forward_conv(stem)))
        for _ in range(2):
            state = F.relu(self.recurrent_norm(self.recurrent_conv(stem + state)))
        maps = F.dropout(F.max_pool2d(state, 2), 0.5, self.training)
        pooled = F.adaptive_avg_pool2d(maps, self.grid)
        if self.attention:
            weights = self.classifier.weight.unflatten(1, (-1, self.grid, self.grid))
            activation = (F.adaptive_avg_pool2d(stem, self.grid)[:, None] * weights).mean(2)
            low, high = activation.amin((2, 3), keepdim=True), activation.amax((2, 3), keepdim=True)
            pooled = pooled * ((activation - low) / (high - low)).mean(1, keepdim=True)
        return self.classifier(pooled.flatten(1))

    def take_weights(self, model: RcnForVideoClassification) -> None:
        """Take the weights of the model that it is compared with: both have them in the order of the layers."""
        self.load_state_dict(dict(zip(self.state_dict(), model.state_dict().values(), strict=True)))


def benchmark_train(rounds: int) -> None:
    """Training and inference of the RCN and the RCN-A at 60 x 60 x 3, 32 maps, batch 64, against a plain module."""
    torch.set_num_threads(1)
    bf16 = has_bf16(torch.device("cpu"))
    print(
        f"60 x 60 x 3, 32 maps, batch 64, one thread, {'bf16' if bf16 else 'fp32, for want of bf16'}; images a second:"
    )
    clips, labels = torch.randn(64, 1, 3, 60, 60), torch.randint(3, (64,))
    for preset in ("rcn", "rcn-a"):
        torch.manual_seed(0)
        model = RcnForVideoClassification(RcnConfig.preset(preset, num_labels=3)).to(memory_format=torch.channels_last)
        plain = PlainRcn(attention=preset == "rcn-a")
        plain.take_weights(model)
        steps = {}
        for name, module in (("plain", plain), ("mer_hf", model)):
            optimizer = torch.optim.AdamW(module.parameters(), lr=1e-9, fused=name == "mer_hf")

            def logits(module: nn.Module = module, ours: bool = name == "mer_hf") -> torch.Tensor:
                with torch.autocast("cpu", torch.bfloat16, enabled=ours and bf16):
                    return module(clips).logits if ours else module(clips[:, 0])

            def step(logits: Callable = logits, module: nn.Module = module, optimizer: object = optimizer) -> None:
                module.train()
                F.cross_entropy(logits().float(), labels).backward()
                optimizer.step()
                optimizer.zero_grad()

            def infer(logits: Callable = logits, module: nn.Module = module) -> torch.Tensor:
                module.eval()
                with torch.inference_mode():
                    return logits().float()

            steps[name] = {"training": step, "inference": infer}
        apart = (steps["plain"]["inference"]() - steps["mer_hf"]["inference"]()).abs().max()
        with many_small_steps():
            for what in ("training", "inference"):
                seconds = in_turns({name: part[what] for name, part in steps.items()}, rounds)
                rates = {name: 64 / median for name, median in seconds.items()}
                ratio = rates["mer_hf"] / rates["plain"]
                print(f"  {preset:6} {what:10} {rates['mer_hf']:7.0f}   plain {rates['plain']:7.0f}   x {ratio:.2f}")
        print(f"  {preset:6} logits differ by at most {apart:.4f}")


def benchmark_jitter(rounds: int) -> None:
    """64 clips of 60 to 100 frames of 64 x 48, jittered to 30, against two libraries, and in a training step."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    lengths = torch.from_numpy(rng.integers(60, 101, 64))
    clips = [rng.integers(0, 256, (int(length), 64 * 48), dtype=np.uint8) for length in lengths]
    batch = nn.utils.rnn.pad_sequence([torch.from_numpy(clip) for clip in clips], batch_first=True)
    jitter, draws = TemporalJitter(), torch.Generator().manual_seed(0)

    def by_operators() -> torch.Tensor:
        return apply_operator(jitter(lengths, 30, draws, batch.shape[1]), batch)

    def kept_frames() -> Iterator[np.ndarray]:
        for clip in clips:
            dropped = round(rng.integers(12) / 20 * len(clip))
            yield clip[np.sort(rng.permutation(len(clip))[dropped:])]

    def by_opencv() -> list[np.ndarray]:
        kernels = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)
        return [
            cv2.resize(clip.astype(np.float32), (64 * 48, 30), interpolation=int(rng.choice(kernels)))
            for clip in kept_frames()
        ]

    def by_pillow() -> list[Image.Image]:
        kernels = list(Image.Resampling)
        return [
            Image.fromarray(clip.astype(np.float32)).resize((64 * 48, 30), kernels[rng.integers(len(kernels))])
            for clip in kept_frames()
        ]

    masked = {"num_pixels": 64 * 48 // 4}  # the mask keeps the quarter that moves most
    model = RcnForVideoClassification(RcnConfig.preset("mer-rcnn", num_labels=3, **masked))
    model.to(memory_format=torch.channels_last)
    labels = torch.randint(3, (64,))

    def training_step() -> None:
        pixels = torch.rand(8, 30, 1, 64, 48)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16(torch.device("cpu"))):
            model(pixels, labels=labels[:8]).loss.backward()
        model.zero_grad()

    contestants = {
        "operators on the batch": by_operators,
        "OpenCV, clip by clip": by_opencv,
        "Pillow, clip by clip": by_pillow,
    }
    with many_small_steps():
        seconds = in_turns(contestants, rounds)
        (step,) = in_turns({"step": training_step}, max(1, rounds // 6)).values()
    ours = seconds["operators on the batch"]
    print("64 clips of 60 to 100 frames of 64 x 48 jittered to 30, one thread, milliseconds:")
    for name, median in seconds.items():
        print(f"  {name:42} {median * 1000:8.1f}   x {median / ours:.2f}")
    print(f"  {'training mer-rcnn on them, eight by eight':42} {8000 * step:8.1f}")
    print(f"  {'jitter as a part of that':42} {ours / (8 * step):8.2%}")


def write_flow(folder: str, subjects: int, clips: int, size: int) -> None:
    """A saved dataset of flow pictures of noise, of which each subject has at least one, labelled as MEGC 2019 is."""
    rng = np.random.default_rng(0)
    names = np.sort(np.concatenate([np.arange(subjects), rng.integers(subjects, size=clips - subjects)]))
    columns = {
        "subject": [f"s{name}" for name in names],
        "label": rng.choice(3, clips, p=[0.57, 0.25, 0.18]),
        "flow": rng.normal(size=(clips, 3, size, size)).astype(np.float32),
    }
    features = {
        "subject": Value("string"),
        "label": ClassLabel(names=["negative", "positive", "surprise"]),
        "flow": Array3D((3, size, size), "float32"),
    }
    with contextlib.redirect_stdout(sys.stderr):
        Dataset.from_dict(columns, Features(features)).save_to_disk(folder)


def run_recipe(launcher: list[str], recipe: str, *options: str) -> float:
    """Train by a recipe of this repository; the seconds that the run itself counts."""
    scripts = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        command = [*launcher, str(scripts / "train.py"), str(scripts / "recipes" / recipe), *options]
        command += ["--output-dir", f"{folder}/run"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return json.loads(Path(f"{folder}/run/results.json").read_text())["wall_time_s"]


def benchmark_loso(rounds: int) -> None:
    """Leave one subject out: 68 subjects, 442 flow pictures of 28 x 28 x 3, 60 epochs, two processes of one thread."""
    del rounds  # it runs once
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    with tempfile.TemporaryDirectory() as folder:
        write_flow(f"{folder}/clips", subjects=68, clips=442, size=28)
        seconds = run_recipe(launcher, "rcn-best.yaml", "--dataset", f"{folder}/clips")
    images = 60 * 442 * 68  # the 67 / 68 of 68 folds, and once all
    print(f"68 folds of 60 epochs, and the model of all clips: {seconds:.0f} s, {images / seconds:.0f} images a second")


# --- what only an accelerator can show ---


def benchmark_gpu(rounds: int) -> None:
    """All that an accelerator is for, beside the plain way and the ceilings of the machine; under ten minutes."""
    if not torch.cuda.is_available():
        sys.exit("benchmark.py gpu needs a CUDA device, and torch sees none")
    device = torch.device("cuda")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print_ceilings(device)
    folds_of_noise(device, epochs=60)
    for preset in ("rcn", "rcn-a"):
        training_rates(preset, device, epochs=20)
    jitter_and_drawing(device, rounds)
    run_recipe([sys.executable], "default.yaml")  # renders the corpus, which is kept
    print(f"main job of the README, clips rendered before  {run_recipe([sys.executable], 'default.yaml'):8.1f} s")


def seconds_on(device: torch.device, run: Callable[[], object], rounds: int = 5) -> float:
    """The median seconds of a run with what it starts on a device, after a first one to warm up."""
    seconds = []
    for _ in range(rounds + 1):
        wait_for(device)
        started = time.perf_counter()
        run()
        wait_for(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def wait_for(device: torch.device) -> None:
    """Until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def print_ceilings(device: torch.device, side: int = 8192) -> None:
    """What the machine can do at most: products of matrices in bf16 and fp32, copies of memory, launches of kernels."""
    for dtype in (torch.bfloat16, torch.float32):
        matrix = torch.randn(side, side, device=device, dtype=dtype)
        seconds = seconds_on(device, lambda matrix=matrix: matrix @ matrix)
        print(f"  {dtype!s:42} {2 * side**3 / seconds / 1e12:8.1f} TFLOP/s")
    memory = torch.empty(2**26, device=device)
    seconds = seconds_on(device, memory.clone)
    print(f"  {'copy of memory, read and written':42} {2 * memory.nbytes / seconds / 1e9:8.0f} GB/s")
    tiny = torch.zeros(1, device=device)
    seconds = seconds_on(device, lambda: [tiny.add_(1) for _ in range(1000)])
    print(f"  {'launch of a kernel':42} {seconds * 1e3:8.1f} us")


def folds_of_noise(device: torch.device, epochs: int) -> None:
    """LOSO of 68 folds, with evaluation and files, of one seed and of five, and by a textbook module in fp32."""
    with tempfile.TemporaryDirectory() as folder:
        write_flow(f"{folder}/clips", subjects=68, clips=442, size=28)
        options = ["--dataset", f"{folder}/clips", "--num-train-epochs", str(epochs)]
        for seeds in (1, 5):
            given = [*options, "--seeds", str(seeds), "--average-seeds", str(seeds > 1)]
            seconds = run_recipe([sys.executable], "rcn-best.yaml", *given)
            print(f"68 folds x {epochs} epochs, {seeds} seeds, and the model of all {seconds:8.1f} s")
    clips, labels = torch.randn(64, 3, 28, 28, device=device), torch.randint(3, (64,), device=device)
    step = plain_step(PlainRcn(attention=False).to(device), clips, labels)
    seconds = seconds_on(device, lambda: [step() for _ in range(70)]) / 70
    print(
        f"  a textbook module, one fold after the other, of one seed, from its step {68 * epochs * 7 * seconds:8.1f} s"
    )


def plain_step(module: nn.Module, clips: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """A training step as a textbook writes it."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-9)

    def step() -> None:
        module.train()
        F.cross_entropy(module(clips), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def training_rates(preset: str, device: torch.device, epochs: int) -> None:
    """One network at 60 x 60 x 3 and batch 64, images a second: ours, less what begins a training, and plain."""
    with tempfile.TemporaryDirectory() as folder:
        write_flow(f"{folder}/clips", subjects=2, clips=2048, size=60)
        dataset = datasets.load_from_disk(f"{folder}/clips")
        seconds = []
        for count in (1, 1, 1 + epochs):  # the first one warms up
            options = {"preset": preset, "num_train_epochs": count, "per_device_train_batch_size": 64}
            recipe, arguments = read_recipe(None, output_dir=folder, use_cpu=device.type == "cpu", **options)
            plan = make_plan(recipe, arguments, dataset)
            clips = load_clips(plan.dataset, plan.processor)
            together = Together([begin(plan, clips, 1)])
            wait_for(device)
            started = time.perf_counter()
            together.train()
            wait_for(device)
            seconds.append(time.perf_counter() - started)
    ours = epochs * 2048 / (seconds[2] - seconds[1])
    clips, labels = torch.randn(64, 3, 60, 60, device=device), torch.randint(3, (64,), device=device)
    plain = 64 / seconds_on(device, plain_step(PlainRcn(attention=preset == "rcn-a").to(device), clips, labels), 50)
    print(f"training {preset} at batch 64, images a second {ours:8.0f}   plain {plain:8.0f}   x {ours / plain:.2f}")


def jitter_and_drawing(device: torch.device, rounds: int) -> None:
    """64 clips jittered to 30 frames as a part of a mer-rcnn step of them, and fields drawn a second."""
    lengths = torch.randint(60, 101, (64,), device=device)
    frames = torch.randint(256, (64, 100, 64 * 48), dtype=torch.uint8, device=device)
    jitter, draws = TemporalJitter(), torch.Generator().manual_seed(0)
    jittered = seconds_on(device, lambda: apply_operator(jitter(lengths, 30, draws, 100), frames), rounds)
    config = RcnConfig.preset("mer-rcnn", num_labels=3, num_pixels=64 * 48 // 4)
    model = RcnForVideoClassification(config).to(device).to(memory_format=torch.channels_last)
    pixels, labels = torch.rand(64, 30, 1, 64, 48, device=device), torch.randint(3, (64,), device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
            model(pixels, labels=labels).loss.backward()
        model.zero_grad()

    step_seconds = seconds_on(device, step, rounds)
    print(f"jitter of 64 clips to 30 frames {jittered * 1e3:8.2f} ms, {jittered / step_seconds:.1%} of a mer-rcnn step")
    config = RcnConfig.preset("rcn", num_labels=3, image_size=[28, 28])
    for count in (256, 8192):
        fields, indices = DrawnFields(count, config, 0, device), [0] * count
        seconds = seconds_on(device, lambda f=fields, i=indices: [f.__getitems__(i) for _ in range(32)]) / 32
        print(f"drawing of fields, {count} a batch, a second {count / seconds:8.0f}")


def benchmark_spot(rounds: int) -> None:
    """A long video of a face, 640 x 480 at 30 frames a second, watched and named: seconds of work, latency, memory.

    It goes there and back, and round and round in a process of its own, for as many minutes as there are rounds.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    spot = pipeline("micro-expression-spotting")
    with tempfile.TemporaryDirectory() as folder:
        path, there = Path(folder) / "long.mp4", [frame for frame, _ in RenderedVideo(1, 15.0, 4, size=HEIGHT).frames()]
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"crf": "23"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for frame in (*there, *there[-2:0:-1]):
                frame = cv2.copyMakeBorder(frame, 0, 0, 80, 80, cv2.BORDER_REPLICATE)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        seconds = 2 * (len(there) - 1) / 30
        spot(str(path))  # loads what is loaded once
        begun, clock = time.process_time(), time.perf_counter()
        events = spot(str(path))
        work, clock = time.process_time() - begun, time.perf_counter() - clock
        print(
            f"real-time factor {work / seconds:.3f} of one core, {clock / seconds:.3f} elapsed; {len(events)} events",
            flush=True,
        )
        subprocess.run([sys.executable, "-W", "ignore", "-c", GOES_ROUND, str(path), str(rounds)], check=True)


GOES_ROUND = """
import os, statistics, sys
import cv2, torch

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

imported = {"torch alone": resident()}
import mer_hf
from transformers import pipeline
from mer_hf.rcn.decoding_rcn import stream_video

torch.set_num_threads(1)
cv2.setNumThreads(1)
path, minutes = sys.argv[1], int(sys.argv[2])
spot = pipeline("micro-expression-spotting")
imported["networks too"] = resident()
now, late, after = 0.0, [], []

def camera():
    global now
    count = 0
    while count < 1800 * minutes:
        for frame, _ in stream_video(path, grey=True):
            now, count = count / 30, count + 1
            if count % 1800 == 0:
                after.append(resident())
            yield frame, now

for event in spot.stream(camera()):
    if event["kind"] != "unwatched":
        late.append(now - event["end"])
if late:
    print(f"latency of {len(late)} events: median {statistics.median(late):.2f} s, at most {max(late):.2f} s")
parts = ", ".join(f"{part} {size:.0f}" for part, size in imported.items())
print(f"resident after 1 min: {after[0]:.0f} MB, after {minutes} min: {after[-1]:.0f} MB; imports: {parts} MB")
"""
"""A process that does nothing but watch."""


def main() -> None:
    """Read the command line and run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "train", "jitter", "loso", "spot", "gpu"))
    parser.add_argument("--rounds", type=int, default=12, help="how often each contestant runs (default: %(default)s)")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, OpenCV {cv2.__version__}, {cv2.getNumThreads()} threads")
    benchmarks = {"prepare": benchmark_prepare, "train": benchmark_train}
    benchmarks |= {"jitter": benchmark_jitter, "loso": benchmark_loso, "spot": benchmark_spot}
    benchmarks |= {"gpu": benchmark_gpu}
    benchmarks[arguments.what](arguments.rounds)


if __name__ == "__main__":
    main()
