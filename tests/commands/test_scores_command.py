import argparse
import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from mer_hf.commands import main, scores

CLASSES = ["negative", "positive", "surprise"]


def run(*arguments):
    parser = argparse.ArgumentParser()
    scores.add_arguments(parser)
    return scores.run(parser.parse_args(list(map(str, arguments))))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("clip_id,label,predicted\na,x,x\nb,y,y\nc,y,x\n")
    return path


def test_scores_of_predictions_are_printed(table, capsys):
    assert run(table) == 0
    printed = capsys.readouterr().out
    assert "pooled                     3  0.6667  0.7500    0.6667" in printed
    assert "published" not in printed


def test_a_run_is_printed_with_the_published_figures_of_its_protocol(table, capsys):
    recipe = {"dataset": "megc2019", "label_set": "3class", "protocol": "loso"}
    (table.parent / "results.json").write_text(json.dumps({"recipe": recipe}))
    assert run(table) == 0
    assert "HTNet" in capsys.readouterr().out


def test_spotted_intervals_are_scored_against_their_truth(tmp_path, capsys):
    for name in ("spotted.csv", "truth.csv"):
        (tmp_path / name).write_text("video,onset,offset\nv,1,10\n")
    assert run(tmp_path / "spotted.csv", "--truth", tmp_path / "truth.csv", "--protocol", "casme3-spotting") == 0
    printed = capsys.readouterr().out
    assert "all      1      0      0" in printed
    assert "SFAMNet" in printed


def test_scoring_needs_neither_torch_nor_transformers_nor_evaluate(table):
    program = (
        "import argparse, sys; from mer_hf.commands import scores\n"
        "parser = argparse.ArgumentParser(); scores.add_arguments(parser)\n"
        "scores.run(parser.parse_args(sys.argv[1:]))\n"
        "heavy = {'torch', 'transformers', 'evaluate', 'datasets'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program, str(table)], check=True, capture_output=True)


# --- of a table with corpora and seeds ---


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    return [
        {
            "clip_id": f"{corpus}/sub01/clip{number}",
            "corpus": corpus,
            "subject": f"{corpus}/sub01",
            "fold": f"{corpus}/sub01",
            "seed": seed,
            "label": CLASSES[number % 3],
            "predicted": CLASSES[number % 3] if generator.random() < 0.6 else CLASSES[generator.integers(3)],
            **{f"score_{name}": 0.5 for name in CLASSES},
        }
        for seed in (10, 2)
        for corpus, clips in (("casme2", 20), ("samm", 15))
        for number in range(clips)
    ]


@pytest.fixture
def score_table(tmp_path, capsys):
    def score_table(rows):
        path = tmp_path / "predictions.csv"
        lines = [",".join(rows[0])] + [",".join(str(value) for value in row.values()) for row in rows]
        path.write_text("\n".join(lines) + "\n")
        status = main(["scores", str(path)])
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err

    return score_table


def second_opinion(rows):
    labels, predicted = [row["label"] for row in rows], [row["predicted"] for row in rows]
    return [
        f1_score(labels, predicted, average="macro"),
        recall_score(labels, predicted, average="macro"),
        accuracy_score(labels, predicted),
    ]


def printed_scores(lines, name):
    (line,) = [line for line in lines if line.startswith(f"{name} ")]
    return [float(value) for value in line.split()[-3:]]


def test_scores_prints_the_scores_of_all_of_each_corpus_and_of_each_seed(score_table, rows):
    status, lines, _ = score_table(rows)
    assert status == 0
    seeds = [[row for row in rows if row["seed"] == seed] for seed in (10, 2)]
    expected = {
        "pooled": second_opinion(rows),
        "corpus casme2": second_opinion([row for row in rows if row["corpus"] == "casme2"]),
        "corpus samm": second_opinion([row for row in rows if row["corpus"] == "samm"]),
        "seed 10": second_opinion(seeds[0]),
        "seed 2": second_opinion(seeds[1]),
        "mean over seeds": np.mean([second_opinion(seed) for seed in seeds], axis=0),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(printed_scores(lines, name), values, atol=6e-5)
    header = next(index for index, line in enumerate(lines) if line.startswith("true \\ predicted"))
    assert lines[header].split()[3:] == CLASSES
    for label, line in zip(CLASSES, lines[header + 1 :], strict=True):
        counts = [sum(row["label"] == label and row["predicted"] == other for row in rows) for other in CLASSES]
        assert line.split() == [label, *map(str, counts)]


def test_scores_needs_three_columns_only(score_table, rows):
    rows = [{name: row[name] for name in ("clip_id", "label", "predicted")} for row in rows if row["seed"] == 2]
    status, lines, _ = score_table(rows)
    assert status == 0
    np.testing.assert_allclose(printed_scores(lines, "pooled"), second_opinion(rows), atol=6e-5)
    assert not any(line.startswith("corpus") for line in lines)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: [{"clip_id": "a", "label": "b"}], "lacks the columns predicted"),
        (lambda rows: [*rows, rows[0]], r"line 72: clip casme2/sub01/clip0 is there twice for seed 10"),
        (lambda rows: [{**rows[0], "predicted": ""}], "line 2: one of"),
        (lambda rows: [{**rows[0], "label": "anger"}], "the class anger has no score column"),
    ],
)
def test_scores_explains_what_is_wrong_with_a_table(score_table, rows, spoil, message):
    status, lines, error = score_table(spoil(rows))
    assert (status, lines) == (2, [])
    assert error.startswith("mer-hf: ")
    assert message in error


def test_scores_explains_what_is_wrong_with_a_file(tmp_path, capsys):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("clip_id,label,predicted\n")
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    for name, message in [("none.csv", "No such file"), ("empty.csv", "not a CSV"), ("header.csv", "no rows")]:
        assert main(["scores", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err
    assert main(["scores", str(tmp_path / "binary.csv")]) == 2
    assert "not a CSV" in capsys.readouterr().err
