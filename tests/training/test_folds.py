"""Who is held out, who trains which fold, and what is believed of what was kept."""

import json
import threading

import pandas as pd
import pytest
from datasets import ClassLabel, Features
from filelock import FileLock

from mer_hf.errors import MerHfError
from mer_hf.files import write_atomically
from mer_hf.protocols import Fold, balanced_k_fold
from mer_hf.training.folds import Job, dealt, folds_of, unfinished
from mer_hf.training.plan import RunError
from mer_hf.training.processes import ALONE, Share
from tiny import CLASSES, recipe_of

# --- protocols ---


def test_an_unknown_fold_is_answered_with_the_known_ones(make_clips, tmp_path):
    with pytest.raises(ValueError, match=r"no fold 's9'.*s1, s2, s3"):
        folds_of(recipe_of(tmp_path, folds="s1,s9")[0], make_clips("flow"))


def test_only_the_named_folds_are_given_each_once(make_clips, tmp_path):
    folds = folds_of(recipe_of(tmp_path, folds="s3, s1,s3")[0], make_clips("flow"))
    assert [fold.name for fold in folds] == ["s3", "s1"]


def test_a_class_that_only_the_held_out_side_shows_is_named_with_its_fold(make_clips, tmp_path):
    dataset = make_clips("flow").filter(lambda row: row["subject"] == "s2" or row["label"] != 1)
    with pytest.raises(RunError, match="fold s2: no training clip shows positive"):
        folds_of(recipe_of(tmp_path)[0], dataset)
    assert [fold.name for fold in folds_of(recipe_of(tmp_path, folds="s1")[0], dataset)] == ["s1"]


def test_a_class_without_any_clip_is_named(make_clips, tmp_path):
    features = Features({**make_clips("flow").features, "label": ClassLabel(names=[*CLASSES, "others"])})
    with pytest.raises(RunError, match="no training clip shows others"):
        folds_of(recipe_of(tmp_path)[0], make_clips("flow").cast(features))


def test_a_corpus_is_held_out_or_each_class_shared_out_where_the_protocol_says_so(make_clips, tmp_path):
    clips = make_clips("flow", subjects=("s1", "s2", "s3", "s4"))
    assert [fold.name for fold in folds_of(recipe_of(tmp_path, protocol="hde")[0], clips)] == ["odd", "even"]
    folds = folds_of(recipe_of(tmp_path, protocol="balanced", num_folds=2)[0], clips)
    assert folds == balanced_k_fold(clips["subject"][:], clips["label"][:], 2)
    with pytest.raises(MerHfError, match="at least two"):
        folds_of(recipe_of(tmp_path, protocol="hde")[0], clips.filter(lambda row: row["corpus"] == "odd"))


def test_nobody_is_held_out_where_the_protocol_says_so(make_clips, tmp_path):
    assert folds_of(recipe_of(tmp_path, protocol="none")[0], make_clips("flow")) == []


# --- what is kept of a fold ---


def job_of(output_dir, name="s1", seed=42, run="a digest", clips=("s1/a", "s1/b")):
    return Job(Fold(name, (2, 3), (0, 1)), seed, output_dir, run, clips)


def table_of(clips=("s1/a", "s1/b")):
    return pd.DataFrame({"clip_id": clips, "seed": 42, "score_a": [0.1, 1 / 3], "subject": "007"})


def test_what_was_kept_is_had_again(tmp_path):
    job = job_of(tmp_path)
    assert job.kept() is None
    with job.held(wait=True):
        job.keep(table_of(), [{"loss": 1.5, "epoch": 1}])
    pd.testing.assert_frame_equal(job.kept(), table_of())
    content = json.loads(job.path.read_text())
    assert content["curve"] == [{"loss": 1.5, "epoch": 1}]
    assert {name: content[name] for name in ("run", "fold", "seed", "clips")} == {
        **{"run": "a digest", "fold": "s1", "seed": 42},
        "clips": ["s1/a", "s1/b"],
    }


@pytest.mark.parametrize(
    "other",
    [{"name": "s2"}, {"seed": 43}, {"run": "another digest"}, {"clips": ("s1/a", "s1/c")}, {"clips": ("s1/a",)}],
    ids=["fold", "seed", "run", "clips", "fewer clips"],
)
def test_the_file_of_another_fold_seed_run_or_list_of_clips_is_not_believed_which_one_line_says(
    tmp_path, caplog, other
):
    theirs, job = job_of(tmp_path / "theirs", **other), job_of(tmp_path / "here")
    for each in (theirs, job):
        each.folder.mkdir(parents=True)
    theirs.keep(table_of(theirs.clips) if len(theirs.clips) == 2 else table_of().iloc[:1], [])
    theirs.path.replace(job.path)
    assert job.kept() is None
    (line,) = caplog.messages
    assert line == f"{job.path} is damaged, or of another run; fold s1, seed 42 is trained again"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"\xff\xfe\x00",
        lambda content: b"[1, 2]",
        lambda content: b"null",
        lambda content: b'{"run": "a digest"}',
        lambda content: content.replace(b'"s1/b"', b'"s1/c"', 2),
        lambda content: content.replace(b'"clip_id"', b'"clip"'),
        lambda content: content.replace(b"0.1", b"0.2"),
        lambda content: content.replace(b'"sha256"', b'"sha25"'),
        lambda content: content.replace(b'"score_a"', b'"score_a": 3, "x"'),
        lambda content: content.replace(b'"predictions": {', b'"predictions": 3, "x": {'),
    ],
)
def test_a_damaged_file_is_not_believed(tmp_path, caplog, spoil):
    job = job_of(tmp_path)
    job.folder.mkdir(parents=True)
    job.keep(table_of(), [])
    content = spoil(job.path.read_bytes())
    assert content != job.path.read_bytes()
    job.path.write_bytes(content)
    assert job.kept() is None
    assert len(caplog.messages) == 1


