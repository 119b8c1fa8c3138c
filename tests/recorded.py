"""Recordings of people whose motion is drawn: what a network learns from, without a frame."""

import numpy as np
import torch

from mer_hf.drawn.sequences import RATE, SequenceSettings, draw_sequences
from mer_hf.rcn.motion_rcn import grid_places, residual_motion
from mer_hf.rcn.pipeline_spotting_rcn import FaceMotion
from mer_hf.training.recordings import Recorded, moments_of

EASY = SequenceSettings(
    amplitude=(0.06, 0.08),
    without=0.0,
    speakers=0.0,
    macro=0.0,
    blinks=(0.0, 0.1),
    glances=(0.0, 0.1),
    head_speed=(0.02, 0.1),
    shifts=0.0,
    flat=0.0,
    outliers=0.0,
    lost=0.0,
)
UNITS = {(True, False): "4", (False, True): "12", (True, True): "9"}


def row_of(drawn, number, fps=100.0):
    """A drawn sequence as the row of a recording, whose frames begin with number 1."""
    events = [
        {
            **{name: 1 + round(fps * float(at)) for name, at in zip(("onset", "apex", "offset"), times, strict=True)},
            "kind": "micro",
            "action_units": UNITS[tuple(parts.tolist())],
            "emotion": None,
        }
        for times, parts in zip(drawn.events[number], drawn.parts[number], strict=True)
        if not times.isnan().any()
    ]
    return {
        "recording_id": f"smic-e/s{number + 1}/take",
        "corpus": "smic-e",
        "subject": f"smic/s{number + 1}",
        "frames": [],
        "numbers": [1, 1 + round(fps * drawn.targets.shape[1] / RATE)],
        "fps": fps,
        "events": events,
        "blinks": [],
    }


def recorded_people(count, seconds, seed=1):
    """A recording of each of so many people."""
    drawn = draw_sequences(count, seconds, grid_places(torch.device("cpu")), torch.Generator().manual_seed(seed), EASY)
    motion = residual_motion(drawn.motion)
    times = np.arange(drawn.targets.shape[1]) / RATE
    return [
        Recorded(
            row_of(drawn, number),
            moments_of([FaceMotion(0, times, type(motion)(*(value[number] for value in motion)))]),
            f"key {number}",
        )
        for number in range(count)
    ]
