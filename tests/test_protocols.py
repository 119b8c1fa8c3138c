import random
from collections import Counter
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_hf.errors import MerHfError
from mer_hf.protocols import (
    CD6ME,
    Fold,
    balanced_k_fold,
    cd6me,
    cross,
    described,
    hold_one_corpus_out,
    leave_one_subject_out,
    leave_one_video_out,
    select_folds,
    subject_k_fold,
    train_on_others,
)
from mer_hf.training.recipe import Recipe

SUBJECTS = ["s2", "s1", "s2", "s3", "s1", "s2"]

subject_lists = st.lists(st.sampled_from([f"casme2/sub{n:02d}" for n in range(1, 9)]), min_size=2, max_size=40).filter(
    lambda subjects: len(set(subjects)) > 1
)


def naive_loso(subjects):
    folds = []
    for held_out in sorted(set(subjects)):
        test = [i for i in range(len(subjects)) if subjects[i] == held_out]
        train = [i for i in range(len(subjects)) if subjects[i] != held_out]
        folds.append(Fold(held_out, tuple(train), tuple(test)))
    return folds


def assert_every_row_is_tested_once_and_never_trained_on(folds, num_rows):
    assert sorted(row for fold in folds for row in fold.test) == list(range(num_rows))
    for fold in folds:
        assert sorted(fold.train + fold.test) == list(range(num_rows))
        assert fold.train == tuple(sorted(fold.train))
        assert fold.test == tuple(sorted(fold.test))


def assert_no_subject_is_on_both_sides(folds, subjects):
    for fold in folds:
        assert not {subjects[row] for row in fold.train} & {subjects[row] for row in fold.test}


def test_loso_holds_out_each_subject_under_its_name():
    assert leave_one_subject_out(SUBJECTS) == [
        Fold("s1", (0, 2, 3, 5), (1, 4)),
        Fold("s2", (1, 3, 4), (0, 2, 5)),
        Fold("s3", (0, 1, 2, 4, 5), (3,)),
    ]


@given(subject_lists)
def test_loso_agrees_with_its_naive_twin(subjects):
    folds = leave_one_subject_out(subjects)
    assert folds == naive_loso(subjects)
    assert_every_row_is_tested_once_and_never_trained_on(folds, len(subjects))
    assert_no_subject_is_on_both_sides(folds, subjects)


@given(st.lists(st.text(min_size=1), min_size=2, max_size=20, unique=True))
def test_lovo_holds_out_each_clip_under_its_id(clip_ids):
    folds = leave_one_video_out(clip_ids)
    assert [fold.name for fold in folds] == clip_ids
    assert [fold.test for fold in folds] == [(row,) for row in range(len(clip_ids))]
    assert_every_row_is_tested_once_and_never_trained_on(folds, len(clip_ids))


@given(subject_lists, st.data())
def test_k_fold_keeps_subjects_whole_and_balances_the_clips(subjects, data):
    k = data.draw(st.integers(2, len(set(subjects))))
    folds = subject_k_fold(subjects, k, seed=data.draw(st.integers(0, 3)))
    assert [fold.name for fold in folds] == [f"fold-{number}" for number in range(k)]
    assert_every_row_is_tested_once_and_never_trained_on(folds, len(subjects))
    assert_no_subject_is_on_both_sides(folds, subjects)
    sizes = [len(fold.test) for fold in folds]
    assert min(sizes) > 0
    assert max(sizes) - min(sizes) <= max(Counter(subjects).values())


@given(subject_lists, st.randoms(use_true_random=False))
def test_k_fold_does_not_depend_on_the_order_of_the_rows(subjects, random):
    def held_out(rows):
        return [{rows[row] for row in fold.test} for fold in subject_k_fold(rows, 2, seed=5)]

    shuffled = list(subjects)
    random.shuffle(shuffled)
    assert held_out(shuffled) == held_out(subjects)


def test_k_fold_is_decided_by_the_seed():
    subjects = [f"s{number}" for number in range(20)]
    assert subject_k_fold(subjects, 4, seed=1) == subject_k_fold(subjects, 4, seed=1)
    assert subject_k_fold(subjects, 4, seed=1) != subject_k_fold(subjects, 4, seed=2)


def test_k_fold_with_as_many_folds_as_subjects_is_loso_under_other_names():
    k_fold = {fold.test for fold in subject_k_fold(SUBJECTS, 3)}
    assert k_fold == {fold.test for fold in leave_one_subject_out(SUBJECTS)}


