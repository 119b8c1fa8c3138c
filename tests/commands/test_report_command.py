import argparse

import pytest
from datasets import Dataset, load_from_disk

from mer_hf.commands import report
from mer_hf.corpora.errors import LicenceError
from mer_hf.corpora.licence import GATED
from mer_hf.errors import MerHfError


def run(*arguments):
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    return report.run(parser.parse_args(list(map(str, arguments))))


@pytest.fixture
def clips(make_clips, tmp_path):
    make_clips("frames").save_to_disk(tmp_path / "clips")
    return tmp_path / "clips"


@pytest.fixture
def table(clips, tmp_path):
    rows = [
        f"{row['clip_id']},{row['subject']},{'yes' if n % 2 else 'no'},yes"
        for n, row in enumerate(load_from_disk(clips))
    ]
    path = tmp_path / "predictions.csv"
    path.write_text("\n".join(["clip_id,subject,label,predicted", *rows]))
    return path


def test_a_page_is_written(table, tmp_path, capsys):
    clip_ids = [line.split(",")[0] for line in table.read_text().split("\n")[1:]]
    (tmp_path / "more.csv").write_text("\n".join(["clip_id,lamp", *(f"{clip_id},on" for clip_id in clip_ids)]))
    out = tmp_path / "pages" / "report.html"
    assert run(table, "--out", out, "--columns", tmp_path / "more.csv", "--by", "lamp", "--protocol", "smic-loso") == 0
    assert str(out) in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    assert "By lamp" in page and "STRCN-G" in page
    assert "<img" not in page


def test_frames_of_free_corpora_are_shown_where_they_are_asked_for(table, clips, tmp_path):
    assert run(table, "--out", tmp_path / "report.html", "--pictures", clips) == 0
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("<img") == 5  # the clips that are wrong


def test_frames_of_gated_corpora_are_refused(table, clips, tmp_path):
    dataset = load_from_disk(clips)
    dataset.info.license = GATED
    dataset.save_to_disk(tmp_path / "gated")
    with pytest.raises(LicenceError, match="must not be published"):
        run(table, "--out", tmp_path / "report.html", "--pictures", tmp_path / "gated")
    assert not (tmp_path / "report.html").exists()


def test_pictures_of_nothing_are_refused(table, tmp_path):
    with pytest.raises(MerHfError, match="is no saved dataset"):
        run(table, "--pictures", tmp_path / "none")
    Dataset.from_dict({"a": [1]}).save_to_disk(tmp_path / "other")
    with pytest.raises(MerHfError, match="has no clip_id and frames; it has a"):
        run(table, "--pictures", tmp_path / "other")
