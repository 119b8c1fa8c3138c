"""Long video of a face, drawn: motion between frames .2 s apart, second after second, with what is to be found in it.

    who sits there: the face, its texture, the camera -> what happens when: expressions, blinks, gaze, speech, head
      -> displacement of each from rest, at the times of the two frames of every pair -> patterns of skin x displacement
      -> what optical flow makes of it -> DrawnSequences, and what is true of every moment

A field is the difference of two displacements, so all that moves has a past and an end as it has in a real face: what
rises must stay or fall, and the noise of a frame shows once as it is and once inverted. As in `fields`, a pattern is a
sum of rows times columns, and a field a sum of patterns: a core draws thousands of seconds a second.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mer_hf.action_units import UNITS_IN_LONG_VIDEO, ActionUnit, Bump, damaged_table
from mer_hf.drawn.bumps import Bumps, Draws, both_sides, sum_of_bumps, unit_table, vary
from mer_hf.drawn.courses import ease
from mer_hf.drawn.expression import ExpressionStatistics
from mer_hf.errors import MerHfError

RATE = 25.0
"""Pairs a second."""
PAIR_SECONDS = 0.2
TARGETS = (
    *("upper expression", "upper onset", "upper apex", "upper offset"),
    *("lower expression", "lower onset", "lower apex", "lower offset"),
    *("speech", "blink", "macro"),
)
"""What is true of a moment: of the upper and the lower face apart, whether it is within a micro-expression, at its
onset, its apex, its offset; and whether the face speaks, blinks, or makes a longer expression."""
UPPER_UNITS = frozenset({1, 2, 4, 5, 7, 9})
"""Units that move brows, lids or the root of the nose."""
LOWER_UNITS = frozenset({6, 9, 10, 12, 14, 15, 16, 17, 18, 24, 25, 26, 38})
"""Units that move cheeks, nose or mouth."""

UPPER_SETS = {(4,): 0.40, (4, 7): 0.10, (1, 2): 0.22, (1,): 0.08, (2,): 0.06, (5,): 0.05, (1, 2, 5): 0.04, (7,): 0.05}
LOWER_SETS = {
    **{(14,): 0.30, (24,): 0.09, (9,): 0.09, (12,): 0.10, (6, 12): 0.08, (38,): 0.05, (10,): 0.06, (17,): 0.06},
    **{(15,): 0.04, (15, 17): 0.02, (4, 9): 0.04, (18,): 0.02, (16,): 0.02, (25,): 0.02, (26,): 0.01},
}
"""Sets of units and their shares, about as often as they are coded in the long videos of CAS(ME)3: AU4 in 274 of 860,
14 in 193, 1 in 153, 2 in 128, 24 in 59, 9 in 50, 5 in 44, 38 in 30, 7 in 27, 17 in 20."""

MOUTH = ((26,), (25,), (18,), (12,), (10,), (17,), (24,), (16,))
"""What a speaking mouth is made of."""
BROWS = ((1, 2), (4,))
"""What accents speech."""
BLINK_BUMPS = (
    Bump(0.50, -0.05, 0.0, 1.0, 0.19, 0.07),  # upper lid
    Bump(0.48, 0.10, -0.25, 0.0, 0.18, 0.06),  # lower lid, towards the nose (Doane, 1980)
    Bump(0.50, 0.32, 0.0, -0.10, 0.22, 0.14),  # cheek
    Bump(0.45, -0.22, 0.0, 0.10, 0.22, 0.10),  # brow
)
IRIS_BUMPS = (Bump(0.50, 0.01, 1.0, 1.0, 0.10, 0.06),)
LID_BUMPS = (Bump(0.50, -0.06, 0.0, 1.0, 0.17, 0.06),)
NEAR = 0.06  # seconds from a moment in which it still counts: deviation of a Gaussian
WAVES = 6  # sines in a motion without end


@dataclass(frozen=True)
class SequenceSettings:
    """How sequences are drawn. Lengths are eye distances, times seconds; a pair (median, deviation of the log) where
    nothing else is said. Sources in brackets; what has none was set by the look of flow on faces.

    Attributes:
        action_units: the table.
        upper_sets, lower_sets: which units make a micro-expression of the upper, of the lower face.
        frame_rates: of the camera, least and most.
        without: share of sequences that hold no micro-expression.
        most_micro: micro-expressions in a sequence of the others, from 1.
        amplitude: largest displacement by a micro-expression, least and most. Where measured on residual motion it is
            .0125 to .05, and about .6 of a displacement is left as that: .02 to .08. Some are fainter here.
        rise: from onset to apex, least and most (CAS(ME)2, SAMM-LV, CAS(ME)3: 99 % of .08 to .27).
        fall: from apex to offset, least and most; the median of CAS(ME)3 is .5, and one in twenty has more than 2.
        stays: probability that a part of the displacement stays; else what is left at the offset relaxes.
        on_blink: probability that a micro-expression begins on a blink or right after it (16 of 105).
        in_macro: probability that it begins inside a longer expression.
        expression: how patterns of units differ, in place more than in a clip that is aligned as a whole, how a
            micro-expression eases, and what is left of it at its offset; the times and strengths of long video are
            those below.
        face_shift, face_scale: of a face's features, as in `DrawingSettings`.
        blinks: a minute (Bentivoglio et al., 1997: 17 at rest, 26 in conversation, 4.5 reading).
        blink_reach: how far the flow of a lid goes over a whole blink.
        blink_close, blink_open: least and most; closing takes less than opening (Sforza et al., 2008).
        hard_blink: probability that a blink lowers the brow, by .01 to .03, and tightens what is around the eye.
        glances: a minute; iris and lids move by glance_reach within .04 to .1 s.
        speakers: share of sequences in which the face speaks.
        speech_rate: Hz, least and most (Chandrasekaran et al., 2009).
        speech_reach: displacement by a unit of a speaking mouth.
        lively: share of speakers who talk as on television, with a livelier mouth and head, and whose brows accent what
            they say, `accents` times a minute (none in read speech, 67 a minute on television). Most of these accents
            are as fast and as far as a micro-expression, so nobody could tell one of them: while these speak, there is
            none. Others accent a quarter as often, and go as far as quick_amplitude.
        macro: mean number of longer expressions in a sequence (.4 to 1.7 in 12 s of three corpora); they rise in
            macro_rise (medians .40 and .47) and last macro_stay more, with amplitudes of macro_amplitude, least and
            most.
        quick: share of these that rise in quick_rise, as fast as a micro-expression, but go further, quick_amplitude:
            brows that are raised, a mouth that opens or is shut (.06 to .2 of residual motion in the unrehearsed video
            that was looked at, where micro-expressions have .0125 to .05). One in four comes with a blink.
        chewing: share of sequences with a bout of chewing, at 1.57 Hz (.94 to 2.17).
        swallowing: mean number in a sequence.
        head_speed: eye distances a second, of a silent head (.02 to .04 still, .04 to .12 quiet).
        shifts: mean number of times in a sequence that a head is put elsewhere, or leans in, by shift_reach, least and
            most (in unrehearsed video a tenth of all moments have .1 to .3 over .2 s, and half less than .02).
        stir: by how much more the head of a calm and of a lively speaker moves (.06 to .15 and .16 to .7).
        visible: how much of a motion flow finds, least and most over the face. What is left of it with the head taken
            off is .40 to .76 of the displacement (tenth and ninetieth percentile; .45 to .78 planted in real video).
        smoothing: deviation of the Gaussian over which flow averages, least and most.
        noise: of flow in a still face.
        noise_of_motion: what a moving head adds to it, as a part of its motion. With both, the largest residual motion
            of a silent face is .005, .010 and .020 (percentiles 10, 50, 90 of the medians of sequences; .010 in the
            one quiet clip that was looked at).
        noise_renewed: part of it that a frame brings anew, least and most; a coder keeps the rest from the frame
            before. Neighbouring pairs of moments in which little moves correlate by .70 (.64 and .78 in two videos;
            fresh noise in every frame, with all else as it is: .38).
        keyframes: frames between two; each shifts the picture by keyframe_shift.
        flat: share of sequences with spots of plain skin or shadow, where flow is at the mercy of the coder: what it
            finds in a frame there, flat_shift off, stays as long as the coder repeats the spot (in a still picture with
            noise, re-encoded, the largest residual motion is .023 in the median, and .08 at worst, in a few cells).
        outliers: mean number of moments in which flow goes astray somewhere, by outlier_shift.
        lost: mean number of times that a face goes too fast for flow, or is covered: what is found then, lost_shift
            off from pair to pair (.05 to .6 where a man in a car throws back his head), is no motion of skin.
    """

    action_units: Mapping[int, ActionUnit] = field(default_factory=lambda: UNITS_IN_LONG_VIDEO)
    upper_sets: Mapping[tuple[int, ...], float] = field(default_factory=lambda: UPPER_SETS)
    lower_sets: Mapping[tuple[int, ...], float] = field(default_factory=lambda: LOWER_SETS)
    frame_rates: tuple[float, float] = (24.0, 60.0)
    without: float = 0.4
    most_micro: int = 4
    amplitude: tuple[float, float] = (0.0125, 0.09)
    rise: tuple[float, float] = (0.08, 0.27)
    fall: tuple[float, float] = (0.1, 1.8)
    stays: float = 0.2
    on_blink: float = 0.15
    in_macro: float = 0.1
    expression: ExpressionStatistics = field(default_factory=lambda: ExpressionStatistics(place_jitter=0.06))
    face_shift: float = 0.05
    face_scale: float = 0.07
    blinks: tuple[float, float] = (17.0, 0.6)
    blink_reach: tuple[float, float] = (0.09, 0.5)
    blink_close: tuple[float, float] = (0.07, 0.16)
    blink_open: tuple[float, float] = (0.14, 0.40)
    hard_blink: float = 0.25
    glances: tuple[float, float] = (25.0, 0.7)
    glance_reach: tuple[float, float] = (0.03, 0.6)
    speakers: float = 0.4
    speech_rate: tuple[float, float] = (1.5, 7.0)
    speech_reach: tuple[float, float] = (0.022, 0.6)
    lively: float = 0.25
    accents: tuple[float, float] = (40.0, 0.5)
    macro: float = 1.2
    macro_rise: tuple[float, float] = (0.4, 1.2)
    macro_stay: tuple[float, float] = (0.6, 0.9)
    macro_amplitude: tuple[float, float] = (0.025, 0.2)
    quick: float = 0.5
    quick_rise: tuple[float, float] = (0.08, 0.4)
    quick_amplitude: tuple[float, float] = (0.09, 0.5)
    chewing: float = 0.05
    swallowing: float = 0.2
    head_speed: tuple[float, float] = (0.12, 0.8)
    shifts: float = 0.5
    shift_reach: tuple[float, float] = (0.05, 0.8)
    stir: tuple[float, float] = (0.2, 1.5)
    visible: tuple[float, float] = (0.2, 0.9)
    smoothing: tuple[float, float] = (0.02, 0.06)
    noise: tuple[float, float] = (0.0012, 0.6)
    noise_renewed: tuple[float, float] = (0.03, 1.0)
    noise_of_motion: tuple[float, float] = (0.02, 0.7)
    keyframes: tuple[float, float] = (8.0, 250.0)
    keyframe_shift: tuple[float, float] = (0.001, 0.9)
    flat: float = 0.5
    flat_shift: tuple[float, float] = (0.006, 0.9)
    outliers: float = 2.5
    outlier_shift: tuple[float, float] = (0.01, 0.7)
    lost: float = 0.1
    lost_shift: tuple[float, float] = (0.08, 0.8)


def held_back_sequences() -> dict[str, SequenceSettings]:
    """Versions to judge a network by that was trained on the default one, by what is shifted in them.

    `table` has every number of the table of units off (see `damaged_table`), and `all` has all of the shifts at once.
    """
    units, _ = damaged_table(np.random.default_rng(0), table=UNITS_IN_LONG_VIDEO)
    shifts = {
        "noise": {"noise": (0.0019, 0.6), "keyframe_shift": (0.002, 0.9), "outliers": 5.0},
        "around": {"head_speed": (0.18, 0.8), "blinks": (24.0, 0.6), "glances": (40.0, 0.7), "macro": 2.0},
        "speech": {"speakers": 0.7, "speech_reach": (0.03, 0.6)},
        "table": {"action_units": units},
    }
    shifts["all"] = {name: value for shift in shifts.values() for name, value in shift.items()}
    return {name: replace(SequenceSettings(), **shift) for name, shift in shifts.items()}


class DrawnSequences(NamedTuple):
    """Drawn sequences.

    Attributes:
        motion: (B, T, 2, rows, columns) float32, motion over each pair, to the right and downwards, in eye distances,
            the head's with it.
        targets: (B, T, 11) float32, from 0 to 1, see `TARGETS`; onset, apex and offset fall off over .1 s.
        events: (B, E, 3) float32, onset, apex and offset of each micro-expression, in seconds from the first pair's
            second frame; NaN where there is none.
        parts: (B, E, 2) bool, whether it moves the upper face, and the lower.
    """

    motion: Tensor
    targets: Tensor
    events: Tensor
    parts: Tensor


def draw_sequences(
    count: int,
    seconds: float,
    places: Tensor,
    generator: torch.Generator,
    settings: SequenceSettings | None = None,
    device: torch.device | str = "cpu",
) -> DrawnSequences:
    """Draw sequences.

    Args:
        count: B, the number of sequences.
        seconds: how long each of them is.
        places: (2, rows, columns), face coordinates of the cells' centres, a rectangular grid.
        generator: on the CPU, so that a seed gives the same sequences, up to rounding, on every device.
        settings: how they are drawn; None is the default.
        device: where the sequences are wanted.

    Raises:
        MerHfError: for a count below 1, less than 2 seconds, or a generator that is not on the CPU.
    """
    if count < 1 or not 2 <= seconds < math.inf:
        raise MerHfError(f"there is nothing to draw: {count} sequences of {seconds} s; at least 1 of 2 s")
    settings = settings or SequenceSettings()
    draws = Draws(count, generator, torch.device(device))
    face = _draw_face(draws, places.to(device), settings)
    clock = _draw_clock(draws, seconds, settings)
    speech = _draw_speech(draws, face, clock, settings)
    blinks = _draw_blinks(draws, face, clock, speech, settings)
    macro = _draw_macro(draws, face, clock, blinks, settings)
    micro = _draw_micro(draws, face, clock, speech, blinks, macro, settings)
    movers = [micro.mover, macro.mover, *blinks.movers, *speech.movers]
    movers += [_draw_glances(draws, face, clock, settings), _draw_eating(draws, face, clock, settings)]
    motion = _measured(draws, movers, face, clock, speech, settings)
    return DrawnSequences(motion, _targets(clock, micro, macro, blinks, speech), micro.events, micro.parts)


# --- who sits there, and when frames are taken ---


class _Face(NamedTuple):
    """across (B, columns) and down (B, rows), face coordinates; smoothing (B, 1), what flow averages over."""

    across: Tensor
    down: Tensor
    smoothing: Tensor


class _Clock(NamedTuple):
    """times (B, T) of pairs; both (2, B, T), when the frames were taken, the earlier ones last; seconds in all."""

    times: Tensor
    both: Tensor
    seconds: float


def _draw_face(draws: Draws, places: Tensor, settings: SequenceSettings) -> _Face:
    shift, scale = draws.normal(settings.face_shift, 2, 1), draws.normal(settings.face_scale, 2, 1).exp()
    across, down = (
        (axis - shift[:, index]) / scale[:, index] for index, axis in enumerate((places[0, 0], places[1, :, 0]))
    )
    return _Face(across, down, draws.uniform(*settings.smoothing, 1))


def _draw_clock(draws: Draws, seconds: float, settings: SequenceSettings) -> _Clock:
    times = torch.arange(round(seconds * RATE), device=draws.device) / RATE
    rate, phase = draws.uniform(*settings.frame_rates, 1), draws.uniform(0, 1, 1)
    both = torch.stack([times.expand(draws.count, -1), times.expand(draws.count, -1) - PAIR_SECONDS])
    return _Clock(times.expand(draws.count, -1), ((both * rate + phase).floor() - phase) / rate, seconds)


# --- patterns of skin ---


def _pattern(face: _Face, bumps: Bumps) -> Tensor:
    """Bumps, (B, K, N) each -> what flow makes of them, patterns (B, K, 2, rows, columns)."""
    blur = face.smoothing[:, :, None].square()
    wide, tall = (bumps.sx.square() + blur).sqrt(), (bumps.sy.square() + blur).sqrt()
    flat = bumps.sx * bumps.sy / (wide * tall)
    smooth = bumps._replace(dx=flat * bumps.dx, dy=flat * bumps.dy, sx=wide, sy=tall)
    return sum_of_bumps(face.across[:, None], face.down[:, None], *smooth)


def _fixed_bumps(bumps: tuple[Bump, ...], gain: Tensor) -> Bumps:
    """Bumps of both sides, whose strengths are (B, K, N), and which nothing else varies."""
    x, y, dx, dy, sx, sy = both_sides(bumps)[:, :6].to(gain.device).expand(*gain.shape, -1).unbind(-1)
    return Bumps(x, y, gain * dx, gain * dy, sx, sy)


def _unit_patterns(draws: Draws, face: _Face, sets: Tensor, settings: SequenceSettings, even: bool = False) -> Tensor:
    """Sets of units (B, K, 3), by their places in the table, -1 for none -> patterns, whose greatest length is 1.

    Both sides move about alike where they are to be even.
    """
    expression = settings.expression
    if even:
        expression = replace(expression, asymmetry=0.2, one_sided=0.0)
    bumps = unit_table(settings.action_units).to(draws.device)[sets]  # (B, K, 3, bumps, 7)
    gain = draws.uniform(*expression.unit_gain, *sets.shape[1:]).repeat_interleave(bumps.shape[3], 2)
    pattern = _pattern(face, vary(draws, bumps.flatten(2, 3), gain, expression))
    largest = pattern.square().sum(2).amax((-2, -1)).sqrt()
    return pattern / largest.clamp(min=0.05)[..., None, None, None]


def _set_table(sets: Mapping[tuple[int, ...], float] | tuple[tuple[int, ...], ...], units: list[int]) -> Tensor:
    """Sets of units -> (sets, 3) places in the table, -1 for none."""
    rows = [[units.index(unit) for unit in members] + [-1] * (3 - len(members)) for members in sets]
    return torch.tensor(rows)


# --- displacement over time ---


def _level(both: Tensor, onset: Tensor, rise: Tensor, stay: Tensor, fall: Tensor, left: Tensor) -> Tensor:
    """What happens once, (B, E) each -> how far it has gone at both frames, (2, B, T, E): it rises, stays, falls to
    `left`."""
    since = both[..., None] - onset[:, None]
    down = 1 - (1 - left[:, None]) * ease((since - (rise + stay)[:, None]) / fall[:, None])
    return ease(since / rise[:, None]) * down


def _pulse(both: Tensor, onset: Tensor, rise: Tensor, stay: Tensor, fall: Tensor, left: Tensor) -> Tensor:
    """The displacement by what happens once over each pair, (B, T, E): the later frames' less the earlier ones'."""
    later, earlier = _level(both, onset, rise, stay, fall, left)
    return later - earlier


def _waves(both: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    """Sines (B, N) of these frequencies in Hz -> their values at both frames, (2, B, T, N)."""
    return (2 * math.pi * (both[..., None] * frequency[:, None] + phase[:, None])).sin()


def _during(times: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Whether any of the spans (B, E) covers each time: (B, T) float."""
    return ((times[..., None] >= start[:, None]) & (times[..., None] <= end[:, None])).any(-1).float()


