"""Who is held out: subjects or clips in, folds of row indices out, and nothing else.

Rows are counted in the order in which they are given. Every row is tested exactly once over the folds of a protocol.
"""

import difflib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mer_hf.errors import MerHfError


@dataclass(frozen=True)
class Fold:
    """One held-out part of the data.

    Args:
        name: What is held out.
        train: Row indices to learn from, ascending.
        test: Row indices to be judged on, ascending.
    """

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]


def leave_one_subject_out(subjects: Sequence[str]) -> list[Fold]:
    """LOSO: one fold a subject, named after the subject, in the order of the names.

    Over the union of several corpora this is the composite database evaluation (CDE), given that subjects are named
    apart across corpora (`casme2/sub01`, `samm/006`).

    Args:
        subjects: The subject of every row.

    Raises:
        ValueError: A row has no subject, or there are fewer than two subjects.
    """
    rows = _rows_by_subject(subjects)
    return [_fold(subject, held_out, len(subjects)) for subject, held_out in rows.items()]


def leave_one_video_out(clip_ids: Sequence[str]) -> list[Fold]:
    """LOVO: one fold a clip, named after the clip, in the order of the rows.

    Other clips of the held-out clip's subject stay in training, so the result says nothing about unseen people.

    Args:
        clip_ids: The id of every row.

    Raises:
        ValueError: Clip ids repeat, or there are fewer than two clips.
    """
    names = [str(clip_id) for clip_id in clip_ids]
    repeated = [name for name, rows in Counter(names).items() if rows > 1]
    if repeated:
        raise MerHfError(
            f"{len(repeated)} clip ids occur more than once, among them {repeated[:3]}; leaving one video out needs "
            "one id for every row."
        )
    if len(names) < 2:
        raise MerHfError(f"Leaving one video out needs at least two clips; found {len(names)}.")
    return [_fold(name, [row], len(names)) for row, name in enumerate(names)]


def subject_k_fold(subjects: Sequence[str], k: int, seed: int = 0) -> list[Fold]:
    """K folds of whole subjects with about the same number of clips each: `fold-0`, `fold-1`, ...

    Subjects are dealt from the one with the most clips to the one with the fewest, each to the fold that has the
    fewest clips so far, so two folds differ by at most the clips of one subject. The seed decides among subjects of
    the same size. The order of the rows does not matter.

    Args:
        subjects: The subject of every row.
        k: The number of folds, from 2 to the number of subjects.
        seed: Equal seeds give equal folds.

    Raises:
        ValueError: A row has no subject, there are fewer than two subjects, or k is out of its range.
    """
    rows = _rows_by_subject(subjects)
    if not 2 <= k <= len(rows):
        raise MerHfError(
            f"{k} folds of {len(rows)} subjects: the number of folds must be from 2 to the number of subjects."
        )
    dealt = list(rows)
    random.Random(seed).shuffle(dealt)
    dealt.sort(key=lambda subject: -len(rows[subject]))
    held_out: list[list[int]] = [[] for _ in range(k)]
    for subject in dealt:
        min(held_out, key=len).extend(rows[subject])
    return [_fold(f"fold-{number}", indices, len(subjects)) for number, indices in enumerate(held_out)]


def select_folds(folds: Sequence[Fold], names: Sequence[str]) -> list[Fold]:
    """The folds with these names, in the order of the names.

    Raises:
        ValueError: A name is unknown; the message lists the known ones and the nearest.
    """
    by_name = {fold.name: fold for fold in folds}
    for name in names:
        if name not in by_name:
            nearest = difflib.get_close_matches(name, by_name, n=1, cutoff=0.5)  # "sub02" for "casme2/sub02"
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise MerHfError(f"There is no fold {name!r}.{hint} The folds are: {', '.join(by_name)}.")
    return [by_name[name] for name in names]


def _rows_by_subject(subjects: Sequence[str]) -> dict[str, list[int]]:
    """Subject -> its row indices, subjects sorted by name."""
    rows: dict[str, list[int]] = {}
    for row, subject in enumerate(subjects):
        if subject is None or not str(subject).strip():
            raise MerHfError(f"Row {row} has no subject ({subject!r}); every row needs one to be held out with it.")
        rows.setdefault(str(subject), []).append(row)
    if len(rows) < 2:
        raise MerHfError(f"Holding subjects out needs at least two of them; found {list(rows) or 'none'}.")
    return dict(sorted(rows.items()))


def _fold(name: str, held_out: Sequence[int], num_rows: int) -> Fold:
    test = set(held_out)
    return Fold(name, tuple(row for row in range(num_rows) if row not in test), tuple(sorted(test)))
