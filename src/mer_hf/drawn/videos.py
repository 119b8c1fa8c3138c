"""A long video of a drawn face: expressions now and then, blinks and glances throughout, a head that never quite rests.

a subject, a length -> when there is an expression, a blink, a glance, a shift of the head -> frame after frame
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mer_hf.drawn.rendering import (
    BLINK_SECONDS,
    EMOTION_CLASSES,
    EXPRESSION,
    HEAD_SHIFT_PIXELS,
    HEAD_SHIFT_SECONDS,
    SMALLEST,
    _draw_expression,
    _draw_scene,
    _draw_view,
    _ease,
    _Expression,
    _portrait,
    _profile,
    _render_frame,
    check_at_least,
    check_rate,
    draw_recording,
    one_thread,
    random_stream,
)

BLINKS = 17.0  # a minute, at rest (Bentivoglio et al., 1997)
GLANCES = 12.0  # a minute
SHIFTS = 6.0  # quick head movements a minute
_VIDEO_STREAM = 16  # beside those of `rendering`


@dataclass(frozen=True)
class RenderedEvent:
    """An expression in a rendered video: onset, apex and offset in seconds, its class, its units."""

    onset: float
    apex: float
    offset: float
    emotion_class: str
    action_units: tuple[int, ...]


class RenderedVideo:
    """A long video, rendered as it is looked at.

    Args:
        subject: number of the subject, from 0.
        seconds: how long it is, at least 2.
        expressions: how many micro-expressions it has, evenly spread but for chance; each needs 2 seconds.
        fps: frames per second.
        size: width and height of a frame, at least 64 pixels.
        seed: of everything random.

    Attributes:
        events: the expressions, by their onset.

    Raises:
        MerHfError: for an argument out of its range.
    """

    def __init__(
        self, subject: int, seconds: float, expressions: int, fps: float = 30.0, size: int = 256, seed: int = 0
    ) -> None:
        check_at_least(subject=(subject, 0), seconds=(seconds, 2), expressions=(expressions, 0), size=(size, SMALLEST))
        check_at_least(seed=(seed, 0), seconds_for_each_expression=(seconds / max(expressions, 1), 2))
        check_rate(fps)
        self.subject, self.seconds, self.fps, self.size, self.seed = subject, seconds, fps, size, seed
        rng = random_stream(seed, _VIDEO_STREAM, subject)
        slot = seconds / max(expressions, 1)
        onsets = slot * np.arange(expressions) + rng.uniform(0.6, slot - 1.0, expressions)
        self._expressions = [
            (float(onset), _draw_expression(rng, EMOTION_CLASSES[rng.integers(len(EMOTION_CLASSES))]))
            for onset in onsets
        ]
        self.events = tuple(_event(onset, expression) for onset, expression in self._expressions)

        def moments(rate: float) -> np.ndarray:
            return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds / 60)))

        self._scene = _draw_scene(rng, seconds)
        self._blinks = [
            (float(rng.uniform(0.6, 0.95)), start, float(rng.uniform(*BLINK_SECONDS))) for start in moments(BLINKS)
        ]
        reach = [
            float(np.clip(EXPRESSION.gaze_shift[0] * math.exp(0.6 * rng.standard_normal()), 0, 0.06))
            for _ in moments(GLANCES)
        ]
        self._glances = [
            (start, step * np.array([math.cos(angle), math.sin(angle)]))
            for step, start, angle in zip(
                reach,
                np.sort(rng.uniform(0, seconds, len(reach))),
                rng.normal(0, 0.3, len(reach)) + np.pi * rng.integers(2, size=len(reach)),
                strict=True,
            )
        ]
        self._shifts = [
            (
                start,
                float(rng.uniform(*HEAD_SHIFT_SECONDS)),
                float(rng.uniform(*HEAD_SHIFT_PIXELS)) * np.array([math.cos(angle), math.sin(angle)]),
            )
            for start, angle in ((start, rng.uniform(0, 2 * np.pi)) for start in moments(SHIFTS))
        ]

    def frames(self) -> Iterator[tuple[np.ndarray, float]]:
        """Each frame, (size, size, 3) uint8 RGB, with its time in seconds."""
        recording = draw_recording(self.subject, self.seed)
        portrait = _portrait(self.subject, self.size, self.seed)
        sensor = np.random.Generator(
            np.random.SFC64(np.random.SeedSequence((self.seed, _VIDEO_STREAM + 1, self.subject)))
        )
        rest = _draw_expression(random_stream(0), EMOTION_CLASSES[0])
        views = [
            _draw_view(portrait, expression, self._scene, recording, self.size) for _, expression in self._expressions
        ]
        still = _draw_view(portrait, rest, self._scene, recording, self.size)
        for index in range(round(self.seconds * self.fps)):
            seconds = index / self.fps
            view, level = still, 0.0
            for moving, (onset, expression) in zip(views, self._expressions, strict=True):
                part = float(_level(expression, seconds - onset))
                if part > 0:
                    view, level = moving, part
            with one_thread():
                frame = _render_frame(view, self._scene_at(seconds), recording, seconds, level, sensor)
            yield frame, seconds

    def _scene_at(self, seconds: float):
        """The scene of a moment: the blink that is going on, where the eyes look, where the head has gone."""
        blink = next((b for b in self._blinks if b[1] <= seconds <= b[1] + b[2]), None)
        gaze = shift = np.zeros(2)
        for start, place in self._glances:
            gaze = gaze + (place - gaze) * _ease((seconds - start) / 0.05)
        for start, length, place in self._shifts:
            shift = shift + (place - shift) * _ease((seconds - start) / length)
        past = -1e9  # both are where they are, and do not move by themselves
        return replace(self._scene, blink=blink, gaze=(*gaze, past), head_shift=(*shift, past, 1.0))


def _event(onset: float, expression: _Expression) -> RenderedEvent:
    apex = onset + expression.rise * expression.duration
    units = tuple(sorted(expression.intensities))
    return RenderedEvent(onset, apex, onset + expression.duration, expression.emotion_class, units)


def _level(expression: _Expression, since: float) -> np.ndarray:
    rise = expression.rise * expression.duration
    return _profile(expression, np.array(since), rise, expression.duration) if since > 0 else np.array(0.0)


__all__ = ["RenderedEvent", "RenderedVideo"]
