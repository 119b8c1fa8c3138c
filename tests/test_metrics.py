import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from mer_hf.errors import MerHfError
from mer_hf.metrics import (
    accuracy,
    confusion,
    interval_iou,
    scores,
    spotting_scores,
    strs,
    subject_bootstrap,
    uar,
    uf1,
)

CARD = Path(__file__).parents[1] / "hub_cards" / "metric" / "micro_expression_scores.py"

# by hand; class 2 is absent, and one clip of class 1 was taken for it
LABELS = [0, 0, 0, 1, 1]
PREDICTIONS = [0, 0, 1, 1, 2]
COUNTS = np.array([[2, 1, 0], [0, 1, 1], [0, 0, 0]])

# from two classes up, for scikit-learn warns of a matrix of one
pairs = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=60)
    )
)


def test_counts_have_true_classes_in_rows():
    np.testing.assert_array_equal(confusion(LABELS, PREDICTIONS, 3), COUNTS)


def test_scores_by_hand_with_an_absent_class():
    # F1: 2*2 / (2*2 + 0 + 1) = .8 and 2*1 / (2*1 + 1 + 1) = .5; recalls 2/3 and 1/2
    assert uf1(COUNTS) == pytest.approx((0.8 + 0.5) / 2)
    assert uar(COUNTS) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert accuracy(COUNTS) == pytest.approx(3 / 5)


@settings(deadline=None)  # scikit-learn takes its time to come
@given(pairs)
def test_scores_agree_with_scikit_learn(drawn):
    num_classes, clips = drawn
    labels, predictions = (np.array(side) for side in zip(*clips, strict=True))
    present = np.unique(labels)
    result = scores(labels, predictions, num_classes)
    np.testing.assert_array_equal(
        result["confusion"], confusion_matrix(labels, predictions, labels=list(range(num_classes)))
    )
    assert result["uf1"] == pytest.approx(f1_score(labels, predictions, labels=present, average="macro"))
    # the balanced accuracy, which scikit-learn computes likewise but with a warning about absent classes
    assert result["uar"] == pytest.approx(recall_score(labels, predictions, labels=present, average="macro"))
    assert result["accuracy"] == pytest.approx(accuracy_score(labels, predictions))


@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_the_clips_does_not_matter(drawn, random):
    num_classes, clips = drawn
    shuffled = list(clips)
    random.shuffle(shuffled)
    assert scores(*zip(*clips, strict=True), num_classes) == scores(*zip(*shuffled, strict=True), num_classes)


def test_pooled_counts_are_not_the_mean_over_folds():
    folds = [([0, 0, 0, 1], [0, 0, 0, 0]), ([1], [1])]
    pooled = scores([0, 0, 0, 1, 1], [0, 0, 0, 0, 1], 2)
    assert pooled["uf1"] == pytest.approx((6 / 7 + 2 / 3) / 2)
    assert pooled["uf1"] != pytest.approx(np.mean([scores(*fold, 2)["uf1"] for fold in folds]))


def test_scores_go_into_json_as_they_are():
    result = scores(np.array(LABELS), np.array(PREDICTIONS), 3)
    assert json.loads(json.dumps(result)) == result
    assert result["confusion"] == COUNTS.tolist()


@given(st.lists(st.lists(st.integers(0, 5), min_size=9, max_size=9).filter(any), min_size=1, max_size=5))
def test_many_matrices_at_once_have_the_scores_of_each(matrices):
    matrices = np.array(matrices).reshape(-1, 3, 3)
    for score in (uf1, uar, accuracy):
        np.testing.assert_array_equal(score(matrices), [score(counts) for counts in matrices])


# --- the interval over subjects ---

RECORDED = list(
    zip([0, 1, 0, 1, 2, 0, 1, 1], [0, 1, 1, 1, 2, 2, 1, 0], ["a", "a", "b", "b", "b", "c", "c", "d"], strict=True)
)


