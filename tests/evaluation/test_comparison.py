import json
import time

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import accuracy_score, f1_score, recall_score

from mer_hf.evaluation.comparison import compare, comparison_lines, comparison_table, draw_comparison, holm
from mer_hf.evaluation.predictions import PredictionsError, names_of_runs

DRAWS = 10
COLUMNS = ["clip_id", "label", "predicted", "seed"]
METRICS = ("uf1", "uar", "accuracy")


@pytest.fixture
def systems(make_predictions):
    return {"a": make_predictions(seeds=3, seed=1), "b": make_predictions(seeds=2, skill=0.7, seed=2)}


def naive_scores(rows):
    present = sorted(set(rows.label))
    return [
        f1_score(rows.label, rows.predicted, labels=present, average="macro"),
        recall_score(rows.label, rows.predicted, labels=present, average="macro"),
        accuracy_score(rows.label, rows.predicted),
    ]


def naive_draws(systems, draws, paired):
    """The rows of the drawn subjects put in a row for every drawn seed, and scored; (draws, 3), second - first."""
    first, second = systems.values()
    subjects = sorted(set(first.subject))
    times = np.random.default_rng(0).multinomial(len(subjects), np.full(len(subjects), 1 / len(subjects)), draws)
    generator = np.random.default_rng(1)
    sizes = [table.seed.nunique() for table in (first, second)]
    if paired:
        seeds = [generator.integers(0, sizes[0], (draws, sizes[0]))] * 2
    else:
        seeds = [generator.integers(0, size, (draws, size)) for size in sizes]
    differences = []
    for draw, counts in enumerate(times):
        means = []
        for table, drawn in zip((first, second), seeds, strict=True):
            scored = []
            for seed in drawn[draw]:
                of_seed = table[table.seed == seed]
                parts = [of_seed[of_seed.subject == s] for s, n in zip(subjects, counts, strict=True) for _ in range(n)]
                scored.append(naive_scores(pd.concat(parts)))
            means.append(np.mean(scored, axis=0))
        differences.append(means[1] - means[0])
    return np.array(differences)


@pytest.mark.parametrize("paired", [False, True])
def test_a_comparison_agrees_with_its_naive_twin(make_predictions, paired):
    systems = {"a": make_predictions(5, 4, 2), "b": make_predictions(5, 4, 2 if paired else 1, 0.8, seed=2)}
    comparison = compare(systems, "paired" if paired else "averaged", draws=DRAWS)
    (pair,) = comparison.pairs
    drawn = naive_draws(systems, DRAWS, paired)
    measured = [np.mean([naive_scores(rows) for _, rows in t.groupby("seed")], axis=0) for t in systems.values()]
    tail = norm.cdf(-np.sqrt(5 / 4) * student.ppf(0.975, 4))
    for place, (metric, one) in enumerate(zip(METRICS, pair.differences, strict=True)):
        assert one.metric == metric
        assert (one.first, one.second) == pytest.approx((measured[0][place], measured[1][place]))
        assert one.difference == pytest.approx(measured[1][place] - measured[0][place])
        assert one.interval == pytest.approx(np.quantile(drawn[:, place], [tail, 1 - tail]).tolist(), abs=1e-3)
        assert one.resolves == pytest.approx(-norm.ppf(tail) * np.std(drawn[:, place], ddof=1), rel=0.005)
        share = min(0.5, (min(sum(drawn[:, place] <= 0), sum(drawn[:, place] >= 0)) + 1) / (DRAWS + 1))
        assert one.p == pytest.approx(2 * student.cdf(norm.ppf(share) * np.sqrt(4 / 5), 4), abs=0.005)
        assert one.p == one.p_holm


