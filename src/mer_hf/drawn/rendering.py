"""One clip of a drawn face that shows a micro-expression.

A portrait (`portraits`) is warped by the displacement of the action units that show the clip's class
(`mer_hf.action_units`), in sub-pixel steps from onset over apex to offset, amid what surrounds a micro-expression in a
recording: drifting head, blinks, glances, flickering light, sensor noise. Only the units depend on the class.

Every subject and every clip has its own random streams, so a clip is the same whatever else is rendered beside it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from mer_hf.action_units import ACTION_UNITS, UNIT_SHARES, displacement
from mer_hf.drawn.expression import ExpressionStatistics
from mer_hf.drawn.portraits import MARGIN, STORED_SCALE, Portrait, draw_portrait, draw_sitter, lid_edges
from mer_hf.errors import MerHfError

EMOTION_CLASSES = tuple(UNIT_SHARES)

EXPRESSION = ExpressionStatistics()
# How hard the corpus is beside it. Lengths are pixels of a 256-pixel frame unless said otherwise, and scale with it.
REFERENCE_SIZE = 256
PEAK = (1.0, 3.0)  # px, largest displacement by the units at the apex, weakest to strongest intensity
# Where a subject's pattern of motion lies on the face, beyond the proportions that the portrait draws; what a crop of
# a face varies by has these within it (`face_shift` and `face_scale` of `fields`).
PATTERN_SHIFT = 0.03  # eye distances, deviation
PATTERN_SCALE = 0.05  # deviation of the log
BLINK_CLOSURE = (0.10, 0.8, 0.95)  # median, deviation of the log, largest; 1 is shut: now and then a whole blink
BLINK_SECONDS = (0.15, 0.40)
# Recording: set by eye and by the magnitudes usual for fixed cameras and seated subjects.
POSE_SHIFT = 2.0  # px, deviation between the clips of a subject
DRIFT_SHIFT = (1.0, 0.6)  # px over a clip: median, deviation of the log
DRIFT_TURN = (0.005, 0.6)  # radians
DRIFT_SCALE = (0.003, 0.6)
DRIFT_PERIODS = (0.35, 0.8, 1.7)  # s
HEAD_SHIFT = 0.25  # probability of a quick head movement, HEAD_SHIFT_PIXELS within HEAD_SHIFT_SECONDS
HEAD_SHIFT_PIXELS = (1.0, 4.0)
HEAD_SHIFT_SECONDS = (0.15, 0.5)
FLICKER = 0.015  # amplitude of the slow gain of the light
NOISE = (5.0, 9.0)  # levels of 255 in each colour at mid grey (luma: 2/3 of it), per subject; grows with the light
JPEG_QUALITY = (92, 95)

SMALLEST = 64  # pixels; below, a peak of one pixel in 256 is a quarter of a pixel and drowns in noise

# One random stream for each purpose, so that a change to one leaves the others as they are.
(
    _SITTER_STREAM,
    _RECORDING_STREAM,
    _ORDER_STREAM,
    _CLIP_STREAM,
    _SCENE_STREAM,
    _SENSOR_STREAM,
    NAME_STREAM,
    CODER_STREAM,
) = range(8)
_REPRESSION_UNITS = {14, 15, 17, 24}  # the negative units that hold a face back rather than show dislike


@dataclass(frozen=True)
class RenderedClip:
    """A rendered clip.

    Attributes:
        frames: (T, size, size, 3) uint8, RGB.
        onset: index of the first frame of the expression; apex, of its largest displacement; offset, of its last.
        emotion_class: negative, positive or surprise.
        emotion: as CASME II words it: disgust or repression, happiness, surprise.
        action_units: FACS numbers of all units that move, ascending.
        peak: largest displacement by the units at the apex, in pixels.
    """

    frames: np.ndarray
    onset: int
    apex: int
    offset: int
    emotion_class: str
    emotion: str
    action_units: tuple[int, ...]
    peak: float


def render_clip(
    *,
    subject: int,
    clip: int,
    emotion_class: str | None = None,
    fps: float = 200.0,
    size: int = 256,
    seed: int = 0,
    lead_in: float = 0.0,
    lead_out: float = 0.0,
) -> RenderedClip:
    """Render one clip; that of `synthesize` with the same subject and clip (both from 0), fps, size and seed.

    Args:
        subject: number of the subject, at least 0.
        clip: number of the clip, at least 0.
        emotion_class: a class to show instead of the one that the corpus has for this clip.
        fps: frames per second, above 0. The motion is a function of time: another rate samples the same motion. A clip
            has at least three frames, so below about 10 it lasts longer than drawn.
        size: width and height in pixels, at least 64.
        seed: of everything random.
        lead_in: seconds before the onset without expression; the head still drifts.
        lead_out: seconds after the offset, over which the remaining expression fades.

    Raises:
        ValueError: if an argument is out of its range, or `emotion_class` is none of `EMOTION_CLASSES`.
    """
    check_at_least(subject=(subject, 0), clip=(clip, 0), size=(size, SMALLEST), seed=(seed, 0))
    check_at_least(lead_in=(lead_in, 0), lead_out=(lead_out, 0))
    check_rate(fps)
    if emotion_class is not None and emotion_class not in EMOTION_CLASSES:
        raise MerHfError(f"emotion_class is {emotion_class!r}; expected one of {', '.join(EMOTION_CLASSES)}.")
    rng = random_stream(seed, _CLIP_STREAM, subject, clip)
    expression = _draw_expression(rng, emotion_class or clip_class(subject, clip, seed))
    scene = _draw_scene(random_stream(seed, _SCENE_STREAM, subject, clip), expression.duration)
    recording = draw_recording(subject, seed)

    # Whole frames: the apex falls on one, and the annotated duration never exceeds the drawn one.
    before, after = round(lead_in * fps), round(lead_out * fps)
    rise = max(1, round(expression.rise * expression.duration * fps))
    whole = max(rise + 1, int(expression.duration * fps))
    times = (np.arange(before + whole + 1 + after) - before) / fps
    levels = _profile(expression, times, rise / fps, whole / fps)
    with one_thread():
        view = _draw_view(_portrait(subject, size, seed), expression, scene, recording, size)
        sensor = np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, _SENSOR_STREAM, subject, clip))))
        frames = np.stack(
            [_render_frame(view, scene, recording, t, e, sensor) for t, e in zip(times, levels, strict=True)]
        )
    return RenderedClip(
        frames=frames,
        onset=before,
        apex=before + rise,
        offset=before + whole,
        emotion_class=expression.emotion_class,
        emotion=_emotion(expression.emotion_class, expression.unit_set),
        action_units=tuple(sorted(expression.intensities)),
        peak=expression.peak * size / REFERENCE_SIZE,
    )


def clip_class(subject: int, clip: int, seed: int) -> str:
    """Return the class that the corpus has for a clip: all classes once, in random order, in every run of three."""
    block, place = divmod(clip, len(EMOTION_CLASSES))
    order = random_stream(seed, _ORDER_STREAM, subject, block).permutation(len(EMOTION_CLASSES))
    return EMOTION_CLASSES[order[place]]


@dataclass(frozen=True)
class _Expression:
    """What the units do in one clip, in the terms of the constants above."""

    emotion_class: str
    unit_set: tuple[int, ...]
    intensities: dict[int, float]
    side_gain: tuple[float, float]
    shift: np.ndarray
    bump_size: float
    turn: float
    spatial_exponent: float
    peak: float
    duration: float
    rise: float
    time_exponent: float
    remainder: float


def _draw_expression(rng: np.random.Generator, emotion_class: str) -> _Expression:
    shares = UNIT_SHARES[emotion_class]
    unit_set = list(shares)[rng.choice(len(shares), p=list(shares.values()))]
    intensities = {unit: rng.uniform(*EXPRESSION.unit_gain) for unit in unit_set}
    if rng.random() < EXPRESSION.extra_unit:
        others = [unit for unit in ACTION_UNITS if unit not in unit_set]
        intensities[others[rng.integers(len(others))]] = rng.uniform(*EXPRESSION.extra_unit_gain)
    lean = rng.normal(0, EXPRESSION.asymmetry / 2)
    gains = [float(np.exp(lean)), float(np.exp(-lean))]
    if rng.random() < EXPRESSION.one_sided:
        gains[rng.integers(2)] = 0.0
    return _Expression(
        emotion_class=emotion_class,
        unit_set=unit_set,
        intensities=intensities,
        side_gain=(gains[0], gains[1]),
        shift=rng.normal(0, EXPRESSION.place_jitter, 2),
        bump_size=rng.uniform(*EXPRESSION.bump_size),
        turn=EXPRESSION.direction_jitter * float(np.clip(rng.standard_normal(), -2, 2)),
        spatial_exponent=float(rng.choice(EXPRESSION.spatial_exponents)),
        peak=float(np.interp(rng.uniform(*EXPRESSION.intensity), EXPRESSION.intensity, PEAK)),
        duration=rng.uniform(*EXPRESSION.duration),
        rise=rng.uniform(*EXPRESSION.rise),
        time_exponent=rng.uniform(*EXPRESSION.time_exponent),
        remainder=rng.uniform(*EXPRESSION.remainder),
    )


@dataclass(frozen=True)
class Recording:
    """What is fixed for a subject beside the portrait."""

    shift: np.ndarray  # of the pattern of motion on the face, eye distances
    scale: float
    noise: float  # grey levels at mid grey
    jpeg_quality: int


def draw_recording(subject: int, seed: int) -> Recording:
    """Draw what is fixed for a subject."""
    rng = random_stream(seed, _RECORDING_STREAM, subject)
    return Recording(
        shift=rng.normal(0, PATTERN_SHIFT, 2),
        scale=float(np.exp(rng.normal(0, PATTERN_SCALE))),
        noise=rng.uniform(*NOISE),
        jpeg_quality=int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1)),
    )


@dataclass(frozen=True)
class _Scene:
    """What surrounds the expression in one clip; functions of the time since the onset, in seconds."""

    pose: np.ndarray  # (right, down) in pixels of the reference frame
    waves: np.ndarray  # (5, 2, periods): amplitude and phase of right, down, turn, scale, light
    head_shift: tuple[float, float, float, float] | None  # right, down (px), start, seconds
    blink: tuple[float, float, float] | None  # closure, start, seconds
    gaze: tuple[float, float, float] | None  # right, down (eye distances), start


def _draw_scene(rng: np.random.Generator, duration: float) -> _Scene:
    def heavy(median: float, deviation: float, most: float = np.inf) -> float:
        return float(min(median * np.exp(deviation * rng.standard_normal()), most))

    amplitudes = [heavy(*DRIFT_SHIFT), heavy(*DRIFT_SHIFT), heavy(*DRIFT_TURN), heavy(*DRIFT_SCALE), FLICKER]
    periods = len(DRIFT_PERIODS)
    shares = rng.dirichlet(np.ones(periods), len(amplitudes)) * np.asarray(amplitudes)[:, None]
    waves = np.stack([shares, rng.uniform(0, 2 * np.pi, shares.shape)], axis=1)
    pose = rng.normal(0, POSE_SHIFT, 2)
    # Everything is drawn, wanted or not, so that one event does not change the next.
    angle, length, start = rng.uniform(0, 2 * np.pi), rng.uniform(*HEAD_SHIFT_PIXELS), rng.uniform(-0.2, duration)
    head_shift = (length * np.cos(angle), length * np.sin(angle), start, rng.uniform(*HEAD_SHIFT_SECONDS))
    blink = (heavy(*BLINK_CLOSURE), rng.uniform(-0.2, duration), rng.uniform(*BLINK_SECONDS))
    reach, angle = heavy(*EXPRESSION.gaze_shift, 0.06), rng.normal(0, 0.3) + np.pi * rng.integers(2)
    gaze = (reach * np.cos(angle), reach * np.sin(angle), rng.uniform(-0.05, duration))
    chance = rng.random(3)
    return _Scene(
        pose=pose,
        waves=waves,
        head_shift=head_shift if chance[0] < HEAD_SHIFT else None,
        blink=blink if chance[1] < EXPRESSION.blink else None,
        gaze=gaze if chance[2] < EXPRESSION.gaze else None,
    )


@dataclass(frozen=True)
class _View:
    """A portrait as one clip sees it. Maps are (size, size, 2) float32 in stored pixels (right, down)."""

    portrait: Portrait
    grid: np.ndarray  # frame pixels
    rest: np.ndarray  # where the frame pixels lie in the portrait when nothing moves
    follows: np.ndarray  # (size, size, 1): share of the head's motion that a place takes part in
    units: np.ndarray  # displacement by the units at the apex
    lids: np.ndarray  # displacement by shut lids
    eyes: tuple[slice, slice]  # the part of the frame in which eyeballs may show


def _draw_view(portrait: Portrait, expression: _Expression, scene: _Scene, recording: Recording, size: int) -> _View:
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1).astype(np.float32)
    stored = _stored_pixels(grid, size, shift=scene.pose * size / REFERENCE_SIZE)
    points = cv2.remap(portrait.points, stored, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    peak = STORED_SCALE * expression.peak * size / REFERENCE_SIZE
    axes = _face_axes(portrait)
    eye_row = np.abs(points[..., 1]) < 0.30
    eye_column = np.abs(points[..., 0]) < 0.90
    rows = np.flatnonzero((eye_row & eye_column).any(axis=1))
    columns = np.flatnonzero((eye_row & eye_column).any(axis=0))
    return _View(
        portrait=portrait,
        grid=grid,
        rest=stored,
        follows=_follows_head(points),
        units=(peak * _unit_motion(points, expression, recording) @ axes).astype(np.float32),
        lids=(portrait.pixels_per_unit * _lid_motion(points, portrait) @ axes).astype(np.float32),
        eyes=(slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)),
    )


def _follows_head(points: np.ndarray) -> np.ndarray:
    """1 on the head; less down the neck; 0 on the wall, which is plain enough to hide the seam."""
    across, y = np.abs(points[..., 0]), points[..., 1]
    return ((1 - _ease((across - 1.25) / 0.4)) * (1 - 0.7 * _ease((y - 1.5) / 0.5)))[..., None].astype(np.float32)


def _unit_motion(points: np.ndarray, expression: _Expression, recording: Recording) -> np.ndarray:
    """Displacement (..., 2) by the units, in face directions, with a largest length of 1."""
    placed = (points - recording.shift - expression.shift).astype(np.float32) / np.float32(recording.scale)
    moved = displacement(placed, expression.intensities, expression.side_gain, expression.bump_size)
    angle = expression.turn * np.tanh(points[..., 0] / 0.2)  # mirrored, and none on the midline
    cos, sin = np.cos(angle), np.sin(angle)
    moved = np.stack([cos * moved[..., 0] - sin * moved[..., 1], sin * moved[..., 0] + cos * moved[..., 1]], axis=-1)
    length = np.linalg.norm(moved, axis=-1, keepdims=True)
    length = np.maximum(length / length.max(), 1e-6)
    return moved / np.linalg.norm(moved, axis=-1).max() * length ** (expression.spatial_exponent - 1)


def _lid_motion(points: np.ndarray, portrait: Portrait) -> np.ndarray:
    """Displacement (..., 2) by shut lids, in eye distances.

    The edge of the upper lid travels over nearly the whole opening. Skin near the edge moves with it unstretched; what
    it needs comes out of the fold below the brow. A share of this displacement keeps the order of points, so a partial
    blink does not tear either.
    """
    below = 0.10
    y = points[..., 1]
    top, bottom = lid_edges(portrait.sitter, np.abs(points[..., 0]))
    opening = bottom - top
    reach = np.maximum(0.15, opening)  # less skin than the opening is high would have to fold
    lid, rim = top + 0.93 * opening, bottom - 0.05 * opening
    stretch = (reach + lid - top) / reach
    up = np.clip((lid - y) / (reach + lid - top), 0, 1)
    source = top - reach * (stretch * up + (1 - stretch) * up**2)
    within = np.clip((y - lid) / np.maximum(rim - lid, 1e-4), 0, 1)
    source = np.where(y > lid, top + opening * within, source)
    source = np.where(y > rim, bottom + (y - rim) * below / (bottom + below - rim), source)
    moved = np.where((y < top - reach) | (y > bottom + below), 0, y - source)
    return np.stack([np.zeros_like(moved), moved], axis=-1)


def _render_frame(
    view: _View, scene: _Scene, recording: Recording, time: float, level: float, sensor: np.random.Generator
) -> np.ndarray:
    """One frame (size, size, 3) uint8 RGB at a time in seconds, with the expression at a level of 0..1."""
    size = len(view.grid)
    scale = size / REFERENCE_SIZE
    waves = (scene.waves[:, 0] * np.sin(2 * np.pi * time / np.array(DRIFT_PERIODS) + scene.waves[:, 1])).sum(axis=1)
    shift = scene.pose + waves[:2]
    if scene.head_shift:
        right, down, start, seconds = scene.head_shift
        shift = shift + np.array([right, down]) * _ease((time - start) / seconds)
    stored = _stored_pixels(view.grid, size, shift=shift * scale, turn=waves[2], grow=1 + waves[3])
    stored = view.rest + view.follows * (stored - view.rest)

    portrait = view.portrait
    moved = stored - np.float32(level) * view.units
    if scene.blink:
        closure, start, seconds = scene.blink
        # Lids shut in about a third of the time they take to open.
        along = (time - start) / seconds
        closed = closure * (_ease(along / 0.35) - _ease((along - 0.35) / 0.65))
        moved -= np.float32(closed) * view.lids
    glance = np.zeros(2, np.float32)
    if scene.gaze:
        right, down, start = scene.gaze
        glance = portrait.pixels_per_unit * np.array([right, down], np.float32) * _ease((time - start) / 0.05)

    skin = cv2.remap(portrait.skin, moved, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    picture, opacity = skin[..., :3], skin[view.eyes][..., 3:]
    eyeballs = stored[view.eyes] - glance.astype(np.float32)
    eyeballs = cv2.remap(portrait.eyes, eyeballs, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    picture[view.eyes] += eyeballs * (1 - opacity)

    picture = np.clip(picture * np.float32(1 + waves[4]), 0, 255)
    deviation = recording.noise * np.sqrt(0.4 + 0.6 / 128 * picture)
    picture += deviation * sensor.standard_normal(picture.shape, np.float32)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _stored_pixels(grid: np.ndarray, size: int, shift: np.ndarray, turn: float = 0.0, grow: float = 1.0) -> np.ndarray:
    """Where in the stored portrait the pixels of a frame lie when the head is shifted (px), turned and grown."""
    cos, sin = np.cos(turn) / grow, np.sin(turn) / grow
    middle = (size - 1) / 2
    inverse = np.array([[cos, -sin], [sin, cos]], np.float32)  # applied from the right
    offset = (-middle - np.asarray(shift)) @ inverse + middle
    offset = STORED_SCALE * (offset + 0.5 + MARGIN * size) - 0.5
    return grid @ (STORED_SCALE * inverse) + offset.astype(np.float32)


def _face_axes(portrait: Portrait) -> np.ndarray:
    """Rows: the face's own axes in image directions."""
    cos, sin = np.cos(portrait.sitter.roll), np.sin(portrait.sitter.roll)
    return np.array([[cos, sin], [-sin, cos]], np.float32)