# --- what happens ---


class _Mover(NamedTuple):
    """Patterns (B, K, 2, rows, columns), and how far each of them is displaced over each pair, level (B, T, K)."""

    level: Tensor
    pattern: Tensor


class _Speech(NamedTuple):
    """movers; start and end (B, 1) of speaking, equal where nobody speaks; speaks (B, T); lively (B, 1), whether it is
    lively; stir (B, 1), of the head."""

    movers: list[_Mover]
    start: Tensor
    end: Tensor
    speaks: Tensor
    lively: Tensor
    stir: Tensor


def _draw_speech(draws: Draws, face: _Face, clock: _Clock, settings: SequenceSettings) -> _Speech:
    units = list(settings.action_units)
    speaks = draws.chance(settings.speakers, 1)
    start = draws.uniform(-0.6, 0.7, 1).clamp(min=-0.1) * clock.seconds
    length = draws.uniform(0.15, 1.2, 1) * clock.seconds * speaks
    envelope = ease((clock.both - start) / 0.25 + 0.5) * ease((start + length - clock.both) / 0.25 + 0.5)
    # phrases and pauses: a slow wave that is mostly above its threshold
    phrase = _waves(clock.both, draws.uniform(0.15, 0.7, 2), draws.uniform(0, 1, 2)).sum(-1)
    envelope = envelope * torch.sigmoid(6 * (phrase + draws.uniform(0.3, 1.6, 1))) * speaks
    lively = draws.chance(settings.lively, 1)
    sines = _waves(clock.both, draws.uniform(*settings.speech_rate, 2 * WAVES), draws.uniform(0, 1, 2 * WAVES))
    weights = draws.normal(1, 2 * WAVES, len(MOUTH)) * draws.heavy(settings.speech_reach, 1, 1)
    weights = weights * (1 + 0.4 * lively[..., None].float())
    weights = weights * draws.heavy((1.0, 0.5), 1, len(MOUTH)) / math.sqrt(WAVES)
    level = envelope[..., None] * (sines @ weights)
    sets = _set_table(MOUTH, units).to(draws.device).expand(draws.count, -1, -1)
    mouth = _Mover(level[0] - level[1], _unit_patterns(draws, face, sets, settings, even=True))

    most = 16
    rate = draws.heavy(settings.accents, 1) * torch.where(lively, 1.0, 0.25) / 60 * length
    accents = torch.arange(most, device=draws.device) < rate
    onset = start + length * draws.uniform(0, 1, most)
    faint, plain = draws.log_uniform(0.008, 0.06, most), draws.log_uniform(*settings.quick_amplitude, most)
    reach = faint.where(lively & draws.chance(0.7, most), plain) * accents
    pulse = _pulse(
        clock.both,
        onset,
        draws.uniform(0.1, 0.4, most),
        draws.uniform(0, 0.3, most),
        draws.uniform(0.15, 0.7, most),
        torch.zeros_like(onset),
    )
    which = torch.nn.functional.one_hot(draws.choice([0.75, 0.25], most), len(BROWS)).float()
    sets = _set_table(BROWS, units).to(draws.device).expand(draws.count, -1, -1)
    brows = _Mover((pulse * reach[:, None]) @ which, _unit_patterns(draws, face, sets, settings))
    spoken = (clock.times >= start) & (clock.times <= start + length) & speaks
    return _Speech(
        [mouth, brows],
        start,
        start + length,
        spoken.float(),
        lively,
        1 + speaks * (settings.stir[0] + lively * (settings.stir[1] - settings.stir[0])),
    )


