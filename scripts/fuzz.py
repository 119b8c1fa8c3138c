"""Does hostile input ever end in anything but an answer or the package's own words? Prints counts by outcome.

    python scripts/fuzz.py [--minutes 30] [--seed 0] [--only videos] [--keep fuzz]

Videos, folders of pictures, coding sheets, configurations, processors and recipes are damaged at random, by bits or by
values, and given to what reads them, each in a process of its own with 60 s of the processor and 3 GiB. An answer, a
`MerHfError` or an `OSError` is right; anything else (another exception, a kill, a hang) is a fault: its input and what
was said are kept, and the exit status is 1. The same seed makes the same cases in the same order.
"""

import argparse
import contextlib
import io
import itertools
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
import yaml
from openpyxl import load_workbook
from PIL import Image
from transformers import logging, pipeline

from mer_hf import RcnConfig, RcnForVideoClassification, RcnVideoProcessor
from mer_hf.corpora.check import check_corpus
from mer_hf.drawn.rendering import render_clip
from mer_hf.errors import MerHfError
from mer_hf.hub.packaged import PACKAGED
from mer_hf.rcn.pipeline_rcn import TASK
from mer_hf.training.recipe import parse_recipe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # replicas of corpora are fixtures of the tests
from replicas import REPLICAS, replicate

