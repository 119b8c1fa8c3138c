"""Plant drawn micro-expressions into real video, and count which of them are found.

    python scripts/planted.py VIDEO [VIDEO ...] [--units all|brows] [--copies 8] [--model FOLDER]

No recording of a spontaneous micro-expression can be passed on, but any video can be made to hold one: at known times
the skin of its face is moved as a table of action units has it, a copy of ours with every number off (places by .08 eye
distances, directions by 15 degrees, lengths x .6 to 1.4), so that it is not that of the training. Everything else is
real: the face, its blinks and its speech, the camera, the codec, detection, tracking and flow. What is found in the
untouched video is false, or at least nobody has planted it.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from transformers import pipeline

from mer_hf.action_units import UNITS_IN_LONG_VIDEO, damaged_table, displacement
from mer_hf.drawn.sequences import LOWER_SETS, UPPER_SETS
from mer_hf.metrics import interval_iou
from mer_hf.rcn.decoding_rcn import stream_video
from mer_hf.rcn.tracking_rcn import FaceTracker

AMPLITUDE = (0.0125, 0.05)  # eye distances, largest displacement; log-uniform, as are rise and fall in seconds
RISE, FALL = (0.08, 0.27), (0.1, 1.5)
EVERY = 2.6  # seconds between two of them
FOUND = 0.25  # seconds between the two apexes


@dataclass(frozen=True)
class Planted:
    """An expression that was planted: its times in seconds, its units with their intensities, its length."""

    onset: float
    apex: float
    offset: float
    units: dict[int, float]
    sides: tuple[float, float]
    amplitude: float


def schedule(seconds: float, units: str, rng: np.random.Generator) -> list[Planted]:
    """Expressions at times of their own, for one copy of a video."""
    plants, onset = [], rng.uniform(0.5, 1.2)
    while True:
        rise, fall = (math.exp(rng.uniform(*np.log(span))) for span in (RISE, FALL))
        if onset + rise + fall > seconds - 0.2:
            return plants
        sets = UPPER_SETS if units == "brows" or rng.random() < 0.4 else LOWER_SETS
        if units == "brows":
            sets = {members: share for members, share in sets.items() if {1, 2, 4} & set(members)}
        shares = np.array(list(sets.values()))
        members = list(sets)[rng.choice(len(sets), p=shares / shares.sum())]
        lean = rng.normal(0, 0.25)
        plants.append(
            Planted(
                onset,
                onset + rise,
                onset + rise + fall,
                {unit: rng.uniform(0.6, 1.2) for unit in members},
                (math.exp(lean), math.exp(-lean)),
                math.exp(rng.uniform(*np.log(AMPLITUDE))),
            )
        )
        onset += max(rise + fall + 0.8, EVERY) + rng.uniform(-0.3, 0.5)


def level(plant: Planted, seconds: float) -> float:
    """How much of an expression is there, from 0 to 1."""
    rises = np.clip((seconds - plant.onset) / (plant.apex - plant.onset), 0, 1)
    falls = np.clip((seconds - plant.apex) / (plant.offset - plant.apex), 0, 1)
    return float((0.5 - 0.5 * np.cos(np.pi * rises)) * (0.5 + 0.5 * np.cos(np.pi * falls)))


def face_places(frames: list[tuple[np.ndarray, float]]) -> list[np.ndarray | None]:
    """Where the face with the number 0 is in each frame, (2, 3), smoothed over time."""
    tracker = FaceTracker()
    views = [{view.number: view for view in tracker.update(frame, seconds)} for frame, seconds in frames]
    return [found[0].face_to_frame if 0 in found and not found[0].reason else None for found in views]


def move_skin(frame: np.ndarray, place: np.ndarray, plant: Planted, part: float, table: dict) -> np.ndarray:
    """A frame in which the skin of a face has moved by a part of an expression."""
    height, width = frame.shape
    scale = math.hypot(place[0, 0], place[1, 0])
    step = max(2, round(scale / 25))
    x, y = np.meshgrid(np.arange(0, width + step, step), np.arange(0, height + step, step))
    pixels = np.stack([x, y], -1).astype(np.float64)
    inverse = cv2.invertAffineTransform(place)
    points = pixels @ inverse[:, :2].T + inverse[:, 2]
    near = (np.abs(points[..., 0]) < 1.6) & (np.abs(points[..., 1] - 0.5) < 1.8)
    moved = np.zeros_like(points)
    moved[near] = displacement(points[near], plant.units, plant.sides, table=table)
    moved *= part * plant.amplitude / max(np.linalg.norm(moved, axis=-1).max(), 1e-9)
    moved = (moved @ place[:, :2].T).astype(np.float32)
    size = (moved.shape[1] * step, moved.shape[0] * step)
    # the centre of a large pixel is not that of its first small one
    shift = np.array([[step, 0, 0], [0, step, 0]], np.float64)
    dense = cv2.warpAffine(moved, shift, size, flags=cv2.INTER_LINEAR)[:height, :width]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    return cv2.remap(frame, grid - dense, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def with_plants(
    frames: list[tuple[np.ndarray, float]], places: list[np.ndarray | None], plants: list[Planted], table: dict
) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of a video, with expressions."""
    for (frame, seconds), place in zip(frames, places, strict=True):
        for plant in plants:
            if place is not None and (part := level(plant, seconds)) > 1e-3:
                frame = move_skin(frame, place, plant, part, table)
        yield frame, seconds