def naive_intervals(clips, num_classes, draws, seed):
    """The same draws, but the clips of every drawn subject put in a row, and scored."""
    subjects = sorted({subject for *_, subject in clips})
    shares = np.full(len(subjects), 1 / len(subjects))
    drawn = []
    for times in np.random.default_rng(seed).multinomial(len(subjects), shares, draws):
        rows = []
        for subject, count in zip(subjects, times, strict=True):
            rows += [(label, told) for label, told, owner in clips if owner == subject] * count
        drawn.append(scores(*zip(*rows, strict=True), num_classes))
    return {
        name: [np.percentile([each[name] for each in drawn], percent) for percent in (2.5, 97.5)]
        for name in ("uf1", "uar", "accuracy")
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_intervals_are_those_of_clips_put_in_a_row_for_every_draw(seed):
    intervals = subject_bootstrap(*zip(*RECORDED, strict=True), num_classes=3, draws=150, seed=seed)
    expected = naive_intervals(RECORDED, 3, 150, seed)
    assert intervals.keys() == expected.keys()
    for name, (low, high) in intervals.items():
        assert [low, high] == pytest.approx(expected[name])
        assert 0 <= low < high <= 1
    assert json.loads(json.dumps(intervals)) == intervals


def test_more_predictions_of_the_same_subjects_do_not_narrow_the_interval():
    once = subject_bootstrap(*zip(*RECORDED, strict=True), num_classes=3)
    assert subject_bootstrap(*zip(*RECORDED * 5, strict=True), num_classes=3) == once


def test_the_interval_of_subjects_who_are_all_alike_is_their_score():
    clips = [(label, told, subject) for subject in "abc" for label, told in zip(LABELS, PREDICTIONS, strict=True)]
    whole = scores(LABELS, PREDICTIONS, 3)
    for name, interval in subject_bootstrap(*zip(*clips, strict=True), num_classes=3).items():
        assert interval == pytest.approx([whole[name]] * 2)


def test_the_interval_covers_what_other_people_would_have_scored():
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        ability = generator.beta(4, 2, 20)  # its mean is 2 / 3, and people differ
        right = generator.random((20, 10)) < ability[:, None]
        labels = np.zeros(right.size, int)
        intervals = subject_bootstrap(labels, 1 - right.ravel().astype(int), np.repeat(np.arange(20), 10), 2, draws=300)
        low, high = intervals["accuracy"]
        covered.append(low <= 2 / 3 <= high)
    assert 0.88 < np.mean(covered) < 0.98


@pytest.mark.parametrize(
    ("subjects", "message"),
    [(["a", "b"], "2 subjects and 5 labels"), (["a"] * 5, "all clips are of the subject a")],
)
def test_an_interval_that_cannot_be_had_is_refused(subjects, message):
    with pytest.raises(MerHfError, match=message):
        subject_bootstrap(LABELS, PREDICTIONS, subjects, 3)


@pytest.mark.parametrize(
    ("labels", "predictions", "num_classes", "message"),
    [
        ([], [], 3, "labels is empty"),
        ([0, 1], [0], 3, "2 labels and 1 predictions"),
        ([[0, 1]], [0, 1], 3, r"labels must be one-dimensional.*\(1, 2\)"),
        ([0, 3], [0, 1], 3, "labels go from 0 to 3; with 3 classes they must be from 0 to 2"),
        ([0, 1], [-1, 1], 3, "predictions go from -1 to 1"),
        ([0.0, 1.0], [0, 1], 3, "labels must be integer class numbers; found the type float64"),
        ([0], [0], 0, "num_classes is 0"),
    ],
)
def test_input_that_cannot_be_scored_is_refused_with_what_was_found(labels, predictions, num_classes, message):
    with pytest.raises(MerHfError, match=message):
        scores(labels, predictions, num_classes)


# --- the metric of `evaluate` on its card ---


@pytest.fixture
def metric(tmp_path):
    return evaluate.load(shutil.copy(CARD, tmp_path))


def test_the_metric_pools_batches_like_scores(metric):
    metric.add_batch(predictions=PREDICTIONS[:2], references=LABELS[:2])
    metric.add_batch(predictions=PREDICTIONS[2:], references=LABELS[2:])
    assert metric.compute(num_classes=3) == scores(LABELS, PREDICTIONS, 3)


def test_the_metric_scores_alike_without_the_number_of_classes(metric):
    result = metric.compute(predictions=[0, 1, 1], references=[0, 0, 1])
    assert result == scores([0, 0, 1], [0, 1, 1], 2)


def test_the_scores_need_neither_torch_nor_transformers_nor_evaluate():
    program = (
        "import sys, mer_hf.metrics; heavy = {'torch', 'transformers', 'evaluate', 'datasets', 'pandas', 'scipy'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- spotting ---

intervals = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 12)).map(lambda p: (p[0], p[0] + p[1])), max_size=5)
thresholds = st.sampled_from([0.1, 0.3, 0.5, 0.75, 1.0])