def test_no_name_leads_out_of_the_output_and_two_names_never_give_one_folder(tmp_path):
    names = ["a", "/a", "a/", "../a", "..", ".", "a/b", "a%2Fb", "three@1", "three_1", "é", "x" * 300, "x" * 301, "a b"]
    folders = [job_of(tmp_path, name).folder for name in names]
    assert len(set(folders)) == len(names)
    for folder in folders:
        assert folder.resolve().is_relative_to(tmp_path / "folds")
        assert folder.resolve() != tmp_path / "folds"
        folder.mkdir(parents=True, exist_ok=True)


def test_folds_of_one_seed_have_numbers_of_their_own():
    numbers = {job_of("x", name, seed).random_seed for name in ("s1", "s2") for seed in (1, 2)}
    assert len(numbers) == 4
    assert all(0 <= number < 2**32 for number in numbers)


# --- who is at work on which ---


def test_a_job_at_work_is_left_to_the_process_that_holds_it_or_waited_for(tmp_path):
    job = job_of(tmp_path)
    job.folder.mkdir(parents=True)
    begun, left, end = threading.Event(), [], threading.Event()

    def other():
        with FileLock(job.path.with_suffix(".lock")):
            begun.set()
            end.wait(10)
            left.append("the other has left")

    holder = threading.Thread(target=other)
    holder.start()
    begun.wait(10)
    with job.held(wait=False) as held:
        assert not held
    threading.Timer(0.2, end.set).start()
    with job.held(wait=True) as held:
        assert held
        assert left
    holder.join()


def test_something_else_in_the_place_of_a_lock_is_named(tmp_path):
    job = job_of(tmp_path)
    job.path.with_suffix(".lock").mkdir(parents=True)
    with (
        pytest.raises(RunError, match=r"seed-42\.lock is a folder, and should be the lock of fold s1, seed 42; rem"),
        job.held(wait=False),
    ):
        pass


class Others(Share):
    """One of several processes, of which the others have kept these jobs on disks of their own."""

    elsewhere = ()

    def gather(self, value):
        others = [[name in kept for name in "abcde"] for kept in self.elsewhere]
        return [*others[: self.rank], value, *others[self.rank :]]


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_jobs_are_dealt_out_each_to_one_process(tmp_path, processes):
    jobs = [job_of(tmp_path, name) for name in "abcde"]
    hands = [dealt(jobs, Share(rank, processes)) for rank in range(processes)]
    assert sorted(job.fold.name for hand in hands for job in hand) == list("abcde")
    assert max(map(len, hands)) - min(map(len, hands)) <= 1
    assert dealt([], ALONE) == []


def test_what_any_process_has_kept_is_not_dealt_out_again(tmp_path, monkeypatch):
    jobs = [job_of(tmp_path, name) for name in "abcde"]
    jobs[0].folder.mkdir(parents=True)
    jobs[0].keep(table_of(), [])
    monkeypatch.setattr(Others, "elsewhere", ("d",))
    assert [job.fold.name for job in dealt(jobs, Others(0, 2))] == ["b", "e"]
    assert [job.fold.name for job in dealt(jobs, Others(1, 2))] == ["c"]


def test_jobs_that_are_to_be_done_come_in_chunks_that_are_held(tmp_path):
    jobs = [job_of(tmp_path, name) for name in "abcde"]
    jobs[1].folder.mkdir(parents=True)
    jobs[1].keep(table_of(), [])
    seen = []
    with FileLock(tmp_path / "folds" / "a" / "seed-42.lock"):
        for chunk in unfinished(jobs, 2):
            seen.append([job.fold.name for job in chunk])
            for job in jobs[1:]:
                with job.held(wait=False) as free:
                    assert free == (job not in chunk)
    assert seen == [["c", "d"], ["e"]]


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    (tmp_path / "x.json").write_text("before")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "x.json", "\ud800")
    assert (tmp_path / "x.json").read_text() == "before"
    write_atomically(tmp_path / "x.json", "after")
    assert (tmp_path / "x.json").read_text() == "after"
