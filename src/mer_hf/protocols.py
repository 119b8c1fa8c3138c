"""Who is held out: subjects or clips in, folds of row indices out; and a protocol in a sentence.

Rows are counted in the order in which they are given. Every row is tested exactly once over the folds of a protocol
(but for `train_on_others`, a single fold).
"""

import difflib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
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
        MerHfError: A row has no subject, or there are fewer than two subjects.
    """
    rows = _rows_by_subject(subjects)
    return [_fold(subject, held_out, len(subjects)) for subject, held_out in rows.items()]


def leave_one_video_out(clip_ids: Sequence[str]) -> list[Fold]:
    """LOVO: one fold a clip, named after the clip, in the order of the rows.

    Other clips of the held-out clip's subject stay in training, so the result says nothing about unseen people.

    Args:
        clip_ids: The id of every row.

    Raises:
        MerHfError: Clip ids repeat, or there are fewer than two clips.
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
        MerHfError: A row has no subject, there are fewer than two subjects, or k is out of its range.
    """
    rows = _rows_by_subject(subjects)
    _check_folds(k, len(rows))
    held_out: list[list[int]] = [[] for _ in range(k)]
    for subject in _dealt(rows, seed):
        min(held_out, key=len).extend(rows[subject])
    return [_fold(f"fold-{number}", indices, len(subjects)) for number, indices in enumerate(held_out)]


def balanced_k_fold(subjects: Sequence[str], labels: Sequence[int], k: int, seed: int = 0) -> list[Fold]:
    """K folds of whole subjects in which each class has about the same number of clips: `fold-0`, `fold-1`, ...

    Subjects are dealt from the one with the most clips to the one with the fewest, each to the fold where it brings
    the counts of its classes nearest to the fold's share of them. With one class this is `subject_k_fold`. No fold is
    without a subject. The seed decides among subjects of the same size, and the order of rows does not matter.

    Args:
        subjects: The subject of every row.
        labels: The class of every row.
        k: The number of folds, from 2 to the number of subjects.
        seed: Equal seeds give equal folds.

    Raises:
        MerHfError: As `subject_k_fold`; there is not a label for every row.
    """
    rows = _rows_by_subject(subjects)
    _check_folds(k, len(rows))
    if len(labels) != len(subjects):
        raise MerHfError(f"{len(labels)} labels and {len(subjects)} subjects: every row needs one of each.")
    shown = {subject: Counter(labels[row] for row in held) for subject, held in rows.items()}
    wanted = {label: count / k for label, count in Counter(labels).items()}
    counts: list[Counter] = [Counter() for _ in range(k)]
    held_out: list[list[int]] = [[] for _ in range(k)]
    for left, subject in zip(range(len(rows), 0, -1), _dealt(rows, seed), strict=True):
        empty = [number for number in range(k) if not held_out[number]]
        choice = empty if len(empty) == left else range(k)  # the last subjects are kept for the folds without one

        def worse(number: int, subject: str = subject) -> tuple[float, int]:
            # how much farther from its share the fold comes; a rare class counts as much as a frequent one
            added = shown[subject]
            change = sum(
                ((counts[number][label] + n - wanted[label]) ** 2 - (counts[number][label] - wanted[label]) ** 2)
                / wanted[label] ** 2
                for label, n in added.items()
            )
            return change, len(held_out[number])

        best = min(choice, key=worse)
        counts[best] += shown[subject]
        held_out[best].extend(rows[subject])
    return [_fold(f"fold-{number}", indices, len(subjects)) for number, indices in enumerate(held_out)]


def hold_one_corpus_out(corpora: Sequence[str], subjects: Sequence[str]) -> list[Fold]:
    """HDE, hold one database out: one fold a corpus, named after it, in the order in which they first appear.

    The order is that of the cross-dataset validation of CD6ME. People who are in a held-out corpus too (SMIC HS, VIS
    and NIR recorded the same) are in neither side of its fold's training.

    Args:
        corpora: The corpus of every row.
        subjects: The subject of every row; one name for one person in all corpora.

    Raises:
        MerHfError: Fewer than two corpora, a row without a subject, or a corpus whose people are all there is.

    Source: See et al., MEGC 2019 (HDE); Varanka et al., Data Leakage and Evaluation Issues in Micro-Expression
    Analysis, IEEE TAC 2023 (CD6ME).
    """
    names = list(dict.fromkeys(corpora))
    if len(names) < 2:
        raise MerHfError(f"Holding a corpus out needs at least two of them; found {names or 'none'}.")
    return [train_on_others(corpora, subjects, [name]) for name in names]


def train_on_others(corpora: Sequence[str], subjects: Sequence[str], tested: Sequence[str]) -> Fold:
    """Cross-corpus: test on some corpora, train on the clips of other people in the others; named `a+b`.

    Args:
        corpora: The corpus of every row.
        subjects: The subject of every row; one name for one person in all corpora.
        tested: Corpora that are held out.

    Raises:
        MerHfError: A held-out corpus has no rows, or nobody is left to train on.
    """
    _rows_by_subject(subjects)
    unknown = [name for name in tested if name not in set(corpora)]
    if unknown or not tested:
        raise MerHfError(
            f"There is no corpus {unknown or 'named'}; the corpora are {', '.join(dict.fromkeys(corpora))}."
        )
    test = [row for row, corpus in enumerate(corpora) if corpus in tested]
    people = {subjects[row] for row in test}
    train = tuple(row for row, subject in enumerate(subjects) if corpora[row] not in tested and subject not in people)
    if not train:
        raise MerHfError(f"Nobody is left to train on: all people are in {', '.join(tested)}.")
    return Fold("+".join(tested), train, tuple(test))


CD6ME = ("casme", "casme2", "samm", "4dme", "mmew", "casme3")
"""The six corpora of the cross-dataset validation of tvaranka/meb, each held out once, in this order: all clips of each
(of CAS(ME)^3, part A)."""

CD6ME_ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17)
"""Its targets: 12 action units of each clip, none where none of them was coded. Its score is the mean over all of them
of F1 on the clips of all folds together, 0 for one that no clip shows; see `metrics.action_unit_scores`."""


def cd6me(corpora: Sequence[str], subjects: Sequence[str]) -> list[Fold]:
    """The six folds of CD6ME (Varanka et al., IEEE TAC 2023): each corpus is tested, the others are trained on.

    Args:
        corpora: The corpus of every row, the six of `CD6ME`.
        subjects: The subject of every row.

    Raises:
        MerHfError: The corpora are not these six.
    """
    if set(corpora) != set(CD6ME):
        raise MerHfError(f"CD6ME is of {', '.join(CD6ME)}; found {', '.join(dict.fromkeys(corpora))}.")
    return [train_on_others(corpora, subjects, [name]) for name in CD6ME]


SIDES = ("train", "test")
"""What `cross` tells apart."""


def cross(sides: Sequence[str], subjects: Sequence[str]) -> list[Fold]:
    """One fold, `test`: some data are trained on, others are tested on, and nobody is in both.

    Args:
        sides: Of every row, one of `SIDES`.
        subjects: The subject of every row; one name for one person on both sides.

    Raises:
        MerHfError: Someone is on both sides, or there is no row on one.
    """
    people = [{subject for side, subject in zip(sides, subjects, strict=True) if side == each} for each in SIDES]
    if shared := people[0] & people[1]:
        raise MerHfError(
            f"{len(shared)} subjects are in what is trained on and in what is tested on, such as {min(shared)}. Take "
            "other data, or leave them out; where they are other people of the same name, name them apart."
        )
    return [train_on_others(sides, subjects, [SIDES[1]])]


def described(recipe: Mapping[str, object]) -> str:
    """The protocol of a run for a reader: who was held out of what was trained.

    Args:
        recipe: As `results.json` has it. Of a `protocol` that is not known, the name is given.
    """
    protocol, num_folds = recipe.get("protocol"), recipe.get("num_folds")
    dataset, test_dataset = recipe.get("dataset"), recipe.get("test_dataset")
    parts = "the clips of each part were classified by a network that was trained on the others, and had seen no clip"
    sentences = {
        "loso": "Leave one subject out: the clips of each subject were classified by a network that was trained on the "
        "others, and had seen no clip of that subject.",
        "lovo": "Leave one video out: each clip was classified by a network that was trained on all others. Those of "
        "the same subject were among them, so these scores say little about people whom a model has not seen.",
        "kfold": f"Subjects in {num_folds} parts: {parts} of their subjects.",
        "balanced": f"Subjects, with about as many clips of each class, in {num_folds} parts: {parts} of their "
        "subjects.",
        "hde": "Hold one corpus out: the clips of each corpus were classified by a network that was trained on other "
        "people in the others.",
        "cross": f"Across datasets: the clips of {test_dataset} were classified by a network that was trained on "
        f"{dataset} alone, and had seen nobody of theirs.",
        "cd6me": "CD6ME: the action units of the clips of each of six corpora were told by a network that was trained "
        "on the five others.",
        "none": "Nobody was held out.",
    }
    some = f" Only some of the folds were run: {recipe['folds']}." if recipe.get("folds") else ""
    return sentences.get(str(protocol), f"Protocol: {protocol}.") + some


def select_folds(folds: Sequence[Fold], names: Sequence[str]) -> list[Fold]:
    """The folds with these names, in the order of the names.

    Raises:
        MerHfError: A name is unknown; the message lists the known ones and the nearest.
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


def _check_folds(k: int, subjects: int) -> None:
    if not 2 <= k <= subjects:
        raise MerHfError(
            f"{k} folds of {subjects} subjects: the number of folds must be from 2 to the number of subjects."
        )


def _dealt(rows: dict[str, list[int]], seed: int) -> list[str]:
    """Subjects from the one with the most clips to the one with the fewest, those of one size in random order."""
    dealt = list(rows)
    random.Random(seed).shuffle(dealt)
    return sorted(dealt, key=lambda subject: -len(rows[subject]))


def _fold(name: str, held_out: Sequence[int], num_rows: int) -> Fold:
    test = set(held_out)
    return Fold(name, tuple(row for row in range(num_rows) if row not in test), tuple(sorted(test)))