def frames(interval):
    return set(range(interval[0], interval[1] + 1))


def naive_iou(first, second):
    return len(frames(first) & frames(second)) / len(frames(first) | frames(second))


def naive_best(found, truth, iou):
    """All ways to give each find a truth of its own or none: the most pairs, then the largest sum."""
    best = (0, 0.0)
    places = list(range(len(truth))) + [None] * len(found)
    for given_to in set(itertools.permutations(places, len(found))):
        overlaps = [naive_iou(found[f], truth[t]) for f, t in enumerate(given_to) if t is not None]
        if all(overlap >= iou for overlap in overlaps):
            best = max(best, (len(overlaps), sum(overlaps)))
    return best


def naive_first(found, truth, iou):
    pairs = []
    for find, interval in enumerate(found):
        for one, real in enumerate(truth):
            if one not in [taken for _, taken in pairs] and naive_iou(interval, real) >= iou:
                pairs.append((find, one))
                break
    return pairs


@given(intervals, intervals)
def test_overlap_counts_frames_with_both_ends(found, truth):
    sides = [np.array(side, dtype=int).reshape(-1, 2) for side in (found, truth)]
    naive = [[naive_iou(first, second) for second in truth] for first in found]
    np.testing.assert_array_equal(interval_iou(*sides), np.reshape(naive, (len(found), len(truth))))


@settings(deadline=None)
@given(intervals.map(lambda each: each[:4]), intervals.map(lambda each: each[:4]), thresholds)
def test_the_best_matching_is_that_of_trying_all(found, truth, iou):
    result = spotting_scores({"v": found}, {"v": truth}, iou)
    count, total = naive_best(found, truth, iou)
    overlaps = [naive_iou(found[find], truth[one]) for _, find, one in result["pairs"]]
    assert (result["tp"], len(overlaps)) == (count, count)
    assert min(overlaps, default=1) >= iou
    assert sum(overlaps) == pytest.approx(total)
    for side in (1, 2):
        assert len({pair[side] for pair in result["pairs"]}) == count


@pytest.mark.parametrize("seed", range(5))
def test_the_best_matching_of_many_is_that_of_an_assignment(seed):
    generator = np.random.default_rng(seed)
    found, truth = (
        [(int(a), int(a + d)) for a, d in zip(generator.integers(0, 300, n), generator.integers(5, 40, n), strict=True)]
        for n in (60, 45)
    )
    result = spotting_scores({"v": found}, {"v": truth}, 0.3)
    overlap = interval_iou(np.array(found), np.array(truth))
    value = np.where(overlap >= 0.3, 1000 + overlap, 0)  # one more pair is worth more than any overlap
    rows, columns = linear_sum_assignment(value, maximize=True)
    chosen = overlap[rows, columns][value[rows, columns] > 0]
    assert result["tp"] == len(chosen)
    assert sum(overlap[find, one] for _, find, one in result["pairs"]) == pytest.approx(chosen.sum())


@given(intervals, intervals, thresholds)
def test_the_first_matching_goes_in_the_order_given(found, truth, iou):
    result = spotting_scores({"v": found}, {"v": truth}, iou, matching="first")
    assert [(find, one) for _, find, one in result["pairs"]] == naive_first(found, truth, iou)


