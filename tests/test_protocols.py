from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_hf.protocols import Fold, leave_one_subject_out, leave_one_video_out, select_folds, subject_k_fold

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
    with pytest.raises(ValueError, match=f"at least two.*{found}"):
        split(subjects)


@pytest.mark.parametrize("nobody", [None, "", " "])
def test_a_row_without_a_subject_is_refused_by_its_number(nobody):
    with pytest.raises(ValueError, match="Row 1 has no subject"):
        leave_one_subject_out(["s1", nobody, "s2"])


@pytest.mark.parametrize("k", [0, 1, 4])
def test_a_number_of_folds_out_of_range_is_refused(k):
    with pytest.raises(ValueError, match=f"{k} folds of 3 subjects"):
        subject_k_fold(SUBJECTS, k)


def test_repeated_clip_ids_are_refused_and_named():
    with pytest.raises(ValueError, match=r"1 clip ids occur more than once.*'b'"):
        leave_one_video_out(["a", "b", "b"])


def test_a_single_clip_cannot_be_left_out():
    with pytest.raises(ValueError, match="at least two clips; found 1"):
        leave_one_video_out(["a"])


def test_folds_are_selected_by_name_in_the_order_asked_for():
    folds = leave_one_subject_out(SUBJECTS)
    assert [fold.name for fold in select_folds(folds, ["s3", "s1"])] == ["s3", "s1"]


def test_an_unknown_fold_is_refused_with_the_nearest_and_all_known_names():
    folds = leave_one_subject_out(["casme2/sub01", "casme2/sub02"])
    with pytest.raises(ValueError, match=r"no fold 'sub02'.*mean 'casme2/sub02'.*casme2/sub01, casme2/sub02"):
        select_folds(folds, ["casme2/sub01", "sub02"])