@pytest.mark.parametrize("paired", [False, True])
def test_disagreements_are_counted_clip_by_clip_each_way(systems, paired):
    systems = {name: table[table.seed < 2] for name, table in systems.items()}
    first, second = (
        {(row.clip_id, row.seed): row.label == row.predicted for row in table.itertuples()}
        for table in systems.values()
    )
    seeds = [(0, 0), (1, 1)] if paired else [(0, 0), (0, 1), (1, 0), (1, 1)]
    clips = {clip for clip, _ in first}
    only = [
        sum(first[clip, a] and not second[clip, b] for clip in clips for a, b in seeds) / len(seeds),
        sum(second[clip, b] and not first[clip, a] for clip in clips for a, b in seeds) / len(seeds),
    ]
    (pair,) = compare(systems, "paired" if paired else "averaged", draws=10).pairs
    assert [pair.only_first_right, pair.only_second_right] == pytest.approx(only)


def test_the_order_of_rows_does_not_matter_and_that_of_systems_turns_the_sign(systems):
    shuffled = {name: table.sample(frac=1, random_state=0) for name, table in systems.items()}
    comparison = compare(systems, draws=50)
    assert compare(shuffled, draws=50) == comparison
    turned = compare(dict(reversed(systems.items())), draws=50).pairs[0]
    for one, other in zip(comparison.pairs[0].differences, turned.differences, strict=True):
        assert other.difference == pytest.approx(-one.difference)


def test_a_system_does_not_differ_from_itself(make_predictions):
    table = make_predictions()
    (pair,) = compare({"a": table, "b": table}, draws=50).pairs
    assert (pair.only_first_right, pair.only_second_right) == (0, 0)
    for one in pair.differences:
        assert (one.difference, one.interval, one.p, one.resolves) == (0, (0, 0), 1, 0)


def test_subjects_may_stand_in_one_table_only_and_clips_that_one_lacks_are_counted(systems):
    whole = compare(systems, draws=50)
    bare = {"a": systems["a"], "b": systems["b"][["clip_id", "label", "predicted", "seed"]]}
    assert compare(bare, draws=50) == whole
    clip = systems["b"].clip_id.iloc[0]
    shorter = compare({"a": systems["a"], "b": systems["b"][systems["b"].clip_id != clip]}, draws=50)
    assert (shorter.clips, shorter.left_out) == (whole.clips - 1, {"a": 1, "b": 0})
    assert "1 clips of a are left out" in "\n".join(comparison_lines(shorter))


def test_holm_is_the_step_down_of_the_smallest():
    p = [0.01, 0.04, 0.03, 0.005, 0.9]

    def naive(values):
        order = sorted(values)
        return [max(min(1, (len(order) - j) * order[j]) for j in range(order.index(v) + 1)) for v in values]

    assert holm(p) == pytest.approx(naive(p))
    assert holm(p) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.9])
    assert holm([]) == []


def test_several_pairs_are_corrected(systems, make_predictions):
    systems = {**systems, "c": make_predictions(seed=5)}
    comparison = compare(systems, draws=60)
    assert [(pair.first, pair.second) for pair in comparison.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    for place in range(3):
        raw = [pair.differences[place].p for pair in comparison.pairs]
        assert [pair.differences[place].p_holm for pair in comparison.pairs] == pytest.approx(holm(raw))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.assign(clip_id="other/" + t.clip_id), "no clip in common. Their clips are a: .*; b: other/"),
        (lambda t: t[COLUMNS].replace("negative", "Negative"), "'Negative' and 'negative' may be the same"),
        (lambda t: t.assign(label="positive"), "disagree about the label of clip .* a: .*; b: positive"),
        (lambda t: t.assign(subject="s"), "disagree about the subject of clip"),
        (lambda t: t.drop(index=0), "b: seed 0 lacks 1 clips"),
    ],
)
def test_systems_that_cannot_be_compared_are_refused(systems, spoil, message):
    with pytest.raises(PredictionsError, match=message):
        compare({"a": systems["a"], "b": spoil(systems["b"])}, draws=10)


