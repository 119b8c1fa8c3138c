"""What a drawn micro-expression is like, and the lids and eyes around it: the numbers that all drawn material has.

`fields` draws motion from them and `rendering` draws faces. Each number is the same in both, so that a network that was
trained on the one and judged on the other meets the same expressions.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ExpressionStatistics:
    """Statistics of a micro-expression. Lengths are eye distances; a pair is the least and the most if not said.

    Probabilities and the spread of units and places are those of the generator whose networks transferred to real
    micro-expressions (see `mer_hf.action_units`).

    Attributes:
        intensity: strength of an expression; 1 is the strongest.
        unit_gain: factor on the intensity of each of its units.
        extra_unit: probability of one more unit, which does not depend on the class.
        extra_unit_gain: factor on its intensity.
        asymmetry: deviation of the log gain of one side against the other.
        one_sided: probability that one side stays still.
        place_jitter: deviation of the place of the units' bumps.
        direction_jitter: deviation of the direction of motion, in radians.
        bump_size: factor on the widths of all bumps.
        spatial_exponents: exponents of the length of displacement over the face; each expression has one of them.
        blink: probability that the lids move.
        gaze: probability of a glance.
        gaze_shift: how far an iris moves (median, deviation of the log).
        duration: seconds from onset to offset; a micro-expression lasts under half a second (Yan et al., 2013).
        rise: fraction of the duration before the apex: the rise is usually the shorter part.
        time_exponent: exponent of the raised cosine between rest and apex.
        remainder: fraction of the apex displacement that is left at the offset.
    """

    intensity: tuple[float, float] = (0.25, 1.0)
    unit_gain: tuple[float, float] = (0.6, 1.2)
    extra_unit: float = 0.25
    extra_unit_gain: tuple[float, float] = (0.15, 0.5)
    asymmetry: float = 0.5
    one_sided: float = 0.18
    place_jitter: float = 0.04
    direction_jitter: float = math.radians(14)
    bump_size: tuple[float, float] = (0.8, 1.6)
    spatial_exponents: tuple[float, ...] = (0.8, 1.0, 1.5)
    blink: float = 0.60
    gaze: float = 0.35
    gaze_shift: tuple[float, float] = (0.02, 0.6)
    duration: tuple[float, float] = (0.20, 0.48)
    rise: tuple[float, float] = (0.28, 0.55)
    time_exponent: tuple[float, float] = (0.8, 1.5)
    remainder: tuple[float, float] = (0.0, 0.25)