def poisson_interval(count: int) -> tuple[float, float]:
    """The 95 % interval of a Poisson mean of which this many were counted."""

    def at_most(number: int, mean: float) -> float:
        return sum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(number + 1))

    def solve(number: int, probability: float) -> float:
        low, high = 1e-9, 10.0 + 4 * number
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(number, middle) > probability else (low, middle)
        return low

    return (0.0 if count == 0 else solve(count - 1, 0.975)), solve(count, 0.025)


def main() -> None:
    """Plant, find, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--units", choices=("all", "brows"), default="all", help="what is planted (default: all)")
    parser.add_argument("--copies", type=int, default=8, help="copies of each video, 0 for none (default: 8)")
    parser.add_argument("--model", help="of the task micro-expression-spotting (default: the one in the package)")
    parser.add_argument("--threshold", type=float, help="least score of an event (default: the model's)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    given = {"model": arguments.model} if arguments.model else {}
    spot = pipeline("micro-expression-spotting", classifier=None, **given)
    table, _ = damaged_table(np.random.default_rng(arguments.seed), table=UNITS_IN_LONG_VIDEO)

    def found_in(frames: Iterator[tuple[np.ndarray, float]]) -> list[dict]:
        events = spot.stream(frames, threshold=arguments.threshold)
        return [event for event in events if event["kind"] != "unwatched" and event["face"] == 0]

    false, minutes, planted, hits, overlaps, errors, extra, watched = 0, 0.0, 0, 0, 0, [], 0, 0.0
    for number, video in enumerate(arguments.videos):
        frames = list(stream_video(video, grey=True))
        places = face_places(frames)
        seconds = frames[-1][1]
        untouched = found_in(iter(frames))
        false, minutes = false + len(untouched), minutes + seconds / 60
        print(f"{video}: {seconds:.1f} s, untouched:", [(e["apex"], e["score"]) for e in untouched], flush=True)
        for copy in range(arguments.copies):
            plants = schedule(seconds, arguments.units, np.random.default_rng((arguments.seed, number, copy)))
            found = found_in(with_plants(frames, places, plants, table))
            free = list(found)
            for plant in plants:
                planted += 1
                near = [event for event in free if abs(event["apex"] - plant.apex) <= FOUND]
                if not near:
                    print(f"  missed: {plant.apex:.2f} s, units {list(plant.units)}, {plant.amplitude:.3f}", flush=True)
                    continue
                event = min(near, key=lambda event: abs(event["apex"] - plant.apex))
                free.remove(event)
                hits += 1
                mine, true = (
                    np.array([[round(25 * start), round(25 * end)]])
                    for start, end in ((event["start"], event["end"]), (plant.onset, plant.offset))
                )
                overlaps += int(interval_iou(mine, true)[0, 0] >= 0.5)
                errors.append(
                    [
                        abs(event["start"] - plant.onset),
                        abs(event["apex"] - plant.apex),
                        abs(event["end"] - plant.offset),
                    ]
                )
            extra, watched = extra + len(free), watched + seconds / 60
    low, high = poisson_interval(false)
    print(
        f"found {hits} of {planted} ({hits / max(planted, 1):.2f}), "
        f"with IoU >= .5 {overlaps} ({overlaps / max(planted, 1):.2f})"
    )
    if errors:
        print("medians of |error|, s: onset {:.3f}, apex {:.3f}, offset {:.3f}".format(*np.median(errors, axis=0)))
    print(
        f"untouched: {false} in {minutes:.2f} min, {false / minutes:.2f} a minute "
        f"(95 %: {low / minutes:.2f} to {high / minutes:.2f})"
    )
    if watched:
        print(f"beside the planted: {extra} in {watched:.2f} min, {extra / watched:.2f} a minute")


if __name__ == "__main__":
    sys.exit(main())
