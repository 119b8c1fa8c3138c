"""A folder of videos in, a folder of results out: what goes on, what is kept, what is said of bad files."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pympi
import pytest

from mer_hf.analysis import results
from mer_hf.analysis.results import AnalysisError, analyze, find_videos, jobs_of, read_segments
from mer_hf.analysis.watching import Options
from mer_hf.commands import main
from mer_hf.corpora.licence import names_a_gated_corpus
from mer_hf.rcn.decoding_rcn import announced_seconds

SCRIPT = Path(__file__).parents[2] / "scripts" / "analyze.py"
TABLES = ("events.csv", "spans.csv", "files.csv")


@pytest.fixture(scope="module")
def videos(tmp_path_factory, scene, encoded):
    """Three faces of 1.4 s, and a file that is no video."""
    folder = tmp_path_factory.mktemp("Gespräche am See")
    for number, name in enumerate(("Jörg 1.mp4", "anna.mkv", "sub/anna.mp4")):
        encoded(folder / name, [scene((40, 160), shake=100 * number + index) for index in range(35)])
    (folder / "bad.mp4").write_text("no video at all")
    return folder


@pytest.fixture(scope="module")
def analysed(videos, network, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "results"
    options = Options(curves=True)
    return analyze(videos, out, options, ["eaf", "srt"], model=network)


@pytest.fixture(scope="module")
def plain(videos, network, tmp_path_factory):
    """The same without options, in one process."""
    return analyze(videos, tmp_path_factory.mktemp("plain") / "results", model=network)


def table(path):
    return pd.read_csv(path, comment="#", keep_default_na=False)


def contents(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".parquet"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_every_video_is_watched_and_a_bad_one_is_named(analysed, videos):
    assert analysed.videos == 4 and list(analysed.failed) == [str(videos / "bad.mp4")]
    assert "cannot be decoded as a video" in analysed.failed[str(videos / "bad.mp4")]
    files = table(analysed.folder / "files.csv")
    assert files.file.tolist() == [str(videos / name) for name in ("Jörg 1.mp4", "anna.mkv", "bad.mp4", "sub/anna.mp4")]
    assert files.frames.tolist() == [35, 35, "", 35] or files.frames.astype(str).tolist() == ["35", "35", "", "35"]
    assert (files.error != "").tolist() == [False, False, True, False]


def test_events_are_a_row_each_under_a_line_that_says_what_they_are_not(analysed):
    text = (analysed.folder / "events.csv").read_text(encoding="utf-8")
    assert text.startswith("# A micro-expression is no proof of a feeling, let alone of a lie.")
    events = table(analysed.folder / "events.csv")
    assert tuple(events) == results.EVENT_COLUMNS and len(events) == analysed.events > 0
    assert set(events.file) == set(table(analysed.folder / "files.csv").file[[0, 1, 3]])
    records = [json.loads(path.read_text()) for path in sorted((analysed.folder / "videos").glob("*.json"))]
    assert sum(len(record.get("events", ())) for record in records) == len(events)


def test_each_video_has_its_page_and_its_exports(analysed):
    names = table(analysed.folder / "files.csv").name.drop(2).tolist()
    assert names[0] == "Jörg 1" and names[1].startswith("anna-") and names[2].startswith("anna-")
    assert len(set(names)) == 3
    for name in names:
        assert (analysed.folder / f"{name}.html").read_text(encoding="utf-8").startswith("<!doctype html>")
        assert pympi.Elan.Eaf(str(analysed.folder / f"{name}.eaf")).get_tier_names()
        assert (analysed.folder / f"{name}.srt").exists()
    assert not list(analysed.folder.rglob(".unfinished*"))


def test_curves_hold_every_moment_of_every_video(analysed):
    curves = pd.read_parquet(analysed.folder / "curves.parquet")
    assert curves.file.nunique() == 3 and {"seconds", "face", "upper_apex", "blink"} < set(curves)
    assert curves.groupby("file").size().min() > 20


def test_what_is_written_has_the_rights_that_the_user_gives(videos, network, tmp_path):
    before = os.umask(0o077)
    try:
        analyze(videos / "anna.mkv", tmp_path / "mine", model=network)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "mine").rglob("*") if path.is_file()} == {0o600}


def test_started_again_it_goes_on_with_what_is_not_done(plain, videos, network, tmp_path, monkeypatch):
    seen, watch = [], results.watch

    def stops_at_the_third(video, *rest):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(video)
        return watch(video, *rest)

    monkeypatch.setattr(results, "watch", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        analyze(videos, tmp_path / "stopped", model=network)
    assert "not watched yet" in (tmp_path / "stopped" / "files.csv").read_text()
    (tmp_path / "stopped" / ".unfinished-1234567").write_text("half of a page, by a process that was killed")
    seen.clear()
    monkeypatch.setattr(results, "watch", lambda video, *rest: (seen.append(video), watch(video, *rest))[1])
    again = analyze(videos, tmp_path / "stopped", model=network)
    assert seen == [str(videos / "bad.mp4"), str(videos / "sub/anna.mp4")]
    assert again.events == plain.events and contents(tmp_path / "stopped") == contents(plain.folder)


def test_a_changed_file_or_option_is_watched_anew_and_nothing_else(
    videos, network, tmp_path, monkeypatch, encoded, scene
):
    folder = tmp_path / "videos"
    for name in ("a.mp4", "b.mp4"):
        encoded(folder / name, [scene((40, 160), shake=index) for index in range(12)])
    seen, watch = [], results.watch
    monkeypatch.setattr(results, "watch", lambda video, *rest: (seen.append(Path(video).name), watch(video, *rest))[1])
    for change in (
        lambda: {},
        lambda: {},
        lambda: encoded(folder / "b.mp4", [scene((40, 160), shake=9)] * 13) and {},
        lambda: {"options": Options(start=0.1)},
        lambda: {"options": Options(start=0.1), "exports": ["vtt"]},
    ):
        seen.append("|")
        analyze(folder, tmp_path / "out", model=network, **change())
    assert "".join(each.removesuffix(".mp4") for each in seen) == "|ab||b|ab|ab"


@pytest.mark.slow
def test_two_processes_find_what_one_finds(plain, videos, network, tmp_path):
    two = analyze(videos, tmp_path / "two", model=network, num_proc=2)
    assert two == results.Analysis(tmp_path / "two", plain.videos, plain.events, plain.failed, plain.doubtful)
    assert contents(plain.folder) == contents(tmp_path / "two")


@pytest.mark.slow
def test_processes_of_a_launcher_share_the_videos_out(plain, videos, network, tmp_path):
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", str(SCRIPT), str(videos)]
    launch += ["--out", str(tmp_path / "two"), "--model", network]
    done = subprocess.run(
        launch, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    # a process with status 1, for the bad video, is what the launcher reports
    assert f"{plain.events} events in 3 of 4 videos" in done.stdout, done.stderr[-3000:]
    assert contents(plain.folder) == contents(tmp_path / "two")


def test_the_command_says_what_failed_and_ends_with_1(videos, network, tmp_path, capsys):
    out = tmp_path / "out"
    given = [
        "analyze",
        str(videos / "*.m*"),
        "--out",
        str(out),
        "--model",
        network,
        "--faces",
        "largest",
        "--kinds",
        "micro",
    ]
    assert main([*given, "--no-pictures"]) == 1
    said = capsys.readouterr()
    assert "in 2 of 3 videos; results are in" in said.out and "no video at all" not in said.err
    assert "bad.mp4 cannot be decoded as a video" in said.err and "s of video" in said.err
    assert set(table(out / "events.csv").kind) == {"micro"}
    assert "data:image" not in (out / "anna.html").read_text()
    assert main(["analyze", str(videos / "anna.mkv"), "--out", str(out), "--model", network]) == 0
    assert "data:image" in (out / "anna.html").read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nothing-*.mp4"], "no video is named as 'nothing-*.mp4'"),
        (["EMPTY"], "holds neither videos"),
        (["VIDEO", "--export", "pdf"], "there is no export 'pdf'; there are eaf,"),
        (["VIDEO", "--faces", "few"], "--faces is 'few'"),
        (["VIDEO", "--num-proc", "0"], "num_proc is 0"),
        (["VIDEO", "--model", "models/of/mine.zip"], "models/of/mine.zip"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(given, said, videos, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    names = {"EMPTY": str(tmp_path / "empty"), "VIDEO": str(videos / "anna.mkv")}
    assert main(["analyze", *(names.get(each, each) for each in given), "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.csv"))


def test_files_folders_patterns_and_addresses_are_found_once_each(videos, tmp_path):
    everything = [str(videos / name) for name in ("Jörg 1.mp4", "anna.mkv", "bad.mp4", "sub/anna.mp4")]
    assert find_videos([str(videos)]) == everything
    assert find_videos([str(videos / "*.mp4"), str(videos)]) == [everything[0], everything[2], *everything[1::2]]
    assert find_videos([str(videos / "sub" / ".." / "anna.mkv"), everything[1]]) == [
        str(videos / "sub" / ".." / "anna.mkv")
    ]
    assert find_videos([str(videos / "**" / "anna.*")]) == [everything[1], everything[3]]
    assert find_videos(["https://example.org/a.mp4?x=1"]) == ["https://example.org/a.mp4?x=1"]
    (tmp_path / "img001.jpg").write_bytes(b"")
    assert find_videos([str(tmp_path)]) == [str(tmp_path)]


def test_names_of_results_differ_even_where_a_disk_takes_upper_case_for_lower():
    names = [job.name for job in jobs_of(["a/x.mp4", "b/X.mov", "b/y.mp4", "https://example.org/v.mp4?download=1"])]
    assert names[2:] == ["y", "v"] and len({name.lower() for name in names}) == 4
    assert names == [
        job.name for job in jobs_of(["a/x.mp4", "b/X.mov", "b/y.mp4", "https://example.org/v.mp4?download=1"])
    ]


def test_segments_are_read_by_path_or_by_name(tmp_path):
    path = tmp_path / "coded.csv"
    path.write_text("file,start,end\na.mp4,1,1.4\nb/a2.mp4,0.5,0.9\na.mp4,0.2,0.5\n")
    read = read_segments(path, ["x/a.mp4", "b/a2.mp4", "c.mp4"])
    assert read == {"x/a.mp4": [(1, 1.4), (0.2, 0.5)], "b/a2.mp4": [(0.5, 0.9)], "c.mp4": []}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,start\na.mp4,1\n", "lacks the columns end"),
        ("file,start,end\nd.mp4,1,2\n", "row 2: 'd.mp4' names 0 of the videos"),
        ("file,start,end\na.mp4,1,2\na.mp4,1,soon\n", "row 3: from '1' to 'soon' are no seconds"),
        ("file,start,end\na.mp4,2,1\n", "the end comes after the start"),
        ("file,start,end\nb.mp4,1,2\n", "names 2 of the videos"),
    ],
)
def test_segments_that_cannot_be_understood_are_refused(text, said, tmp_path):
    path = tmp_path / "coded.csv"
    path.write_text(text)
    with pytest.raises(AnalysisError, match=said):
        read_segments(path, ["a.mp4", "x/b.mp4", "y/b.mp4"])


def test_coded_segments_make_the_same_table(videos, tmp_path):
    coded = tmp_path / "coded.csv"
    coded.write_text("file,start,end\nanna.mkv,0.2,0.6\n")
    done = analyze(videos / "anna.mkv", tmp_path / "out", segments=coded)
    (event,) = table(done.folder / "events.csv").to_dict("records")
    assert (event["kind"], event["start_frame"], event["end_frame"], event["score"]) == ("coded", 5, 15, "")
    assert event["label"] and 0 < float(event["label_score"]) <= 1


def test_files_of_the_corpora_are_shown_without_faces_unless_that_is_wished(videos, network, tmp_path):
    folder = tmp_path / "SAMM_longvideos"
    folder.mkdir()
    (folder / "006_1.mkv").write_bytes((videos / "anna.mkv").read_bytes())
    page = tmp_path / "out" / "006_1.html"
    analyze(folder, tmp_path / "out", model=network)
    assert "data:image" not in page.read_text()
    analyze(folder, tmp_path / "out", model=network, pictures=True)
    assert "data:image" in page.read_text()


@pytest.mark.parametrize(
    ("path", "is_gated"),
    [
        ("/d/CAS(ME)^2/rawpic/s15", True),
        ("/d/SMIC-E_raw image/x", True),
        ("/d/talks/anna.mp4", False),
        ("a.mp4", False),
    ],
)
def test_a_gated_corpus_is_known_by_the_names_of_its_folders(path, is_gated):
    assert names_a_gated_corpus(path) is is_gated


def test_a_file_says_how_long_it_is_before_it_is_decoded(videos):
    assert announced_seconds(videos / "anna.mkv") == pytest.approx(1.4, abs=0.05)
    assert announced_seconds(videos / "bad.mp4") is None and announced_seconds(videos / "none.mp4") is None
