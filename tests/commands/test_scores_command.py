import argparse
import json
import subprocess
import sys

import pytest

from mer_hf.commands import scores


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