SECONDS, BYTES = 60, 3 * 2**30
"""What a case may take, beyond what the parent process has: of the processor, so that what else runs does not count."""
WAIT = 10 * SECONDS
"""Seconds of the clock after which a case that does nothing, as one that waits for a socket, is a hang."""
RECIPES = Path(__file__).parent / "recipes"
CONTAINERS = {  # file suffix: codec, pixel format
    "mp4": ("libx264", "yuv420p"),
    "mkv": ("ffv1", "bgr0"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "avi": ("mjpeg", "yuvj420p"),
    "mpg": ("mpeg2video", "yuv420p"),
    "mov": ("mpeg4", "yuv420p"),
    "gif": ("gif", "rgb8"),
}
PICTURES = ("png", "jpeg", "tiff", "webp", "bmp", "ppm")
VALUES = [None, True, False, 0, -1, 1, 3, 2.5, 1e308, -1e308, float("nan"), float("inf"), 10**9, 10**30, "", " ", "0"]
VALUES += [
    "x",
    "1.5",
    "é\u202e\x07",
    "x" * 5000,
    "../x",
    "hf-hub:a/b",
    "/etc/passwd",
    "=1+1",
    [],
    [0],
    [[]],
    {},
    {"a": 1},
]
Case = Callable[[], Any]


# --- damage ---


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """A file with bits flipped, a part cut off, emptied, doubled or moved."""
    spoilt = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, size = rng.randrange(max(len(spoilt), 1)), rng.choice([1, 4, 64, max(len(spoilt) // 5, 1)])
        kind = rng.choice(["flip", "flip", "header", "cut", "empty", "double", "random"])
        if kind == "flip" or kind == "header":
            for place in (
                rng.randrange(len(spoilt) if kind == "flip" else min(len(spoilt), 600)) for _ in range(size % 65)
            ):
                spoilt[place] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del spoilt[max(at, 1) :]
        elif kind == "empty":
            spoilt[at : at + size] = bytes(len(spoilt[at : at + size]))
        elif kind == "double":
            spoilt[at:at] = spoilt[at : at + size]
        else:
            spoilt[at : at + size] = rng.randbytes(len(spoilt[at : at + size]))
    return bytes(spoilt)


def damaged_values(content: Any, rng: random.Random) -> Any:
    """What a JSON or YAML file holds, with values replaced, renamed, left out, wrapped or added."""
    content = json.loads(json.dumps(content))
    for _ in range(rng.choice([1, 1, 2, 4])):
        holder = content
        while isinstance(holder, dict | list) and holder:
            key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            if isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.6:
                holder = holder[key]
                continue
            kind = rng.choice(["value", "value", "value", "wrap", "leave out", "rename"])
            if kind == "value":
                holder[key] = rng.choice(VALUES)
            elif kind == "wrap":
                holder[key] = [holder[key]]
            elif kind == "leave out" or isinstance(holder, list):
                del holder[key]
            else:
                holder[f"{key}_"] = holder.pop(key)
            break
    return content


def damaged_sheet(path: Path, rng: random.Random) -> None:
    """Change cells, rows and columns of a workbook; or its bytes, or those of another kind of sheet."""
    if path.suffix != ".xlsx" or rng.random() < 0.2:
        path.write_bytes(damaged_bytes(path.read_bytes(), rng))
        return
    book = load_workbook(path)
    sheet = rng.choice(book.worksheets)
    for _ in range(rng.choice([1, 2, 5, 20])):
        row, column = rng.randint(1, max(sheet.max_row, 1)), rng.randint(1, max(sheet.max_column, 1))
        kind = rng.choice(["cell", "cell", "cell", "cell", "row", "column", "insert", "merge"])
        if kind == "cell":
            cell = sheet.cell(row, column)
            with contextlib.suppress(Exception):  # openpyxl refuses what no cell can hold, and merged cells
                cell.value = rng.choice([value for value in VALUES if not isinstance(value, list | dict)])
        elif kind == "row":
            sheet.delete_rows(row)
        elif kind == "column":
            sheet.delete_cols(column)
        elif kind == "insert":
            sheet.insert_cols(column)
        elif sheet.max_row > row:
            sheet.merge_cells(start_row=row, end_row=row + 1, start_column=column, end_column=column)
    book.save(path)


# --- cases: each maker prepares once, and returns what damages and reads ---


def videos(work: Path) -> Callable[[random.Random, Path], Case]:
    """Video files in many containers, through the pipeline."""
    frames = render_clip(subject=3, clip=0, emotion_class="surprise", size=96, fps=60.0).frames[:14]
    whole = {suffix: encode(frames, suffix) for suffix in CONTAINERS}
    classify = pipeline(TASK, model=str(PACKAGED["default"]), device="cpu")

    def case(rng: random.Random, folder: Path) -> Case:
        suffix = rng.choice(list(whole))
        path = folder / f"clip.{suffix}"
        path.write_bytes(damaged_bytes(whole[suffix], rng))
        options = {"align": rng.choice(["none", "mesh", "box"]), "face_problems": rng.choice(["raise", "flag"])}
        options |= rng.choice([{}, {}, {"fps": 200}, {"start": 0.05}, {"end": 0.1}, {"start": 0.1, "end": 0.2}])
        source = rng.choice([path, path.read_bytes()])
        return lambda: classify(source, **options)

    return case


def encode(frames: np.ndarray, suffix: str) -> bytes:
    """Frames (T, H, W, 3) as a video file."""
    codec, pixels = CONTAINERS[suffix]
    file = io.BytesIO()
    with av.open(file, "w", format={"mkv": "matroska", "mpg": "mpeg"}.get(suffix, suffix)) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def pictures(work: Path) -> Callable[[random.Random, Path], Case]:
    """Folders of frames, some damaged, some of another name, kind or size, through the processor."""
    frames = render_clip(subject=1, clip=0, size=64, fps=50.0).frames[:6]
    processor = RcnVideoProcessor(align="none", face_problems="flag")

    def case(rng: random.Random, folder: Path) -> Case:
        kind = rng.choice(PICTURES)
        for number, frame in enumerate(frames):
            image = Image.fromarray(frame).convert(rng.choice(["RGB", "RGB", "L"]))
            if rng.random() < 0.05:
                image = image.resize((rng.randint(1, 90), 64))
            file = io.BytesIO()
            several = rng.random() < 0.05 and kind in ("png", "tiff", "webp")
            image.save(file, kind, **({"save_all": True, "append_images": [image]} if several else {}))
            data = damaged_bytes(file.getvalue(), rng) if rng.random() < 0.3 else file.getvalue()
            name = rng.choice([f"img{number}", f"img{number}", f"img{number + 8}", f"a{number}_b", "x"])
            (folder / f"{name}.{rng.choice([kind, kind, 'png'])}").write_bytes(data)
        paths = list(folder.iterdir())
        return lambda: processor(rng.choice([folder, paths, [path.read_bytes() for path in paths]]))

    return case


def sheets(work: Path) -> Callable[[random.Random, Path], Case]:
    """Replicas of the corpora with damaged sheets, through the check of a copy."""
    replicas = {}
    for name, releases in REPLICAS.items():
        for release in releases:
            replicas[name, release] = replicate(
                name, work / f"{name}-{len(replicas)}", release, subjects=2, clips=2, frames=3
            )

    def case(rng: random.Random, folder: Path) -> Case:
        name, release = rng.choice(list(replicas))
        shutil.copytree(replicas[name, release], folder / name)
        files = sorted(path for path in (folder / name).rglob("*") if path.suffix in (".xlsx", ".xls", ".csv"))
        if files:
            damaged_sheet(rng.choice(files), rng)
        return lambda: check_corpus(name, folder / name)

    return case


def configurations(work: Path) -> Callable[[random.Random, Path], Case]:
    """config.json with damaged values, as far as a built model."""
    content = json.loads((PACKAGED["default"] / "config.json").read_text())
    kinds = [
        content,
        *({"model_type": "rcn", **RcnConfig.preset(name).to_diff_dict()} for name in ("rcn-c", "strcn-a")),
    ]

    def case(rng: random.Random, folder: Path) -> Case:
        (folder / "config.json").write_text(json.dumps(damaged_values(rng.choice(kinds), rng)))
        return lambda: RcnForVideoClassification(RcnConfig.from_pretrained(folder))

    return case


def processors(work: Path) -> Callable[[random.Random, Path], Case]:
    """video_preprocessor_config.json with damaged values, as far as an input."""
    folders = [{}, {"connectivity": "sequence", "num_frames": 4, "image_mean": [0.5] * 3, "image_std": [0.2] * 3}]
    kinds = [json.loads(RcnVideoProcessor(**options).to_json_string()) for options in folders]
    frames = render_clip(subject=2, clip=0, size=96, fps=50.0).frames

    def case(rng: random.Random, folder: Path) -> Case:
        content = damaged_values(rng.choice(kinds), rng)
        text = json.dumps(content).encode()
        (folder / "video_preprocessor_config.json").write_bytes(
            damaged_bytes(text, rng) if rng.random() < 0.1 else text
        )
        return lambda: RcnVideoProcessor.from_pretrained(folder)(frames, fps=50)

    return case


def recipes(work: Path) -> Callable[[random.Random, Path], Case]:
    """Recipes with damaged values or bytes, as far as their training arguments."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(RECIPES.glob("*.yaml"))}

    def case(rng: random.Random, folder: Path) -> Case:
        text = texts[rng.choice(list(texts))]
        path = folder / "recipe.yaml"
        if rng.random() < 0.3:
            path.write_bytes(damaged_bytes(text.encode(), rng))
        else:
            path.write_text(
                yaml.safe_dump(damaged_values(yaml.safe_load(text), rng), allow_unicode=True), encoding="utf-8"
            )
        return lambda: parse_recipe([str(path), "--output_dir", str(folder / "run")])

    return case


KINDS = {maker.__name__: maker for maker in (videos, pictures, sheets, configurations, processors, recipes)}


# --- running them ---


def outcome(case: Case) -> tuple[str, str]:
    """What becomes of a case, in a word or two, and a traceback where it is a fault."""
    try:
        case()
    except MerHfError as error:
        return ("words", "") if str(error) else ("fault: an error without a message", traceback.format_exc())
    except OSError:
        return "OSError", ""
    except BaseException as error:  # SystemExit and MemoryError are faults like any other
        return f"fault: {type(error).__name__}", traceback.format_exc()
    return "answer", ""


def _in_child(make: Callable[[random.Random, Path], Case], seed: str, folder: Path, sender: Any) -> None:
    with Path("/proc/self/statm").open() as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        case = make(random.Random(seed), folder)
    except Exception:  # a workbook that was so damaged that it cannot be written
        sender.send(("not made", ""))
        os._exit(0)
    resource.setrlimit(resource.RLIMIT_AS, (held + BYTES, held + BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))  # SIGXCPU
    sender.send(outcome(case))
    sender.close()
    os._exit(0)  # at once: nothing of the parent is to be tidied up here


def run(make: Callable[[random.Random, Path], Case], seed: str, folder: Path) -> tuple[str, str]:
    """The outcome of a case in a process of its own."""
    context = multiprocessing.get_context("fork")  # with everything imported and read
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(make, seed, folder, sender))
    child.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(WAIT) else (f"fault: no end after {WAIT} s", "")
    except EOFError:
        child.join()
        code = child.exitcode
        return f"fault: ended by {signal.Signals(-code).name if code < 0 else f'exit status {code}'}", ""
    finally:
        child.kill()
        child.join()


def main() -> None:
    """Run cases until the time is up, print counts, and keep what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=KINDS, nargs="+", default=list(KINDS), help="kinds of input (default: all)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz"), help="where faults are kept (default: %(default)s)")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)  # a fork has none of the threads that a library would wait for
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    counts: dict[str, Counter] = {kind: Counter() for kind in arguments.only}
    end = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as name:
        makers = {kind: KINDS[kind](Path(name)) for kind in arguments.only}
        for number in itertools.count():
            if time.monotonic() > end:
                break
            kind, seed = arguments.only[number % len(arguments.only)], f"{arguments.seed}-{number}"
            folder = Path(name) / seed
            folder.mkdir()
            what, said = run(makers[kind], seed, folder)
            counts[kind][what] += 1
            if what.startswith("fault"):
                kept = shutil.copytree(folder, arguments.keep / f"{kind}-{seed}", dirs_exist_ok=True)
                (kept / "said.txt").write_text(f"{what}\n{said}", encoding="utf-8")
                print(f"{kind} {seed}: {what}, kept in {kept}", flush=True)
            shutil.rmtree(folder)
    for kind, found in counts.items():
        print(
            f"{kind:15} {sum(found.values()):6} " + ", ".join(f"{count} {what}" for what, count in found.most_common())
        )
    sys.exit(any(what.startswith("fault") for found in counts.values() for what in found))


if __name__ == "__main__":
    main()
