import argparse
import json

import pytest

from mer_hf.commands import audit
from mer_hf.errors import MerHfError


def run(*arguments):
    parser = argparse.ArgumentParser()
    audit.add_arguments(parser)
    return audit.run(parser.parse_args(list(map(str, arguments))))


def test_a_saved_dataset_is_audited(make_clips, tmp_path, capsys):
    make_clips("flow").save_to_disk(tmp_path / "clips")
    assert run(tmp_path / "clips") == 0
    assert "9 clips, the pictures of 9 compared: nothing found" in capsys.readouterr().out


def test_a_run_with_a_leak_has_status_1(tmp_path, capsys):
    rows = ["clip_id,subject,label,predicted", "a,s1,x,x", "b,S01,y,y", "c,s2,x,x", "d,s2,y,y"]
    (tmp_path / "predictions.csv").write_text("\n".join(rows))
    assert run(tmp_path) == 1
    assert "one subject in two spellings: s1, S01" in capsys.readouterr().out
    assert run(tmp_path / "predictions.csv", "--json") == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["kind"] == "one subject in two spellings"


def test_what_is_nothing_to_audit_is_refused():
    with pytest.raises(MerHfError, match="neither a corpus"):
        run("casme22")
