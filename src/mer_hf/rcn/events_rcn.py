"""From what a network says of moments to events: onset, apex, offset, score; as the moments come.

probabilities of a moment -> an apex where an expression, an apex and an onset before it are likely together, in the
  upper or the lower face -> the onset
  -> its likeliest end before it is over, or where none is likely, the end of a slow fall -> SpottedEvent
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PARTS = ("upper", "lower")
EXPRESSION, ONSET, APEX, OFFSET, SCORE = range(5)  # of a part, among its outputs; the last is made of them
APART = 6  # moments that two apexes are apart at least
WITH = 0.8  # of the score of one part; with less, the other part of the face does not take part
WEAKER = 0.7  # of the score of an expression; with less, what follows does not end it
LONGEST_RISE = 10  # moments, .4 s: where the onset is looked for
LONGEST_FALL = 75  # moments, 3 s; one in twenty lasts longer
OVER = 0.4  # of the expression at its apex: below, it is over
SETTLED = 3  # moments that it must stay so
DOUBT = 12  # moments, .5 s, that an expression may still seem to go on after its end
LIKELY, SEEN = 0.25, 0.55  # of an offset: from where it tells an end, and from where nobody doubts it
UNSEEN = 12  # moments, of a fall that nobody saw: the median of CAS(ME)3, since a quick one is as plain as the rise
MICRO_RISE, MICRO_LENGTH = 0.27, 0.5  # seconds: 99 % of CAS(ME)3 rise, or last, no longer


@dataclass(frozen=True)
class SpottedEvent:
    """An expression that was found.

    Attributes:
        onset, apex, offset: seconds.
        score: the geometric mean of what the network says of its onset, its apex and of an expression there, 0 to 1.
        parts: of the face that have such a score there, or nearly so, out of `PARTS`.
    """

    onset: float
    apex: float
    offset: float
    score: float
    parts: tuple[str, ...]

    @property
    def kind(self) -> str:
        """`micro`, or `macro` where it takes longer to rise and to end than micro-expressions do."""
        brief = self.apex - self.onset <= MICRO_RISE + 0.02 or self.offset - self.onset <= MICRO_LENGTH
        return "micro" if brief else "macro"


@dataclass(frozen=True)
class _Candidate:
    onset: int
    apex: int
    score: float
    parts: tuple[int, ...]
    level: float


class EventDecoder:
    """Makes events of the moments of one face, one moment after another.

    A higher threshold leaves events out, and changes nothing of the others.

    Args:
        threshold: least score of an event.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.times: list[float] = []
        self.told: list[np.ndarray] = []  # (2, 5) each
        self.forgotten = 0  # moments that were there before the first of the lists
        self.peaks: list[_Candidate] = []  # also those of too low a score, which may end an event
        self.open: list[_Candidate] = []  # of a score that is high enough, and not over

    def push(self, seconds: float, probabilities: np.ndarray) -> list[SpottedEvent]:
        """Take one moment.

        Args:
            seconds: its time.
            probabilities: (8,) or more, `expression`, `onset`, `apex`, `offset` of the upper, then of the lower face.

        Returns:
            The events that are over now.
        """
        self.times.append(seconds)
        moment = np.asarray(probabilities[:8], np.float64).reshape(2, 4)
        onset = np.max([moment[:, ONSET], *(told[:, ONSET] for told in self.told[-LONGEST_RISE:])], axis=0)
        score = np.cbrt(moment[:, EXPRESSION] * onset * moment[:, APEX])
        self.told.append(np.column_stack([moment, score]))
        newest = self.forgotten + len(self.times) - 1
        self._find(newest - APART)
        ended = self._ended(newest, False)
        self._forget()
        return ended

    def finish(self) -> list[SpottedEvent]:
        """End what is still open: the face is not seen any longer."""
        newest = self.forgotten + len(self.times) - 1
        for index in range(newest - APART + 1, newest + 1):
            self._find(index)
        return self._ended(newest, True)

    def candidates(self) -> list[tuple[float, float]]:
        """Apex and onset, in seconds, of the events that are not over."""
        return [
            (self.times[one.apex - self.forgotten], self.times[max(one.onset - self.forgotten, 0)]) for one in self.open
        ]

    def _said(self, what: int, first: int, last: int) -> np.ndarray:
        """Outputs (moments, 2) from `first` to `last`, both included, as far as they are there."""
        rows = self.told[max(first - self.forgotten, 0) : max(last + 1 - self.forgotten, 0)]
        return np.array([row[:, what] for row in rows]).reshape(-1, len(PARTS))

    def _find(self, index: int) -> None:
        """Keep a peak of the score of either part; open it where it is high enough for an event."""
        if index < self.forgotten:
            return
        around = self._said(SCORE, index - APART, index + APART)
        place = min(index - self.forgotten, APART)
        part, score = int(around[place].argmax()), float(around[place].max())
        if score < WEAKER * self.threshold or around.max(1).argmax() != place:
            return
        parts = np.flatnonzero(around.max(0) >= WITH * score)
        level = self._said(EXPRESSION, index - 1, index + 1)[:, part].max()
        before = self._said(ONSET, index - LONGEST_RISE, index - 1)[:, part]
        onset = index - len(before) + int(before.argmax()) if len(before) else index
        peak = _Candidate(onset, index, score, tuple(parts.tolist()), float(level))
        self.peaks.append(peak)
        if score >= self.threshold:
            self.open.append(peak)

    def _ended(self, newest: int, now: bool) -> list[SpottedEvent]:
        """The events that are over, or have to be."""
        ends = {one: end for one in self.open if (end := self._end(one, newest, now)) is not None}
        self.open = [one for one in self.open if one not in ends]
        return [
            SpottedEvent(
                *(self.times[max(index - self.forgotten, 0)] for index in (one.onset, one.apex, end)),
                one.score,
                tuple(PARTS[part] for part in one.parts),
            )
            for one, end in ends.items()
        ]

    def _end(self, one: _Candidate, newest: int, now: bool) -> int | None:
        """The end of a candidate, once it is over."""
        parts = list(one.parts)
        low = self._said(EXPRESSION, one.apex + 1, newest)[:, parts].max(1) < OVER * one.level
        runs = np.lib.stride_tricks.sliding_window_view(np.append(low, [False] * SETTLED), SETTLED).all(1)
        over = np.flatnonzero(runs)
        after = [peak for peak in self.peaks if peak.apex > one.apex and peak.score >= WEAKER * one.score]
        following = max(min((peak.onset for peak in after), default=newest), one.apex)
        if len(over):
            end = one.apex + 1 + int(over[0])
        elif after or now or newest - one.apex >= LONGEST_FALL:
            end = following
        else:
            return None
        first = max(one.apex + 1, end - DOUBT)
        said = self._said(OFFSET, first, end + 3)[:, parts].max(1)
        likely = said.max(initial=0.0)
        end = first + int(said.argmax()) if likely > LIKELY else end
        if likely > SEEN:
            return end
        if not (after or now) and newest - one.apex < UNSEEN + APART:  # the next expression may end it
            return None
        return max(end, min(one.apex + UNSEEN, following))

    def _forget(self) -> None:
        keep = LONGEST_FALL + LONGEST_RISE + 3 * APART
        if len(self.times) > 2 * keep:
            gone = min([len(self.times) - keep, *(one.onset - self.forgotten for one in self.open)])
            del self.times[:gone], self.told[:gone]
            self.forgotten += gone
            self.peaks = [peak for peak in self.peaks if peak.apex >= self.forgotten]


def decode(times: Sequence[float], probabilities: np.ndarray, threshold: float) -> list[SpottedEvent]:
    """The events of a whole video: what an `EventDecoder` gives of its moments."""
    decoder = EventDecoder(threshold)
    found = [event for seconds, row in zip(times, probabilities, strict=True) for event in decoder.push(seconds, row)]
    return sorted(found + decoder.finish(), key=lambda event: event.apex)


__all__ = ["EventDecoder", "SpottedEvent", "decode"]
