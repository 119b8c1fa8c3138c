import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from mer_hf.errors import MerHfError
from mer_hf.evaluation.confidence import (
    NEVER,
    abstain_below,
    calibration,
    fitted,
    probabilities,
    risk_coverage,
    temperature,
)

verdicts = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.35, 0.5, 0.5001, 0.9, 1.0]), st.booleans()), min_size=1)


@pytest.fixture
def too_sure():
    """Logits three times as far apart as the labels bear out."""
    generator = np.random.default_rng(0)
    honest = generator.normal(0, 1.5, (400, 3))
    labels = np.array([generator.choice(3, p=row) for row in softmax(honest, axis=1)])
    return 3 * honest, labels


def test_the_temperature_is_where_the_log_likelihood_is_best(too_sure):
    logits, labels = too_sure
    found = temperature(logits, labels)

    def loss(t):
        return -np.mean([log_softmax(row / t)[label] for row, label in zip(logits, labels, strict=True)])

    assert found == pytest.approx(minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x, rel=1e-3)
    assert found == pytest.approx(3, rel=0.25)
    assert log_loss(labels, probabilities(logits, found)) < log_loss(labels, probabilities(logits))
    np.testing.assert_allclose(probabilities(logits, found), softmax(logits / found, axis=1))


def test_a_temperature_changes_no_prediction_and_mends_the_calibration(too_sure):
    logits, labels = too_sure
    before, after = probabilities(logits), probabilities(logits, temperature(logits, labels))
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))
    right = before.argmax(1) == labels
    assert calibration(after.max(1), right).ece < calibration(before.max(1), right).ece / 2


def test_logarithms_of_scores_serve_as_logits(too_sure):
    logits, labels = too_sure
    assert temperature(np.log(probabilities(logits)), labels) == pytest.approx(temperature(logits, labels), rel=1e-6)


def test_a_model_that_is_always_right_gets_the_coldest_temperature_and_one_that_knows_nothing_the_warmest():
    sure = np.eye(3)[[0, 1, 2]]
    assert temperature(sure, [0, 1, 2]) == pytest.approx(0.05)
    assert temperature(sure, [1, 2, 0]) == pytest.approx(20)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([[1.0, 2.0]], [2], "class numbers from 0 to 1"),
        ([[1.0, 2.0]], [0, 1], r"found \(1, 2\), \(2,\)"),
        ([[1.0, np.inf]], [0], "not finite"),
        (np.empty((0, 3)), [], "found"),
        ([[1.0, 2.0]], [0.5], "class numbers"),
    ],
)
def test_what_no_temperature_fits_is_refused(logits, labels, message):
    with pytest.raises(MerHfError, match=message):
        temperature(logits, labels)


def naive_risk(clips, threshold):
    answered = [right for score, right in clips if score >= threshold]
    return len(answered) / len(clips), answered.count(False) / len(answered)


@given(verdicts)
def test_risk_and_coverage_are_those_of_answering_from_a_score_on(clips):
    curve = risk_coverage(*zip(*clips, strict=True))
    assert sorted({score for score, _ in clips}, reverse=True) == curve.thresholds.tolist()
    for step, threshold in enumerate(curve.thresholds):
        assert (curve.coverages[step], curve.risks[step]) == pytest.approx(naive_risk(clips, threshold))
    assert curve.coverages[-1] == 1
    area = sum((c - p) * r for p, c, r in zip([0, *curve.coverages[:-1]], curve.coverages, curve.risks, strict=True))
    assert curve.area == pytest.approx(area)


@given(verdicts, st.sampled_from([0.0, 0.2, 0.5, 0.9]))
def test_answers_at_the_threshold_and_above_it_are_wrong_at_most_as_often_as_can_be_borne(clips, risk):
    chosen = abstain_below(*zip(*clips, strict=True), risk)
    scores = sorted({score for score, _ in clips})
    good = [s for s in scores if all(naive_risk(clips, higher)[1] <= risk for higher in scores if higher >= s)]
    assert chosen == min(good, default=np.inf)


def test_a_risk_that_is_no_share_is_refused():
    for risk in (-0.1, 1.0):
        with pytest.raises(MerHfError, match="risk is"):
            abstain_below([0.5], [True], risk)
    with pytest.raises(MerHfError, match="a verdict for each clip"):
        abstain_below([0.5], [True, False], 0.1)


@given(verdicts)
def test_calibration_agrees_with_its_naive_twin(clips):
    found = calibration(*zip(*clips, strict=True), bins=5)
    gap = 0.0
    for place in range(5):
        low, high = place / 5, (place + 1) / 5
        inside = [(s, r) for s, r in clips if low < s <= high or (place == 0 and s == 0)]
        assert found.clips[place] == len(inside)
        if inside:
            scores, rights = zip(*inside, strict=True)
            assert (found.confidence[place], found.accuracy[place]) == pytest.approx((np.mean(scores), np.mean(rights)))
            gap += abs(sum(rights) - sum(scores)) / len(clips)
    assert found.ece == pytest.approx(gap)


def test_scores_outside_0_to_1_cannot_be_calibrated():
    with pytest.raises(MerHfError, match="needs 0 to 1"):
        calibration([1.5], [True])


# --- both together ---


def test_what_was_fitted_is_judged_on_each_group_by_the_others():
    generator = np.random.default_rng(5)
    labels = generator.integers(-1, 3, 90)  # -1: nothing moved
    logits = generator.normal(0, 1, (90, 3)) + 3 * (np.arange(3) == labels[:, None])
    groups = [f"s{n % 6}" for n in range(90)]
    found = fitted(logits, labels, groups, 0.25)

    def by_hand(rows):
        shown = rows & (labels >= 0)
        warm = temperature(logits[shown], labels[shown])
        highest = probabilities(logits[rows], warm).max(1)
        return warm, abstain_below(highest, logits[rows].argmax(1) == labels[rows], 0.25)

    everybody = np.ones(90, dtype=bool)
    assert (found["temperature"], found["abstain_below"]) == pytest.approx(by_hand(everybody))
    answered, wrong = 0, 0
    for row in range(90):
        warm, least = by_hand(np.array([group != groups[row] for group in groups]))
        if probabilities(logits[row : row + 1], warm).max() >= least:
            answered += 1
            wrong += logits[row].argmax() != labels[row]
    assert (found["answered"], found["wrong"]) == pytest.approx((answered / 90, wrong / answered))
    assert (found["clips"], found["risk"]) == (90, 0.25)
    assert 0 < found["answered"] < 1


def test_a_model_that_is_always_wrong_never_answers():
    found = fitted(np.eye(3)[[0, 1, 2, 0]], [1, 2, 0, 1], ["a", "a", "b", "b"])
    assert (found["abstain_below"], found["answered"], found["wrong"]) == (NEVER, 0.0, 0.0)


def test_one_group_alone_is_refused():
    with pytest.raises(MerHfError, match="all 2 are of one"):
        fitted(np.eye(2), [0, 1], ["a", "a"])
