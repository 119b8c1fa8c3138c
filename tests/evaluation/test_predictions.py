import pandas as pd
import pytest

from mer_hf.errors import MerHfError
from mer_hf.evaluation.predictions import PredictionsError, class_names, read_predictions
from mer_hf.evaluation.spotted import read_intervals

ROWS = [("a", "happy", "happy"), ("b", "sad", "happy"), ("c", "sad", "sad")]


def written(folder, text):
    path = folder / "predictions.csv"
    path.write_text(text, encoding="utf-8")
    return path


def table_of(folder, rows, header="clip_id,label,predicted"):
    return read_predictions(written(folder, "\n".join([header, *(",".join(map(str, row)) for row in rows)])))


def test_what_a_run_writes_comes_back(tmp_path, make_predictions):
    table = make_predictions(seeds=2)
    written(tmp_path, table.to_csv(index=False))
    read = read_predictions(tmp_path)  # the folder of a run
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    assert class_names(read) == ["negative", "positive", "surprise"]


def test_other_people_s_tables_are_read_leniently(tmp_path):
    text = "\ufeff predicted ,clip_id, label, remark\r\n happy ,a,happy,\r\nhappy,b, sad,none\r\n"
    table = read_predictions(written(tmp_path, text))
    assert table[["clip_id", "label", "predicted"]].to_numpy().tolist() == [
        ["a", "happy", "happy"],
        ["b", "sad", "happy"],
    ]
    assert table.seed.tolist() == [0, 0]
    assert class_names(table) == ["happy", "sad"]


@pytest.mark.parametrize(
    ("labels", "predicted", "reason"),
    [
        (["0", "1", "2"], ["0.0", "1.0", "2.0"], "'0' and '0.0' may be the same"),
        (["0", "1", "2"], ["0.0", "1", "2"], "'0' and '0.0' may be the same"),
        (["happy", "sad", "sad"], ["Happy", "sad", "sad"], "'Happy' and 'happy' may be the same"),
        (["happy", "sad", "sad"], ["0", "1", "1"], "nothing in common"),
    ],
)
def test_labels_that_do_not_match_are_refused_with_both_sides(tmp_path, labels, predicted, reason):
    with pytest.raises(PredictionsError, match=reason) as refused:
        table_of(tmp_path, zip("abc", labels, predicted, strict=True))
    for name in (*labels, *predicted):
        assert name in str(refused.value)


def test_a_class_that_was_only_predicted_is_no_other_spelling(tmp_path):
    table = table_of(tmp_path, [*ROWS, ("d", "sad", "surprised")])
    assert class_names(table) == ["happy", "sad", "surprised"]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([("a", "x")], "clip_id,label", "lacks the columns predicted"),
        ([*ROWS, ROWS[0]], "clip_id,label,predicted", "line 5: clip a is there twice for seed 0"),
        ([("a", "x", "")], "clip_id,label,predicted", "line 2: one of clip_id, label, predicted, seed is empty"),
        ([("a", "x", "x", 0), ("a", "y", "x", 1)], "clip_id,label,predicted,seed", "clip a has the label x .* and y"),
        ([("a", "x", "x", "s", 0), ("a", "x", "x", "t", 1)], "clip_id,label,predicted,subject,seed", "the subject s"),
        ([("a", "x", "x", "much")], "clip_id,label,predicted,score_x", "line 2: score_x is 'much', which is no number"),
        ([("a", "y", "x", "1")], "clip_id,label,predicted,score_x", "the class y has no score column; those are of x"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, rows, header, message):
    with pytest.raises(PredictionsError, match=message):
        table_of(tmp_path, rows, header)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not a CSV"), (bytes(range(128, 256)), "not a CSV"), (b"clip_id,label,predicted\n", "no rows")],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(PredictionsError, match=message):
        read_predictions(path)
    with pytest.raises(OSError, match="No such file"):
        read_predictions(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "row", [("a\x1b[2J", "x", "x"), ("a", "x\u202e", "x\u202e"), ("a", '"x\ny"', '"x\ny"')], ids=ascii
)
def test_names_are_text_in_one_line(tmp_path, row):
    with pytest.raises(MerHfError, match=r"predictions\.csv: .* has a line break or a control character"):
        table_of(tmp_path, [row])
    with pytest.raises(MerHfError, match=r"predictions\.csv: .* has a line break or a control character"):
        read_intervals(written(tmp_path, "video,onset,offset,label\n" + ",".join((row[0], "1", "2", row[1]))))