class _Blinks(NamedTuple):
    """movers; onset (B, E) of each, infinite where there is none; closed (B, T), while one is going on."""

    movers: list[_Mover]
    onset: Tensor
    closed: Tensor


def _draw_blinks(draws: Draws, face: _Face, clock: _Clock, speech: _Speech, settings: SequenceSettings) -> _Blinks:
    most = 12
    spoken = (speech.end > speech.start).float()
    mean = draws.heavy(settings.blinks, 1) * (1 + 0.5 * spoken) * clock.seconds / 60
    there = torch.arange(most, device=draws.device) < torch.poisson(mean.cpu(), generator=draws.generator).to(mean)
    onset = draws.uniform(-0.5, clock.seconds, most)
    close, open_ = draws.uniform(*settings.blink_close, most), draws.uniform(*settings.blink_open, most)
    shut = draws.uniform(0, 0.08, most) + draws.chance(0.06, most) * draws.uniform(0.1, 1.2, most)
    pulse = _pulse(clock.both, onset, close, shut, open_, 0.1 * draws.uniform(-1, 1, most))
    reach = draws.heavy(settings.blink_reach, 1) * draws.uniform(0.4, 1.1, most) * there
    lids = _pattern(face, _fixed_bumps(BLINK_BUMPS, draws.heavy((1.0, 0.4), 1, 2 * len(BLINK_BUMPS))))
    sets = _set_table(((4,), (6, 7)), list(settings.action_units)).to(draws.device).expand(draws.count, -1, -1)
    around = _unit_patterns(draws, face, sets, settings, even=True)
    hard = draws.chance(settings.hard_blink, most) * there * draws.log_uniform(0.006, 0.03, most)
    shares = draws.uniform(0, 1, most, 2)
    movers = [
        _Mover((pulse * reach[:, None]).sum(2, keepdim=True), lids),
        _Mover((pulse * hard[:, None]) @ shares, around),
    ]
    onset = onset.masked_fill(~there, math.inf)
    return _Blinks(movers, onset, _during(clock.times, onset, onset + close + shut + open_))