def test_seeds_that_cannot_be_paired_and_missing_subjects_are_refused(systems):
    with pytest.raises(PredictionsError, match=r"seeds can be paired only .* a: 0, 1, 2; b: 0, 1"):
        compare(systems, "paired", draws=10)
    with pytest.raises(PredictionsError, match="none of the tables has the column 'subject'"):
        compare({name: table.drop(columns="subject") for name, table in systems.items()}, draws=10)
    with pytest.raises(PredictionsError, match="two systems"):
        compare({"a": systems["a"]})


def test_a_comparison_can_be_read_as_text_json_markdown_and_latex(systems):
    comparison = compare({"a_1|x": systems["a"], "b": systems["b"]}, draws=50)
    one = comparison.pairs[0].differences[0]
    (line,) = [line for line in comparison_lines(comparison) if line.startswith("  UF1")]
    assert f"{one.second:.4f} - {one.first:.4f} = {one.difference:+.4f}" in line
    assert json.loads(json.dumps(comparison.to_dict()))["pairs"][0]["differences"][0]["difference"] == one.difference
    markdown = comparison_table(comparison, "markdown")
    assert all(row.replace("\\|", "").count("|") == markdown[0].count("|") for row in markdown)
    assert f"{one.difference:+.3f}" in markdown[2]
    latex = comparison_table(comparison, "latex")
    assert latex[1].startswith(r"a\_1|x / b & UF1 & ") and latex[1].endswith(r" \\")


def test_differences_are_drawn(systems, tmp_path):
    draw_comparison(compare(systems, draws=50), tmp_path / "differences.png")
    assert matplotlib.image.imread(tmp_path / "differences.png")[..., :3].std() > 0.02


def test_five_seeds_against_five_take_less_than_five_seconds(make_predictions):
    systems = {name: make_predictions(68, 7, 5, seed=number) for number, name in enumerate("ab")}
    started = time.process_time()
    compare(systems)
    assert time.process_time() - started < 5


@pytest.mark.slow
def test_the_interval_of_a_difference_covers_it_and_equal_systems_seldom_differ():
    """Two systems of equal skill: the interval holds 0, and p stays above .05, in about 95 % of samples of people."""
    generator = np.random.default_rng(0)
    held, spared = [], []
    for seed in range(150):
        ease = generator.beta(4, 2, 40).repeat(6)
        labels = generator.integers(0, 3, 240)
        base = pd.DataFrame({"clip_id": np.arange(240).astype(str), "subject": np.arange(40).repeat(6), "seed": 0})
        tables = {}
        for name in "ab":
            right = generator.random(240) < ease
            predicted = np.where(right, labels, (labels + generator.integers(1, 3, 240)) % 3)
            tables[name] = base.assign(label=labels.astype(str), predicted=predicted.astype(str))
        differences = compare(tables, draws=400, seed=seed).pairs[0].differences
        held.append([one.interval[0] <= 0 <= one.interval[1] for one in differences])
        spared.append([one.p > 0.05 for one in differences])
    shares = np.mean(held, axis=0)
    assert (shares > 0.92).all() and (shares < 0.98).all(), shares
    assert (np.array(held) == np.array(spared)).mean() > 0.98  # p is never 0, and so a little larger


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/a", "runs/b/predictions.csv", "other.csv"], ["a", "b", "other"]),
        (["runs/a/x", "runs/b/x"], ["a/x", "b/x"]),
    ],
)
def test_runs_are_called_by_what_tells_their_paths_apart(tmp_path, paths, names):
    assert names_of_runs([tmp_path / path for path in paths]) == names


def test_names_must_be_as_many_as_runs_and_differ(tmp_path):
    with pytest.raises(PredictionsError, match="2 runs and 1 names"):
        names_of_runs([tmp_path / "a", tmp_path / "b"], ["one"])
    with pytest.raises(PredictionsError, match="same name"):
        names_of_runs([tmp_path / "a", tmp_path / "a"])