@pytest.mark.parametrize("split", [leave_one_subject_out, lambda subjects: subject_k_fold(subjects, 2)])
@pytest.mark.parametrize(("subjects", "found"), [(["s1", "s1"], "found.*s1"), ([], "found none")])
def test_fewer_than_two_subjects_are_refused(split, subjects, found):
    with pytest.raises(MerHfError, match=f"at least two.*{found}"):
        split(subjects)


@pytest.mark.parametrize("nobody", [None, "", " "])
def test_a_row_without_a_subject_is_refused_by_its_number(nobody):
    with pytest.raises(MerHfError, match="Row 1 has no subject"):
        leave_one_subject_out(["s1", nobody, "s2"])


@pytest.mark.parametrize("k", [0, 1, 4])
def test_a_number_of_folds_out_of_range_is_refused(k):
    with pytest.raises(MerHfError, match=f"{k} folds of 3 subjects"):
        subject_k_fold(SUBJECTS, k)


def test_repeated_clip_ids_are_refused_and_named():
    with pytest.raises(MerHfError, match=r"1 clip ids occur more than once.*'b'"):
        leave_one_video_out(["a", "b", "b"])


def test_a_single_clip_cannot_be_left_out():
    with pytest.raises(MerHfError, match="at least two clips; found 1"):
        leave_one_video_out(["a"])


def test_folds_are_selected_by_name_in_the_order_asked_for():
    folds = leave_one_subject_out(SUBJECTS)
    assert [fold.name for fold in select_folds(folds, ["s3", "s1"])] == ["s3", "s1"]


def test_an_unknown_fold_is_refused_with_the_nearest_and_all_known_names():
    folds = leave_one_subject_out(["casme2/sub01", "casme2/sub02"])
    with pytest.raises(MerHfError, match=r"no fold 'sub02'.*mean 'casme2/sub02'.*casme2/sub01, casme2/sub02"):
        select_folds(folds, ["casme2/sub01", "sub02"])


# --- balanced by class ---


def imbalance(folds, labels):
    """How far the folds are from an equal share of every class, summed over folds and classes, in shares."""
    total = Counter(labels)
    return sum(
        (sum(labels[row] == label for row in fold.test) / count - 1 / len(folds)) ** 2
        for fold in folds
        for label, count in total.items()
    )


def naive_balanced(subjects, labels, k, seed):
    """Each subject in turn to the fold that makes the whole least unbalanced, counted anew every time."""
    people = sorted(set(subjects))
    random.Random(seed).shuffle(people)
    people.sort(key=lambda person: -subjects.count(person))
    given = {}
    for place, person in enumerate(people):
        empty = [fold for fold in range(k) if fold not in given.values()]
        options = empty if len(empty) == len(people) - place else range(k)
        costs = []
        for fold in options:
            trial = {**given, person: fold}
            cost = 0
            for label in set(labels):
                wanted = labels.count(label) / k
                for other in range(k):
                    n = sum(lab == label and trial.get(s) == other for s, lab in zip(subjects, labels, strict=True))
                    cost += ((n - wanted) / wanted) ** 2
            costs.append((round(cost, 9), sum(given.get(s) == fold for s in subjects), fold))
        given[person] = min(costs)[2]
    return [tuple(row for row, s in enumerate(subjects) if given[s] == fold) for fold in range(k)]


@given(subject_lists, st.data())
def test_balanced_folds_agree_with_their_naive_twin(subjects, data):
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(subjects), max_size=len(subjects)))
    k = data.draw(st.integers(2, len(set(subjects))))
    folds = balanced_k_fold(subjects, labels, k, seed=1)
    assert_every_row_is_tested_once_and_never_trained_on(folds, len(subjects))
    assert_no_subject_is_on_both_sides(folds, subjects)
    assert all(fold.test for fold in folds)
    naive = [Fold("", (), test) for test in naive_balanced(subjects, labels, k, 1)]
    assert imbalance(folds, labels) == pytest.approx(imbalance(naive, labels))


def test_balanced_folds_share_a_rare_class_that_folds_of_equal_size_do_not():
    subjects = [f"s{number:02d}" for number in range(20) for _ in range(6)]
    labels = [2 if row % 6 == 0 and row < 60 else row % 2 for row in range(120)]  # ten clips of ten subjects
    balanced = balanced_k_fold(subjects, labels, 5)
    assert [sum(labels[row] == 2 for row in fold.test) for fold in balanced] == [2] * 5
    assert [len(fold.test) for fold in balanced] == [24] * 5
    sizes_only = [imbalance(subject_k_fold(subjects, 5, seed), labels) for seed in range(5)]
    assert imbalance(balanced, labels) < min(sizes_only)