class _Macro(NamedTuple):
    """mover; onset and offset (B, E), infinite where there is none; going_on (B, T)."""

    mover: _Mover
    onset: Tensor
    offset: Tensor
    going_on: Tensor


def _draw_macro(draws: Draws, face: _Face, clock: _Clock, blinks: _Blinks, settings: SequenceSettings) -> _Macro:
    most = 4
    there = draws.first(settings.macro, most)
    onset, quick = draws.uniform(-2.0, clock.seconds, most), draws.chance(settings.quick, most)
    blink = blinks.onset[:, :most] + draws.uniform(-0.2, 0.3, most)
    onset = blink.where(quick & draws.chance(0.25, most) & blink.isfinite(), onset)
    rise = draws.uniform(*settings.quick_rise, most).where(quick, draws.uniform(*settings.macro_rise, most))
    stay = draws.heavy(settings.macro_stay, most) * draws.uniform(0, 1, most).where(quick, 1.0)
    fall = draws.uniform(0.35, 2.0, most) * draws.uniform(0.25, 1, most).where(quick, 1.0)
    left = draws.chance(0.2, most) * draws.uniform(0, 0.6, most)
    slow, far = (draws.log_uniform(*reach, most) for reach in (settings.macro_amplitude, settings.quick_amplitude))
    reach = far.where(quick, slow) * there
    sets = _draw_sets(draws, draws.chance(0.4, most), settings)
    mouths = _choose_sets(draws, dict.fromkeys(MOUTH, 1.0), most, settings)
    sets = mouths.where((quick & draws.chance(0.5, most))[..., None], sets)
    pulse = _pulse(clock.both, onset, rise, stay, fall, left) * reach[:, None]
    onset = onset.masked_fill(~there, math.inf)
    offset = onset + rise + stay + fall
    going_on = _during(clock.times, onset, offset)
    return _Macro(_Mover(pulse, _unit_patterns(draws, face, sets, settings)), onset, offset, going_on)


