import argparse
import json

import pytest

from mer_hf.commands import compare
from mer_hf.errors import MerHfError


def run(*arguments):
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    return compare.run(parser.parse_args(list(map(str, arguments))))


@pytest.fixture
def runs(tmp_path):
    for name, predicted in [("a", "xyxyx"), ("b", "xyyyy")]:
        rows = [f"{n},s{n % 3},{label},{p}" for n, (label, p) in enumerate(zip("xyyyx", predicted, strict=True))]
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.csv").write_text("\n".join(["clip_id,subject,label,predicted", *rows]))
    return tmp_path / "a", tmp_path / "b"


def test_two_runs_are_compared(runs, capsys, tmp_path):
    assert run(*runs, "--picture", tmp_path / "picture.png", "--draws", 100) == 0
    printed = capsys.readouterr().out
    assert "5 clips of 3 subjects" in printed
    assert "accuracy  0.8000 - 0.8000 = +0.0000" in printed
    assert "only a is right: 1 clips; only b: 1" in printed
    assert (tmp_path / "picture.png").stat().st_size > 1000


@pytest.mark.parametrize(("style", "part"), [("markdown", "| one / two | UF1 |"), ("latex", "one / two & UF1 &")])
def test_tables_go_into_papers(runs, capsys, style, part):
    assert run(*runs, "--names", "one", "two", "--format", style) == 0
    assert part in capsys.readouterr().out


def test_json_holds_everything(runs, capsys):
    assert run(*runs, "--format", "json", "--seeds", "paired") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["clips"], printed["pairing"], printed["pairs"][0]["only_second_right"]) == (5, "paired", 1)


def test_too_few_draws_are_refused(runs):
    with pytest.raises(MerHfError, match="--draws is 5"):
        run(*runs, "--draws", 5)