def test_balanced_folds_need_a_label_for_each_row():
    with pytest.raises(MerHfError, match="2 labels and 6 subjects"):
        balanced_k_fold(SUBJECTS, [0, 1], 2)
    with pytest.raises(MerHfError, match="4 folds of 3 subjects"):
        balanced_k_fold(SUBJECTS, [0] * 6, 4)


# --- corpora held out ---

corpus_rows = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz")), min_size=2, max_size=30)


@given(corpus_rows)
def test_a_corpus_held_out_is_tested_on_people_that_nobody_trained_on(rows):
    corpora, subjects = zip(*rows, strict=True)
    try:
        folds = hold_one_corpus_out(corpora, subjects)
    except MerHfError:
        everybody = set(subjects)
        assert (
            len(set(corpora)) < 2
            or len(everybody) < 2
            or any({s for c, s in rows if c == corpus} == everybody for corpus in corpora)
        )
        return
    assert [fold.name for fold in folds] == list(dict.fromkeys(corpora))
    assert sorted(row for fold in folds for row in fold.test) == list(range(len(rows)))
    for fold in folds:
        assert fold.test == tuple(row for row, corpus in enumerate(corpora) if corpus == fold.name)
        people = {subjects[row] for row in fold.test}
        naive = [row for row in range(len(rows)) if corpora[row] != fold.name and subjects[row] not in people]
        assert list(fold.train) == naive


def test_one_corpus_can_be_tested_by_training_on_others():
    corpora, subjects = ["a", "b", "c", "b", "smic", "smic-vis"], ["1", "2", "3", "4", "5", "5"]
    assert train_on_others(corpora, subjects, ["b", "smic"]) == Fold("b+smic", (0, 2), (1, 3, 4))
    with pytest.raises(MerHfError, match=r"no corpus .*'d'.*a, b, c"):
        train_on_others(corpora, subjects, ["d"])
    with pytest.raises(MerHfError, match="Nobody is left"):
        train_on_others(["a", "b"], ["1", "2"], ["a", "b"])
    with pytest.raises(MerHfError, match="at least two of them"):
        hold_one_corpus_out(["a", "a"], ["1", "2"])


def test_cd6me_holds_each_of_its_six_corpora_out_in_its_own_order():
    corpora = [name for name in reversed(CD6ME) for _ in range(2)]
    subjects = [f"{name}/{row % 2}" for row, name in enumerate(corpora)]
    folds = cd6me(corpora, subjects)
    assert [fold.name for fold in folds] == ["casme", "casme2", "samm", "4dme", "mmew", "casme3"]
    for fold in folds:  # as a frame of clips is split by the column "dataset" there
        assert fold.test == tuple(row for row, corpus in enumerate(corpora) if corpus == fold.name)
        assert fold.train == tuple(row for row, corpus in enumerate(corpora) if corpus != fold.name)
    with pytest.raises(MerHfError, match=r"CD6ME is of casme, .*; found casme3"):
        cd6me(corpora[:4], subjects[:4])


def test_cross_has_one_fold_and_nobody_on_both_sides():
    sides, subjects = ["train", "test", "train", "test"], ["a", "b", "c", "b"]
    assert cross(sides, subjects) == [Fold("test", (0, 2), (1, 3))]
    with pytest.raises(MerHfError, match="1 subjects are in what is trained on and in what is tested on, such as a"):
        cross(sides, ["a", "b", "c", "a"])
    with pytest.raises(MerHfError):
        cross(["train"] * 4, subjects)
    with pytest.raises(MerHfError):
        cross(["test"] * 4, subjects)


def test_every_protocol_is_told_in_a_sentence_and_an_unknown_one_by_its_name():
    known = get_args(get_type_hints(Recipe)["protocol"])
    told = {name: described({"protocol": name, "num_folds": 4, "dataset": "A", "test_dataset": "B"}) for name in known}
    assert len({*told.values()}) == len(known)
    assert not any(text.startswith("Protocol:") for text in told.values())
    assert "clips of B were classified by a network that was trained on A alone" in told["cross"]
    assert "in 4 parts" in told["kfold"]
    assert described({"protocol": "of tomorrow", "folds": "s1"}) == (
        "Protocol: of tomorrow. Only some of the folds were run: s1."
    )