def _draw_sets(draws: Draws, upper: Tensor, settings: SequenceSettings) -> Tensor:
    """A set of units (B, E, 3) for each place of (B, E), of the upper or of the lower face."""
    above, below = (
        _choose_sets(draws, sets, upper.shape[1], settings) for sets in (settings.upper_sets, settings.lower_sets)
    )
    return torch.where(upper[..., None], above, below)


def _choose_sets(draws: Draws, sets: Mapping[tuple[int, ...], float], most: int, settings: SequenceSettings) -> Tensor:
    """Sets of units (B, most, 3), each as often as its share."""
    table = _set_table(sets, list(settings.action_units)).to(draws.device)
    return table[draws.choice(list(sets.values()), most)]


class _Micro(NamedTuple):
    """mover; events and parts as in `DrawnSequences`; visible (B, E), whether there is one."""

    mover: _Mover
    events: Tensor
    parts: Tensor


def _draw_micro(
    draws: Draws,
    face: _Face,
    clock: _Clock,
    speech: _Speech,
    blinks: _Blinks,
    macro: _Macro,
    settings: SequenceSettings,
) -> _Micro:
    most = settings.most_micro
    number = 1 + draws.choice([1.0] * most, 1)
    there = (torch.arange(most, device=draws.device) < number) & ~draws.chance(settings.without, 1)
    rise, fall = draws.uniform(*settings.rise, most), draws.log_uniform(*settings.fall, most)
    stay = draws.chance(0.3, most) * draws.uniform(0, 0.4, most)
    stays = draws.chance(settings.stays, most)
    left = draws.uniform(0, 0.8, most).where(stays, draws.uniform(*settings.expression.remainder, most))
    # one in each part of the sequence, now and then where a blink or a longer expression is
    slot = clock.seconds / most
    onset = slot * torch.arange(most, device=draws.device) + draws.uniform(0.3, max(slot - 1.2, 0.4), most)
    near = blinks.onset[:, :most] + draws.uniform(-0.1, 0.35, most)
    inside = macro.onset[:, :most] + draws.uniform(0, 1, most) * (macro.offset - macro.onset).nan_to_num(0)[:, :most]
    for chance, other in ((settings.on_blink, near), (settings.in_macro, inside)):
        fits = (other > slot * torch.arange(most, device=draws.device) + 0.2) & (other < onset + slot - 0.2)
        fits &= other < clock.seconds - 1
        onset = torch.where(draws.chance(chance, most) & fits, other, onset)
    spoken = (onset + rise > speech.start - 0.3) & (onset < speech.end + 0.3) & (speech.end > speech.start)
    there &= ~(spoken & speech.lively)  # nobody tells it from an accent
    sets = _draw_sets(draws, draws.chance(0.4, most) | spoken, settings)  # nobody sees a dimple in speech
    reach = draws.log_uniform(*settings.amplitude, most) * there
    exponent, length = draws.uniform(*settings.expression.time_exponent, most), rise + stay + fall
    level = _level(clock.both, onset, rise, stay, fall, torch.zeros_like(left)) ** exponent[:, None]
    relaxed = ease((clock.both[..., None] - (onset + length)[:, None]) / length[:, None]) * ~stays[:, None]
    passed = clock.both[..., None] > (onset + rise)[:, None]
    level = torch.where(passed, left[:, None] * (1 - relaxed) + (1 - left[:, None]) * level, level)
    pulse = (level[0] - level[1]) * reach[:, None]
    events = torch.stack([onset, onset + rise, onset + length], 2)
    units = torch.tensor([*settings.action_units, 0], device=draws.device)[sets]
    parts = torch.stack(
        [
            torch.isin(units, torch.tensor(sorted(part), device=draws.device)).any(-1)
            for part in (UPPER_UNITS, LOWER_UNITS)
        ],
        2,
    )
    return _Micro(
        _Mover(pulse, _unit_patterns(draws, face, sets, settings)),
        events.masked_fill(~there[..., None], math.nan),
        parts & there[..., None],
    )


