import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from mer_hf.evaluation.summary import ensemble, headline, summarise, summary_lines
from mer_hf.metrics import SCORES, drawn_subjects, interval_of_draws, scores, subject_bootstrap

CLASSES = ["negative", "positive", "surprise"]


def second_opinion(rows):
    present = sorted(set(rows.label))
    return {
        "uf1": f1_score(rows.label, rows.predicted, average="macro", labels=present),
        "uar": recall_score(rows.label, rows.predicted, average="macro", labels=present),
        "accuracy": accuracy_score(rows.label, rows.predicted),
    }


def test_every_group_has_the_scores_of_its_rows(make_predictions):
    table = make_predictions(seeds=3)
    summary = summarise(table, CLASSES, ("corpus", "subject", "no such column"))
    assert json.loads(json.dumps(summary)) == summary
    groups = [(summary["pooled"], table)]
    groups += [(summary["pooled"]["per_corpus"][name], rows) for name, rows in table.groupby("corpus")]
    groups += [(summary["pooled"]["per_subject"][name], rows) for name, rows in table.groupby("subject")]
    groups += [(seed, table[table.seed == seed["seed"]]) for seed in summary["seeds"]]
    in_samm = table[table.corpus == "samm"]
    groups += [(seed["per_corpus"]["samm"], in_samm[in_samm.seed == seed["seed"]]) for seed in summary["seeds"]]
    for scored, rows in groups:
        assert {name: scored[name] for name in ("uf1", "uar", "accuracy")} == pytest.approx(second_opinion(rows))
        assert scored["confusion"] == confusion_matrix(rows.label, rows.predicted, labels=CLASSES).tolist()
        assert (scored["clips"], scored["subjects"]) == (rows.clip_id.nunique(), rows.subject.nunique())
    numbers = [table[name].map(CLASSES.index) for name in ("label", "predicted")]
    assert summary["pooled"]["interval"] == subject_bootstrap(*numbers, table.subject, 3)
    assert "interval" not in next(iter(summary["pooled"]["per_subject"].values()))
    each = [second_opinion(rows)["uf1"] for _, rows in table.groupby("seed")]
    assert summary["mean"]["uf1"] == pytest.approx(np.mean(each))
    assert summary["sd"]["uf1"] == pytest.approx(np.std(each, ddof=1))


def test_the_ensemble_is_the_mean_of_the_seeds_scores_clip_by_clip(make_predictions):
    table = make_predictions(seeds=3).sample(frac=1, random_state=0)
    joined = ensemble(table, CLASSES).set_index("clip_id")
    assert len(joined) == table.clip_id.nunique()
    for clip_id, rows in table.groupby("clip_id"):
        means = [rows[f"score_{name}"].mean() for name in CLASSES]
        assert joined.loc[clip_id, "predicted"] == CLASSES[int(np.argmax(means))]
        assert joined.loc[clip_id, "label"] == rows.label.iloc[0]
    scored = summarise(table, CLASSES)["ensemble"]
    assert scored["uf1"] == pytest.approx(second_opinion(joined.reset_index())["uf1"])


def test_a_table_of_three_columns_has_scores_without_intervals_or_ensemble(make_predictions):
    table = make_predictions()[["clip_id", "label", "predicted"]].assign(seed="a")
    summary = summarise(table, CLASSES)
    assert summary["pooled"].keys() == {"uf1", "uar", "accuracy", "confusion", "clips"}
    assert summary.keys() == {"classes", "seeds", "mean", "sd", "pooled"}
    assert summary["sd"] == {"uf1": 0, "uar": 0, "accuracy": 0}
    assert summary["seeds"][0]["seed"] == "a"


def test_lines_have_a_row_for_each_group_and_the_confusion_matrix_with_true_classes_in_rows(make_predictions):
    table = make_predictions(seeds=2)
    lines = summary_lines(summarise(table, CLASSES, ("fold", "corpus")))
    groups = {"pooled": table, "corpus samm": table[table.corpus == "samm"], "seed 1": table[table.seed == 1]}
    for name, rows in groups.items():
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        shown = [float(cell) for cell in line.split()[-3:]]
        assert shown == pytest.approx(list(second_opinion(rows).values()), abs=6e-5)
        assert int(line.split()[-4]) == len(rows)
    assert sum(line.startswith("fold ") for line in lines) == 12
    header = next(index for index, line in enumerate(lines) if line.startswith("true \\ predicted"))
    counts = confusion_matrix(table.label, table.predicted, labels=CLASSES)
    assert (counts != counts.T).any()
    for name, row, line in zip(CLASSES, counts, lines[header + 1 :], strict=True):
        assert line.split() == [name, *map(str, row)]
    assert sum("subjects" in line for line in lines) == 1 + 3  # the heading, all clips, two corpora


def test_the_headline_is_the_mean_over_seeds_or_that_of_their_mean_prediction(make_predictions):
    table = make_predictions(seeds=3)
    found, averaged = headline(table, CLASSES), headline(table, CLASSES, averaged=True)
    summary = summarise(table, CLASSES)
    assert {name: found[name] for name in SCORES} == pytest.approx(summary["mean"])
    assert averaged == summary["ensemble"]
    assert found["confusion"] == summary["pooled"]["confusion"]
    assert found["uf1"] not in (pytest.approx(averaged["uf1"]), pytest.approx(summary["pooled"]["uf1"]))
    for corpus, rows in table.groupby("corpus"):
        each = [second_opinion(part)["uar"] for _, part in rows.groupby("seed")]
        assert found["per_corpus"][corpus]["uar"] == pytest.approx(np.mean(each))
    assert json.loads(json.dumps(found)) == found
    (line,) = [line for line in summary_lines({**summary, "headline": found}) if line.startswith("headline")]
    assert f"UF1 {found['uf1']:.4f}  UAR {found['uar']:.4f}" in line


def test_the_interval_of_a_mean_over_seeds_is_that_of_the_mean_in_each_draw(make_predictions):
    table = make_predictions(seeds=2)
    subjects = sorted(table.subject.unique())
    values = []
    for times in drawn_subjects(len(subjects), 2000, 0)[:50]:
        per_seed = []
        for _, rows in table.groupby("seed"):
            who = np.repeat(subjects, times)
            drawn = pd.concat([rows[rows.subject == subject] for subject in who])
            numbers = [drawn[name].map(CLASSES.index) for name in ("label", "predicted")]
            per_seed.append(scores(*numbers, 3)["uf1"])
        values.append(np.mean(per_seed))
    with pytest.MonkeyPatch.context() as patch:
        fewer = lambda n, draws, seed: drawn_subjects(n, 2000, 0)[:50]  # noqa: E731
        patch.setattr("mer_hf.evaluation.summary.drawn_subjects", fewer)
        found = headline(table, CLASSES)["interval"]["uf1"]
    assert found == pytest.approx(interval_of_draws(np.array(values), len(subjects)))


def test_the_headline_of_one_seed_is_its_scores(make_predictions):
    table = make_predictions(seeds=1)
    assert headline(table, CLASSES) == summarise(table, CLASSES)["pooled"]
