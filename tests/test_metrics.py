import json
from pathlib import Path

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

import mer_hf.metrics
from mer_hf.metrics import MicroExpressionMetric, accuracy, confusion, scores, subject_bootstrap, uar, uf1

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
    with pytest.raises(ValueError, match=message):
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
    with pytest.raises(ValueError, match=message):
        scores(labels, predictions, num_classes)


def test_the_metric_pools_batches_like_scores():
    metric = MicroExpressionMetric()
    metric.add_batch(predictions=PREDICTIONS[:2], references=LABELS[:2])
    metric.add_batch(predictions=PREDICTIONS[2:], references=LABELS[2:])
    assert metric.compute(num_classes=3) == scores(LABELS, PREDICTIONS, 3)


def test_the_metric_scores_alike_without_the_number_of_classes():
    result = MicroExpressionMetric().compute(predictions=[0, 1, 1], references=[0, 0, 1])
    assert result == scores([0, 0, 1], [0, 1, 1], 2)


def test_the_file_alone_is_a_metric_for_evaluate(tmp_path):
    alone = tmp_path / "metrics.py"
    alone.write_text(Path(mer_hf.metrics.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    metric = evaluate.load(str(alone))
    assert metric.compute(predictions=PREDICTIONS, references=LABELS, num_classes=3) == scores(LABELS, PREDICTIONS, 3)