def _draw_glances(draws: Draws, face: _Face, clock: _Clock, settings: SequenceSettings) -> _Mover:
    most = 16
    there = torch.arange(most, device=draws.device) < draws.heavy(settings.glances, 1) * clock.seconds / 60
    onset, jump = draws.uniform(-0.5, clock.seconds, most), draws.uniform(0.04, 0.1, most)
    long = torch.full_like(onset, 1e3)
    pulse = _pulse(clock.both, onset, jump, long, long, torch.ones_like(onset))
    reach = draws.heavy(settings.glance_reach, most) * there * draws.sign(most)
    angle = draws.normal(0.5, most)
    levels = torch.stack([reach * angle.cos(), reach * angle.sin()], 2)
    # across, and down: both eyes go the same way, and the lids follow, above all down
    axes = torch.eye(2, device=draws.device)[:, :, None].expand(draws.count, -1, -1, 2)
    iris = _fixed_bumps(IRIS_BUMPS, torch.ones_like(axes[:, :, 0]))._replace(dx=axes[:, :, 0], dy=axes[:, :, 1])
    follows = torch.stack([draws.normal(0.1, 2), draws.uniform(0.3, 1.5, 1).expand(-1, 2)], 1)
    return _Mover(pulse @ levels, _pattern(face, iris) + _pattern(face, _fixed_bumps(LID_BUMPS, follows)))


def _draw_eating(draws: Draws, face: _Face, clock: _Clock, settings: SequenceSettings) -> _Mover:
    """Chewing, and swallowing."""
    chews = draws.chance(settings.chewing, 1)
    start, length = draws.uniform(-0.5, 0.8, 1) * clock.seconds, draws.uniform(0.3, 1.2, 1) * clock.seconds
    envelope = chews * ease((clock.both - start) / 0.3) * ease((start + length - clock.both) / 0.3)
    rate, phase = draws.uniform(0.94, 2.17, 1), draws.uniform(0, 1, 1)
    wave = _waves(clock.both, torch.cat([rate, rate], 1), torch.cat([phase, phase + 0.2], 1))
    chewed = envelope[..., None] * wave * draws.heavy((0.05, 0.5), 1, 2)
    swallows = draws.first(settings.swallowing, 2)
    onset = draws.uniform(0, clock.seconds, 2)
    pulse = _pulse(
        clock.both,
        onset,
        draws.uniform(0.2, 0.5, 2),
        draws.uniform(0, 0.3, 2),
        draws.uniform(0.2, 0.6, 2),
        torch.zeros_like(onset),
    )
    swallowed = pulse * (swallows * draws.log_uniform(0.01, 0.05, 2))[:, None]
    sets = _set_table(((26,), (17, 24), (17,), (17, 25)), list(settings.action_units))
    patterns = _unit_patterns(draws, face, sets.to(draws.device).expand(draws.count, -1, -1), settings)
    return _Mover(torch.cat([chewed[0] - chewed[1], swallowed], 2), patterns)