def _profile(expression: _Expression, times: np.ndarray, rise: float, whole: float) -> np.ndarray:
    """Level of the expression over time: 0 before the onset, 1 at the apex, fading from the offset on."""
    up = _ease(times / rise) ** expression.time_exponent
    down = _ease((whole - times) / (whole - rise)) ** expression.time_exponent
    down = expression.remainder + (1 - expression.remainder) * down
    level = np.where(times <= rise, up, down)
    return level * (1 - _ease((times - whole) / whole))


def _ease(t: float | np.ndarray) -> float | np.ndarray:
    """Half a cosine from 0 at t = 0 to 1 at t = 1, constant outside."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(t, 0, 1))


def _emotion(emotion_class: str, unit_set: Sequence[int]) -> str:
    """The emotion as CASME II words it."""
    if emotion_class == "positive":
        return "happiness"
    if emotion_class == "negative":
        return "repression" if _REPRESSION_UNITS.intersection(unit_set) else "disgust"
    return "surprise"


@lru_cache(maxsize=2)
def _portrait(subject: int, size: int, seed: int) -> Portrait:
    rng = random_stream(seed, _SITTER_STREAM, subject)
    return draw_portrait(draw_sitter(subject, rng), size, rng)


def random_stream(*key: int) -> np.random.Generator:
    """Random numbers for a key: the seed, the purpose, then the subject, and the clip."""
    return np.random.default_rng(np.random.SeedSequence(key))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread, for frames this small and for processes side by side."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def check_at_least(**arguments: tuple[float, float]) -> None:
    """Raise ValueError for the first of the arguments, each (value, least accepted), that is too small."""
    for name, (value, least) in arguments.items():
        if not value >= least:
            raise MerHfError(f"{name} is {value}; expected {least} or more.")


def check_rate(fps: float) -> None:
    """Raise ValueError unless `fps` is a positive number."""
    if not 0 < fps < np.inf:
        raise MerHfError(f"fps is {fps}; expected more than 0.")