def test_the_order_can_cost_a_pair_and_the_best_matching_does_not():
    found, truth = [(5, 14), (0, 9)], [(2, 11), (5, 16)]  # the first find fits both, the second the first truth only
    assert spotting_scores({"v": found}, {"v": truth}, matching="first")["tp"] == 1
    assert spotting_scores({"v": found}, {"v": truth}, matching="best")["pairs"] == [("v", 0, 1), ("v", 1, 0)]


def test_counts_are_pooled_over_all_videos_with_and_without_events():
    found = {"a": [(10, 19), (30, 39)], "quiet": [(1, 5)]}
    truth = {"a": [(12, 21)], "missed": [(0, 9), (50, 60)], "still": []}
    result = spotting_scores(found, truth)
    assert (result["tp"], result["fp"], result["fn"]) == (1, 2, 2)
    assert (result["precision"], result["recall"], result["f1"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert result["pairs"] == [("a", 0, 0)]
    assert json.loads(json.dumps(result))["pairs"] == [["a", 0, 0]]


def test_half_is_enough_and_both_ends_belong_to_an_interval():
    assert spotting_scores({"v": [(0, 4)]}, {"v": [(0, 9)]})["tp"] == 1  # 5 of 10 frames
    assert spotting_scores({"v": [(0, 3)]}, {"v": [(0, 9)]})["tp"] == 0
    assert spotting_scores({"v": [(7, 7)]}, {"v": [(7, 7)]}, iou=1)["tp"] == 1


def test_nothing_found_of_nothing_is_zero():
    nothing = spotting_scores({}, {"v": []})
    assert (nothing["precision"], nothing["recall"], nothing["f1"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("found", "options", "message"),
    [
        ([(5, 4)], {}, r"found\['v'\] holds \(5, 4\)"),
        ([(0.5, 4)], {}, r"found\['v'\] holds \(0.5, 4\).*whole"),
        ([(float("nan"), 4)], {}, "holds .nan, 4"),
        ([1, 2], {}, "must be .onset, offset. pairs"),
        ([("a", "b")], {}, "must be .onset, offset. pairs"),
        ([(1, 2)], {"iou": 0}, "iou is 0"),
        ([(1, 2)], {"matching": "all"}, "matching is 'all'"),
    ],
)
def test_intervals_that_are_none_are_refused(found, options, message):
    with pytest.raises(MerHfError, match=message):
        spotting_scores({"v": found}, {"v": [(1, 2)]}, **options)


def test_strs_is_spotting_f1_times_the_uf1_of_the_spotted():
    found = {"a": [(0, 9), (20, 29), (40, 49)], "b": [(0, 9)]}
    truth = {"a": [(21, 30), (0, 9)], "b": [(1, 10), (70, 80)]}
    spotted = spotting_scores(found, truth)
    assert spotted["pairs"] == [("a", 0, 1), ("a", 1, 0), ("b", 0, 0)]
    result = strs(spotted, {"a": [0, 1, 2], "b": [1]}, {"a": [1, 0], "b": [0, 2]}, 3)
    uf1_of_pairs = scores([0, 1, 0], [0, 1, 1], 3)["uf1"]
    assert result["recognition_uf1"] == pytest.approx(uf1_of_pairs)
    assert result["strs"] == pytest.approx(6 / 8 * uf1_of_pairs)
    assert strs(spotting_scores({}, truth), {}, {"a": [1, 0], "b": [0, 2]}, 3)["strs"] == 0
    with pytest.raises(MerHfError, match="matched interval has no class"):
        strs(spotted, {"a": [0, 1, 2]}, {"a": [1, 0], "b": [0, 2]}, 3)


def test_a_transposed_confusion_matrix_has_other_scores():
    counts = np.array([[8, 2, 0], [1, 3, 4], [0, 0, 2]])
    recalls, precisions = (8 / 10 + 3 / 8 + 2 / 2) / 3, (8 / 9 + 3 / 5 + 2 / 6) / 3
    assert uar(counts) == pytest.approx(recalls)
    assert uar(counts.T) == pytest.approx(precisions)
    assert recalls != pytest.approx(precisions)
    labels, predictions = (np.repeat(index, counts.ravel()) for index in np.indices((3, 3)).reshape(2, -1))
    assert scores(labels, predictions, 3)["confusion"] == counts.tolist()