# --- the head, and what flow makes of all that ---


def _draw_head(draws: Draws, face: _Face, clock: _Clock, speech: _Speech, settings: SequenceSettings) -> _Mover:
    """What the head moves: shifts, turns, growth, and turns out of the picture, which move the nose most."""
    frequency = draws.log_uniform(0.15, 3.0, WAVES)
    speed = draws.heavy(settings.head_speed, 1, 1) * speech.stir[..., None]
    amplitude = speed * draws.normal(1, WAVES, 6) / (2 * math.pi * frequency[..., None]) / math.sqrt(WAVES)
    level = _waves(clock.both, frequency, draws.uniform(0, 1, WAVES)) @ amplitude

    def pulses(most: int, takes: tuple[float, float], stays: float, for_good: float) -> Tensor:
        onset, there, stay = (draws.uniform(*span, most) for span in ((-0.5, clock.seconds), takes, (0, stays)))
        back, left = draws.uniform(*takes, most), draws.chance(for_good, most).float()
        return _pulse(clock.both, onset, there, stay, back, left)

    nods = pulses(4, (0.2, 1.0), 0.8, 0.5)
    reach = draws.heavy((0.75, 0.6), 4, 6) * speed * draws.sign(4, 6) * draws.first(1.5, 4)[..., None]
    shares = torch.cat([draws.uniform(0.2, 1, 4), draws.uniform(0.0, 0.7, 2)], 1)
    put = pulses(3, (0.25, 1.2), 1.5, 0.7)
    far = draws.log_uniform(*settings.shift_reach, 3, 6) * draws.sign(3, 6) * draws.first(settings.shifts, 3)[..., None]
    displaced = (level[0] - level[1] + nods @ reach + put @ far) * shares[:, None]
    y = (face.down[:, :, None] - 0.42).expand(-1, -1, face.across.shape[1])
    x = face.across[:, None, :].expand_as(y)
    nose = torch.exp(-((x / 0.16).square() + ((y - 0.12) / 0.22).square()) / 2)
    sockets = torch.exp(-(((x.abs() - 0.5) / 0.2).square() + ((y + 0.42) / 0.12).square()) / 2)
    depth = (1 - (x / 1.15).square() - (y / 1.7).square()).clamp(min=0.02).sqrt()
    depth = depth + draws.uniform(0.15, 0.4, 1, 1) * nose - draws.uniform(0.05, 0.15, 1, 1) * sockets
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    modes = ((one, zero), (zero, one), (-0.3 * y, 0.3 * x), (0.2 * x, 0.2 * y), (depth, zero), (zero, depth))
    return _Mover(displaced, torch.stack([torch.stack(mode, 1) for mode in modes], 1))


def _measured(
    draws: Draws,
    skin: list[_Mover],
    face: _Face,
    clock: _Clock,
    speech: _Speech,
    settings: SequenceSettings,
) -> Tensor:
    """What flow finds of the motion of skin, on a head that moves before a wall that does not: all of the fields."""
    least, most = settings.visible
    seen = least + (most - least) * torch.sigmoid(
        draws.normal(0.7, 1, 1, 1) + 0.5 + 1.2 * _smooth(draws, face, (6, 6), 2)
    )
    x, y = face.across[:, None, :] / draws.uniform(0.92, 1.25, 1, 1), (face.down[:, :, None] - 0.42) / 1.3
    contour = torch.sigmoid((1 - x.square() - y.square()) / 0.05)[:, None, None]
    head = _draw_head(draws, face, clock, speech, settings)
    movers = [_Mover(level, contour * seen[:, None] * pattern) for level, pattern in skin]
    movers += [head._replace(pattern=contour * head.pattern)]
    movers += [draw(draws, face, clock, settings) for draw in (_draw_pumping, _draw_flat, _draw_astray, _draw_lost)]
    level, pattern = torch.cat([mover.level for mover in movers], 2), torch.cat([mover.pattern for mover in movers], 1)
    motion = (level @ pattern.flatten(2)).unflatten(2, pattern.shape[2:])
    modes = head.pattern.flatten(2)
    moved = ((head.level @ (modes @ modes.mT)) * head.level).sum(2).div(modes.shape[2]).clamp(min=0).sqrt()
    floor = draws.heavy(settings.noise, 1) + draws.heavy(settings.noise_of_motion, 1) * moved
    texture = (0.4 * _smooth(draws, face, (6, 6), 1, 1)).exp()
    return motion.addcmul_(texture.expand_as(motion[:, :1]), _frame_noise(draws, face, floor, settings))


def _smooth(draws: Draws, face: _Face, cells: tuple[int, int], *shape: int) -> Tensor:
    """Smooth noise of unit deviation, (B, *shape, rows, columns), from as many independent cells."""
    down, across = (
        _upsampling(length, few, draws.device)
        for length, few in ((face.down.shape[1], cells[0]), (face.across.shape[1], cells[1]))
    )
    return down @ draws.normal(1, *shape, *cells) @ across.T


def _upsampling(length: int, few: int, device: torch.device) -> Tensor:
    """Linear interpolation from few values to more, (length, few), whose rows have unit norm."""
    place = torch.linspace(0, few - 1, length, device=device)[:, None]
    weights = (1 - (place - torch.arange(few, device=device)).abs()).clamp(min=0)
    return weights / weights.norm(dim=1, keepdim=True)


