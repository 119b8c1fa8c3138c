"""From what a network says of moments to events: onset, apex, offset, score; as the moments come.

probabilities of a moment -> an apex where an expression, an apex and an onset before it are likely together, in the
  upper or the lower face -> the onset
  -> its likeliest end before it is over -> SpottedEvent
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

PARTS = ("upper", "lower")
EXPRESSION, ONSET, APEX, OFFSET, SCORE = range(5)  # of a part, among its outputs; the last is made of them
APART = 6  # moments that two apexes are apart at least
LONGEST_RISE = 10  # moments, .4 s: where the onset is looked for
LONGEST_FALL = 75  # moments, 3 s; one in twenty lasts longer
OVER = 0.4  # of the expression at its apex: below, it is over
SETTLED = 3  # moments that it must stay so
DOUBT = 12  # moments, .5 s, that an expression may still seem to go on after its end
MICRO_RISE, MICRO_LENGTH = 0.27, 0.5  # seconds: 99 % of CAS(ME)3 rise, or last, no longer


@dataclass(frozen=True)
class SpottedEvent:
    """An expression that was found.

    Attributes:
        onset, apex, offset: seconds.
        score: the geometric mean of what the network says of its onset, its apex and of an expression there, 0 to 1.
        parts: of the face, out of `PARTS`.
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

    Args:
        threshold: least score of an event.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.times: list[float] = []
        self.told: list[np.ndarray] = []  # (2, 5) each
        self.forgotten = 0  # moments that were there before the first of the lists
        self.open: list[_Candidate] = []

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
        for part in range(len(PARTS)):
            self._find(newest - APART, part)
        ended = [event for one in list(self.open) if (event := self._end(one, newest, False)) is not None]
        self._forget()
        return ended

    def finish(self) -> list[SpottedEvent]:
        """End what is still open: the face is not seen any longer."""
        newest = self.forgotten + len(self.times) - 1
        for index in range(max(self.forgotten, newest - APART + 1), newest + 1):
            for part in range(len(PARTS)):
                self._find(index, part)
        return [event for one in list(self.open) if (event := self._end(one, newest, True)) is not None]

    def candidates(self) -> list[tuple[float, float]]:
        """Apex and onset, in seconds, of the events that are not over."""
        return [
            (self.times[one.apex - self.forgotten], self.times[max(one.onset - self.forgotten, 0)]) for one in self.open
        ]

    def _values(self, part: int, what: int, first: int, last: int) -> np.ndarray:
        """Outputs of the moments from `first` to `last`, both included, as far as they are there."""
        rows = self.told[max(first - self.forgotten, 0) : max(last + 1 - self.forgotten, 0)]
        return np.array([row[part, what] for row in rows])

    def _find(self, index: int, part: int) -> None:
        """Open a candidate where the score of a part has a peak."""
        if index < self.forgotten:
            return
        around = self._values(part, SCORE, index - APART, index + APART)
        place = index - max(index - APART, self.forgotten)
        score = float(around[place])
        if score < self.threshold or around.argmax() != place:
            return
        level = float(self._values(part, EXPRESSION, index - 1, index + 1).max())
        before = self._values(part, ONSET, index - LONGEST_RISE, index - 1)
        onset = index - len(before) + int(before.argmax()) if len(before) else index
        self._open(_Candidate(onset, index, score, (part,), level))

    def _open(self, new: _Candidate) -> None:
        """Add a candidate; one that is at the same time is the same expression."""
        for old in self.open:
            if abs(old.apex - new.apex) <= APART:
                better = new if new.score > old.score else old
                parts = tuple(sorted({*old.parts, *new.parts}))
                self.open[self.open.index(old)] = replace(better, parts=parts)
                return
        self.open.append(new)

    def _end(self, one: _Candidate, newest: int, now: bool) -> SpottedEvent | None:
        """The event of a candidate, once it is over."""
        said = [self._values(part, EXPRESSION, one.apex + 1, newest) for part in one.parts]
        low = np.max(said, axis=0) < OVER * one.level
        runs = np.lib.stride_tricks.sliding_window_view(np.append(low, [False] * SETTLED), SETTLED).all(1)
        over = np.flatnonzero(runs)
        following = [other.onset for other in self.open if other.apex > one.apex]
        if len(over):
            end = one.apex + 1 + int(over[0])
        elif following:
            end = min(following)
        elif now or newest - one.apex >= LONGEST_FALL:
            end = newest
        else:
            return None
        if not now and newest - one.apex < 2 * APART:  # the other part may still say the same
            return None
        self.open.remove(one)
        reach = range(max(one.apex + 1, end - DOUBT), min(end + 4, newest) + 1)
        said = [max(self._values(part, OFFSET, index, index)[0] for part in one.parts) for index in reach]
        if said and max(said) > 0.25:
            end = reach[int(np.argmax(said))]
        onset, apex, offset = (
            self.times[max(index, self.forgotten) - self.forgotten]
            for index in (one.onset, one.apex, max(end, one.apex))
        )
        return SpottedEvent(onset, apex, offset, one.score, tuple(PARTS[part] for part in one.parts))

    def _forget(self) -> None:
        keep = LONGEST_FALL + LONGEST_RISE + 3 * APART
        if len(self.times) > 2 * keep:
            gone = len(self.times) - keep
            if self.open:
                gone = min(gone, min(one.onset for one in self.open) - self.forgotten)
            del self.times[:gone], self.told[:gone]
            self.forgotten += gone


def decode(times: Sequence[float], probabilities: np.ndarray, threshold: float) -> list[SpottedEvent]:
    """The events of a whole video: what an `EventDecoder` gives of its moments."""
    decoder = EventDecoder(threshold)
    found = [event for seconds, row in zip(times, probabilities, strict=True) for event in decoder.push(seconds, row)]
    return sorted(found + decoder.finish(), key=lambda event: event.apex)


__all__ = ["EventDecoder", "SpottedEvent", "decode"]
