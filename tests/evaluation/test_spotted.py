import pytest

from mer_hf.evaluation.spotted import read_intervals, score_spotted, spotting_lines
from mer_hf.metrics import scores

FOUND = """video,onset,offset,type,predicted
a,10,19,micro,sad
a,30,89,micro,sad
b,100,200,macro,happy
c,5,9,micro,happy
"""
TRUTH = """video,onset,offset,type,label
a,11,20,micro,sad
a,30,90,macro,happy
b,110,205,macro,sad
c,,,micro,
d,1,9,micro,sad
"""


def read(folder, name, text):
    (folder / name).write_text(text)
    return read_intervals(folder / name)


@pytest.fixture
def sides(tmp_path):
    return read(tmp_path, "spotted.csv", FOUND), read(tmp_path, "truth.csv", TRUTH)


def counts(part):
    return part["tp"], part["fp"], part["fn"]


def test_types_are_kept_apart_and_counted_together(sides):
    parts = score_spotted(*sides)["per_type"]
    assert {name: counts(part) for name, part in parts.items()} == {
        "macro": (1, 0, 1),
        "micro": (1, 2, 1),
        "all": (2, 2, 2),  # what was found as micro where a macro is stays a false positive and a miss
    }


def test_without_types_any_find_may_meet_any_truth(sides):
    parts = score_spotted(sides[0].drop(columns="type"), sides[1])["per_type"]
    assert {name: counts(part) for name, part in parts.items()} == {"all": (3, 1, 1)}


def test_a_system_that_finds_nothing_misses_everything(tmp_path, sides):
    nothing = read(tmp_path, "nothing.csv", "video,onset,offset,type,predicted\na,,,micro,\n")
    scored = score_spotted(nothing, sides[1])
    assert counts(scored["per_type"]["all"]) == (0, 0, 4)
    assert scored["strs"]["strs"] == 0


def test_strs_is_of_the_matched_pairs(sides):
    strs = score_spotted(*sides)["strs"]
    assert strs["recognition_uf1"] == pytest.approx(scores([1, 1], [1, 0], 2)["uf1"])  # sad as sad, sad as happy
    assert strs["strs"] == pytest.approx(2 * 2 / 8 * strs["recognition_uf1"])


def test_lines_show_counts_and_strs(sides):
    lines = spotting_lines(score_spotted(*sides))
    assert lines[1].split() == ["macro", "1", "0", "1", "1.0000", "0.5000", "0.6667"]
    assert lines[3].split()[:4] == ["all", "2", "2", "2"]
    assert lines[-1].startswith("STRS 0.3333: spotting F1 0.5000 x")


@pytest.mark.parametrize(
    ("found", "truth", "message"),
    [
        ("video,onset\na,1\n", TRUTH, "lacks the columns offset"),
        ("video,onset,offset\na,x,3\n", TRUTH, "line 2: onset is 'x'"),
        ("video,onset,offset\na,1,\n", TRUTH, "line 2: offset is ''"),
        ("video,onset,offset\na,5,4\n", TRUTH, r"holds \(5.*offset is not before"),
        ("video,onset,offset\nz,1,3\n", TRUTH, "finds are z; the truths are a, b, c, d"),
        ("video,onset,offset\n7,1,3\n", "video,onset,offset\n007,1,3\n", "'007' and '7' may be the same"),
        ("video,onset,offset,type\na,1,3,Micro\n", TRUTH, "'Micro' and 'micro' may be the same"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, found, truth, message):
    from mer_hf.errors import MerHfError

    with pytest.raises(MerHfError, match=message):
        score_spotted(read(tmp_path, "spotted.csv", found), read(tmp_path, "truth.csv", truth))


def test_the_events_of_an_analysis_are_scored_as_they_are(tmp_path):
    events = (
        "# No proof of a feeling.\nfile,face,start,apex,end,start_frame,apex_frame,end_frame,kind,label\n"
        "a #1.mp4,0,0.4,0.5,0.8,10,13,19,micro,sad\na #1.mp4,0,1.2,2.5,3.6,30,60,89,macro,happy\n"
    )
    truth = "video,onset,offset,type,label\na #1.mp4,11,20,micro,sad\na #1.mp4,30,90,macro,sad\nb.mp4,1,9,micro,sad\n"
    scored = score_spotted(read(tmp_path, "events.csv", events), read(tmp_path, "truth.csv", truth))
    assert counts(scored["per_type"]["all"]) == (2, 0, 1)
    assert scored["strs"]["recognition_uf1"] == pytest.approx(scores([1, 1], [1, 0], 2)["uf1"])