def _frame_noise(draws: Draws, face: _Face, floor: Tensor, settings: SequenceSettings) -> Tensor:
    """Noise (B, T, 2, rows, columns) of a deviation (B, T): a frame's shows once, and inverted .2 s later.

    A frame keeps a part of the noise of the one before, and so of all before it.
    """
    rows, columns = face.down.shape[1], face.across.shape[1]
    fine, coarse = (
        share
        * torch.kron(*(_upsampling(length, few, draws.device) for length, few in ((rows, down), (columns, across))))
        for share, down, across in ((0.8, 10, 9), (0.6, 4, 4))
    )
    spread = torch.cat([fine, coarse], 1)  # (rows x columns, cells)
    delay = round(PAIR_SECONDS * RATE)
    stays = 1 - draws.log_uniform(*settings.noise_renewed, 1, 1)
    number = torch.arange(floor.shape[1] + delay, device=draws.device)
    kept = (stays ** (number[:, None] - number).clamp(min=0)).tril()
    # what differs between two frames .2 s apart has unit deviation, however much of it is kept
    kept = kept / kept.norm(dim=2, keepdim=True) / (2 - 2 * stays**delay).sqrt()
    frames = (kept @ draws.normal(1, len(number), 2 * spread.shape[1])).unflatten(2, (2, -1))
    noise = (frames[:, delay:] - frames[:, :-delay]).mul_(floor[..., None, None])
    return (noise @ spread.T).unflatten(3, (rows, columns))


def _draw_pumping(draws: Draws, face: _Face, clock: _Clock, settings: SequenceSettings) -> _Mover:
    """Shifts of the picture at every keyframe of a codec."""
    period = draws.log_uniform(*settings.keyframes, 1) / draws.uniform(*settings.frame_rates, 1)
    group = ((clock.both + 1) / period).floor().long() % 64
    levels = draws.normal(1, 64, 3) * draws.heavy(settings.keyframe_shift, 1, 1)
    later, earlier = (levels.gather(1, index[..., None].expand(-1, -1, 3)) for index in group)
    return _Mover(later - earlier, _smooth(draws, face, (7, 6), 3, 2))


def _draw_flat(draws: Draws, face: _Face, clock: _Clock, settings: SequenceSettings) -> _Mover:
    """Spots in which flow is off by as much as each frame has it, until the coder renews them."""
    spots, delay = 3, round(PAIR_SECONDS * RATE)
    frames = clock.times.shape[1] + delay
    off = draws.normal(1, frames, spots, 2) * draws.chance(settings.flat, 1, 1, 1)
    off = off * draws.heavy(settings.flat_shift, 1, spots, 1)
    renewed = draws.uniform(0, 1, frames, spots) > draws.uniform(0, 0.95, 1, spots)
    since = (renewed * torch.arange(frames, device=draws.device)[:, None]).cummax(1).values
    off = off.gather(1, since[..., None].expand_as(off)).flatten(2)
    place = draws.uniform(-0.95, 0.95, spots), draws.uniform(-0.6, 1.6, spots)
    size = draws.uniform(0.05, 0.2, spots), draws.uniform(0.05, 0.2, spots)
    x, y, wide, tall = (part.repeat_interleave(2, 1)[:, :, None] for part in (*place, *size))
    right, below = (
        torch.eye(2, device=draws.device)[axis].repeat(spots)[:, None].expand(draws.count, -1, 1) for axis in (0, 1)
    )
    return _Mover(off[:, delay:] - off[:, :-delay], _pattern(face, Bumps(x, y, right, below, wide, tall)))


def _draw_astray(draws: Draws, face: _Face, clock: _Clock, settings: SequenceSettings) -> _Mover:
    """Where and when flow goes astray."""
    most = 16
    strength = draws.heavy(settings.outlier_shift, most) * draws.first(settings.outliers, most)
    when, width = draws.uniform(0, clock.seconds, most), draws.uniform(0.02, 0.07, most)
    level = strength[:, None] * (-((clock.times[..., None] - when[:, None]) / width[:, None]).square() / 2).exp()
    angle = draws.uniform(-math.pi, math.pi, most)
    place = draws.uniform(-0.9, 0.9, most), draws.uniform(-0.5, 1.4, most)
    size = draws.uniform(0.05, 0.2, most), draws.uniform(0.05, 0.2, most)
    bumps = Bumps(*(part[:, :, None] for part in (*place, angle.cos(), angle.sin(), *size)))
    return _Mover(level, _pattern(face, bumps))


def _draw_lost(draws: Draws, face: _Face, clock: _Clock, settings: SequenceSettings) -> _Mover:
    """Times at which flow finds nothing that is there."""
    most, patterns = 2, 6
    start, length = draws.uniform(-0.2, clock.seconds, most), draws.log_uniform(0.1, 1.0, most)
    during = _during(clock.times, start, (start + length).where(draws.first(settings.lost, most), start - 1))
    level = draws.normal(1, clock.times.shape[1], patterns) * draws.heavy(settings.lost_shift, 1, 1)
    return _Mover(level * during[..., None], _smooth(draws, face, (7, 6), patterns, 2) / math.sqrt(patterns))


# --- what is true ---


def _targets(clock: _Clock, micro: _Micro, macro: _Macro, blinks: _Blinks, speech: _Speech) -> Tensor:
    """(B, T, 11), see `TARGETS`."""
    onset, apex, offset = micro.events.unbind(2)
    columns = []
    for part in micro.parts.unbind(2):
        absent = ~part
        within = (clock.times[..., None] >= onset[:, None]) & (clock.times[..., None] <= offset[:, None])
        columns.append((within & part[:, None]).any(-1).float())
        for moment in (onset, apex, offset):
            distance = (clock.times[..., None] - moment.masked_fill(absent, math.inf)[:, None]) / NEAR
            columns.append((-distance.square() / 2).exp().amax(-1))
    return torch.stack([*columns, speech.speaks, blinks.closed, macro.going_on], 2)


__all__ = [
    "RATE",
    "TARGETS",
    "DrawnSequences",
    "SequenceSettings",
    "draw_sequences",
    "held_back_sequences",
]
