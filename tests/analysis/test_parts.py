"""A long video in parts: they overlap while they are watched, and are one again as if they had never been apart."""

import json
import math

import numpy as np
import pytest

from mer_hf.analysis import parts as parts_module
from mer_hf.analysis import results, watching
from mer_hf.analysis.parts import joined, parts_of, read_part, write_part
from mer_hf.analysis.results import AnalysisError, analyze
from mer_hf.analysis.watching import Edge, Options, Part, Watched, watch

RATE = 25


@pytest.fixture(scope="module")
def video(tmp_path_factory, scene, encoded):
    """A face for four seconds."""
    frames = [scene((20, 120), size=(130, 160), shake=index // 3) for index in range(4 * RATE)]
    return str(encoded(tmp_path_factory.mktemp("videos") / "faces.mp4", frames))


@pytest.fixture
def short(monkeypatch):
    """Parts that overlap by little."""
    monkeypatch.setattr(watching, "LEAD", 1.4)
    monkeypatch.setattr(watching, "TAIL", 1.6)
    monkeypatch.setattr(watching, "EDGE", 0.5)
    monkeypatch.setattr(results, "SHORTEST", 1.0)


def test_parts_follow_one_another_and_the_last_goes_on_to_the_end():
    assert parts_of(1199.0, Options()) == [] == parts_of(None, Options())
    assert parts_of(1900.0, Options()) == [Part(0.0, 600.0), Part(600.0, 1200.0), Part(1200.0, None)]
    assert parts_of(1900.0, Options(start=100.0, end=1350.0)) == [Part(100.0, 700.0), Part(700.0, 1350.0)]
    assert parts_of(1900.0, Options(start=100.0, end=1250.0)) == []
    for length in (7.0, 60.0, 450.0):
        found = parts_of(1000.0, Options(), length)
        assert len(found) == math.floor(1000 / length)
        assert [part.end for part in found[:-1]] == [part.start for part in found[1:]]


def test_what_is_found_in_parts_is_what_is_found_in_the_whole(video, spot, short):
    options = Options(curves=True, pictures=False)
    whole = watch(video, spot, options)
    apart = [watch(video, spot, options, part=part) for part in parts_of(4.0, options, 1.3)]
    again = joined(apart)
    assert len(apart) == 3
    assert (again.frames, again.seconds) == (whole.frames, pytest.approx(whole.seconds))
    # a face is measured every third frame, from that on in which it was found: the rest is a matter of rounding
    found, there = ({(event["face"], event["apex"]) for event in each.events} for each in (again, whole))
    assert len(found & there) >= 0.6 * max(len(found), len(there)) > 2
    for event in again.events:
        for name in ("start", "apex", "end"):
            assert event[f"{name}_frame"] == round(RATE * event[name])
    assert [event["start"] for event in again.events] == sorted(event["start"] for event in again.events)
    assert {event["face"] for event in again.events} == {0}
    for face, rows in whole.curves.items():
        times = [np.stack(each.curves[face])[:, 0] for each in (again, whole)]
        assert len(np.unique(times[0])) == len(times[0])  # no moment twice
        assert abs(len(times[0]) - len(times[1])) <= 2
        told = np.interp(times[1], times[0], np.stack(again.curves[face])[:, 9])
        assert np.abs(told - np.stack(rows)[:, 9]).mean() < 0.02


def test_a_part_is_read_as_it_was_written(video, spot, short, tmp_path):
    part = watch(video, spot, Options(curves=True), part=Part(1.3, 2.6))
    assert part.events and part.edges and part.curves
    kept = json.loads(json.dumps(write_part(tmp_path / "part.npz", part)))
    again = read_part(tmp_path / "part.npz", kept)
    assert (again.events, again.spans, again.edges, again.frames) == (part.events, part.spans, part.edges, part.frames)
    assert again.pictures == part.pictures
    for face, rows in part.curves.items():
        np.testing.assert_array_equal(again.curves[face], rows)


def edges(face, x, times):
    return [Edge(face, seconds, x, 50.0, 40.0) for seconds in times]


def part_with(*faces, start, end):
    """A part with an event of each face, which stands at a place."""
    times = [start - 0.5, start + 0.5, end - 0.5, end + 0.5]
    part = Watched(seconds=end, frames=10, edges=[edge for face, x in faces for edge in edges(face, x, times)])
    part.events = [{"face": face, "start": start, "apex": start, "end": start, "apex_frame": 3} for face, _ in faces]
    part.pictures = [None] * len(faces)
    return part


def test_a_face_keeps_its_number_by_its_place_and_another_is_new():
    one = part_with((0, 100.0), (1, 300.0), start=0.0, end=10.0)
    two = part_with((0, 302.0), (1, 500.0), (2, 101.0), start=10.0, end=20.0)
    three = part_with((0, 499.0), start=20.0, end=30.0)
    whole = joined([one, two, three])
    assert [event["face"] for event in whole.events] == [0, 1, 1, 2, 0, 2]
    assert [event["apex_frame"] for event in whole.events] == [3, 3, 13, 13, 13, 23]


def test_spans_that_a_border_cuts_are_one_again_and_others_are_not():
    def span(start, end, reason="turned"):
        return {"face": None, "start": start, "end": end, "kind": "unwatched", "reason": reason}

    one, two = Watched(seconds=10.0, frames=5), Watched(seconds=20.0, frames=5)
    one.spans, two.spans = [span(2.0, 3.0), span(8.0, 10.0)], [span(10.0, 11.5), span(10.0, 12.0, "gone")]
    assert joined([one, two]).spans == [span(2.0, 3.0), span(8.0, 11.5), span(10.0, 12.0, "gone")]


def test_a_long_video_is_watched_in_parts_which_are_gone_in_the_end(video, network, tmp_path, short, monkeypatch):
    watched = []
    real = results.watch
    monkeypatch.setattr(results, "watch", lambda *args: watched.append(args[-1]) or real(*args))
    options = Options(curves=True)
    analysis = analyze(video, tmp_path / "out", options, ["srt"], model=network, part_seconds=1.3)
    assert watched == [Part(0.0, 1.3), Part(1.3, 2.6), Part(2.6, None)]
    assert not analysis.failed and analysis.events > 2
    assert sorted(path.name for path in (tmp_path / "out" / "videos").iterdir()) == ["faces.json", "faces.parquet"]
    assert (tmp_path / "out" / "faces.html").exists() and (tmp_path / "out" / "faces.srt").exists()
    again = analyze(video, tmp_path / "out", options, ["srt"], model=network, part_seconds=1.3)
    assert again == analysis and len(watched) == 3  # it is done


def test_a_run_that_was_cut_off_goes_on_with_the_parts_that_are_not_done(video, network, tmp_path, short, monkeypatch):
    def files(folder):
        return {path.name: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".csv", ".json", ".html")}

    whole = analyze(video, tmp_path / "whole", model=network, part_seconds=1.3, pictures=False)
    real, watched = results.watch, []

    def cut_off(*args):
        if len(watched) == 2:
            raise KeyboardInterrupt
        watched.append(args[-1])
        return real(*args)

    monkeypatch.setattr(results, "watch", cut_off)
    with pytest.raises(KeyboardInterrupt):
        analyze(video, tmp_path / "cut", model=network, part_seconds=1.3, pictures=False)
    assert len(list((tmp_path / "cut" / "videos" / "faces.parts").glob("*.json"))) == 2
    monkeypatch.setattr(results, "watch", lambda *args: watched.append(args[-1]) or real(*args))
    assert analyze(video, tmp_path / "cut", model=network, part_seconds=1.3, pictures=False).events == whole.events
    assert watched == [Part(0.0, 1.3), Part(1.3, 2.6), Part(2.6, None)]
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_parts_that_cannot_be_read_are_said_and_the_others_stay(video, network, tmp_path, short, monkeypatch):
    real = results.watch

    def broken(*args):
        if args[-1].start > 2:
            raise AnalysisError("nothing is there")
        return real(*args)

    monkeypatch.setattr(results, "watch", broken)
    analysis = analyze(video, tmp_path / "out", model=network, part_seconds=1.3, pictures=False)
    assert analysis.events and analysis.doubtful == {video: ["nothing is there"]}
    monkeypatch.setattr(results, "watch", lambda *args: broken(*args[:-1], Part(9.0, None)))
    analysis = analyze(video, tmp_path / "none", model=network, part_seconds=1.3)
    assert analysis.failed == {video: "nothing is there"}


def test_parts_that_would_be_all_overlap_are_refused(video, tmp_path):
    with pytest.raises(AnalysisError, match=r"part_seconds is 20; parts overlap by 20 s, give 60"):
        analyze(video, tmp_path, part_seconds=20)
    assert parts_module.LENGTH >= results.SHORTEST
