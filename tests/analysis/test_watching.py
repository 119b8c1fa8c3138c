"""One video watched: times, numbers of frames, faces, blinks and speech, and files that break."""

import io

import av
import cv2
import numpy as np
import pytest
from transformers import pipeline

from mer_hf.analysis.watching import Options, Segment, Watched, _Seen, classify_segments, seconds_text, watch
from mer_hf.errors import MerHfError
from mer_hf.rcn.decoding_rcn import VideoError
from mer_hf.rcn.pipeline_spotting_rcn import Moment
from mer_hf.rcn.spotting_rcn import OUTPUTS

QUIET = Options(pictures=False)


@pytest.fixture(scope="module")
def video(tmp_path_factory, scene, encoded):
    frames = [scene((40, 160), shake=index) for index in range(75)]
    return str(encoded(tmp_path_factory.mktemp("videos") / "face.mp4", frames))


@pytest.fixture(scope="module")
def whole(video, spot):
    return watch(video, spot, Options(curves=True))


def times(watched):
    return [(event["start"], event["apex"], event["end"]) for event in watched.events]


def test_events_have_times_and_the_numbers_of_their_frames(whole):
    assert len(whole.events) >= 3 and whole.frames == 75 and whole.seconds == pytest.approx(74 / 25)
    for event in whole.events:
        for name in ("start", "apex", "end"):
            assert event[f"{name}_frame"] == round(25 * event[name])
        assert event["face"] == 0 and event["start"] <= event["apex"] <= event["end"]
    assert times(whole) == sorted(times(whole))


def test_pictures_show_the_face_from_onset_to_offset_in_two_rows(whole):
    for event, pictures in zip(whole.events, whole.pictures, strict=True):
        shown = event["end_frame"] - event["start_frame"] + 1
        assert pictures.frames == shown
        container = av.open(io.BytesIO(pictures.film))
        (film,) = (frame.to_ndarray(format="gray") for frame in container.decode(video=0))
        assert film.shape == (288, 144 * shown)
        plain, large = film[:144], film[144:]
        assert plain.std() > 20
        # noise is motion too, and is magnified
        first, last = plain[:, :144].astype(int), plain[:, -144:].astype(int)
        if shown > 4:
            assert np.abs(large[:, -144:].astype(int) - large[:, :144]).mean() > np.abs(last - first).mean()


def test_without_pictures_the_same_is_found(whole, video, spot):
    watched = watch(video, spot, QUIET)
    assert watched.events == whole.events and watched.spans == whole.spans
    assert watched.pictures == [None] * len(watched.events) and watched.curves == {}


def test_curves_hold_every_moment(whole):
    (rows,) = whole.curves.values()
    rows = np.stack(rows)
    assert rows.shape == (len(rows), 1 + len(OUTPUTS)) and rows.dtype == np.float32
    assert len(rows) >= 65 and (np.diff(rows[:, 0]) > 0).all() and (rows[:, 1:] >= 0).all() and (rows[:, 1:] <= 1).all()


def test_a_part_has_the_times_and_frames_of_the_whole_file(video, spot):
    watched = watch(video, spot, Options(start=0.99, end=2.5, pictures=False))
    assert watched.events and watched.frames == 38
    for event in watched.events:
        assert event["start"] >= 1.0 and event["end"] <= 2.5
        assert event["start_frame"] == round(25 * event["start"])


def test_a_part_that_is_not_there_is_refused(video, spot):
    with pytest.raises(VideoError, match="ends before 9 s: it has 75 frames"):
        watch(video, spot, Options(start=9.0))


def test_a_high_speed_file_that_lies_about_its_rate_is_put_right(tmp_path, scene, encoded, spot):
    path = encoded(tmp_path / "slow.mp4", [scene((40, 160), shake=index // 2) for index in range(110)])
    watched = watch(str(path), spot, Options(fps=50.0, pictures=False))
    assert watched.seconds == pytest.approx(109 / 50)
    assert all(event["apex_frame"] == round(50 * event["apex"]) for event in watched.events) and watched.events


def test_a_broken_tail_keeps_the_events_before_it(video, whole, tmp_path, spot):
    # an MPEG stream has its index everywhere; half of the file is a file
    path = tmp_path / "broken.ts"
    with av.open(video) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3] + b"nothing that is a video" * 400)
    watched = watch(str(path), spot, QUIET)
    assert 40 <= watched.frames < 75 and watched.events
    assert any("damaged" in problem or "ends early" in problem for problem in watched.problems)
    # the network looks .88 s ahead, and of apexes less than .24 s apart the surer one counts
    early = [time[:2] for time in times(whole) if time[1] < watched.seconds - 1.12]
    assert early and early == [time[:2] for time in times(watched)[: len(early)]]


def test_a_video_that_changes_its_size_is_watched_up_to_there(tmp_path, scene, spot):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(60):
        size = (180, 240) if index < 50 else (120, 160)
        frame = scene(*([(40, 160)] if index < 50 else []), size=size, shake=index)
        cv2.imwrite(str(folder / f"{index:03}.png"), frame)
    watched = watch(str(folder), spot, Options(fps=25.0, pictures=False))
    assert watched.frames == 50
    assert watched.problems[0].startswith("watched up to 1.96 s: ")


def test_what_holds_no_picture_is_refused(tmp_path, spot):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r"no container that is read|no video stream"):
        watch(str(path), spot, QUIET)


def test_the_largest_face_alone_is_watched_where_that_is_wished(tmp_path, scene, encoded, spot):
    frames = [scene((10, 140), (170, 170), size=(180, 360), shake=index) for index in range(40)]
    path = str(encoded(tmp_path / "two.mp4", frames))
    found = watch(path, spot, QUIET).events
    assert {event["face"] for event in found} == {0, 1}
    largest = watch(path, spot, Options(faces=1, pictures=False)).events
    (face,) = {event["face"] for event in largest}
    assert largest == [event for event in found if event["face"] == face]


def test_kinds_and_scores_that_are_not_wished_are_left_out(whole, video, spot):
    kinds = {event["kind"] for event in whole.events}
    for kind in kinds:
        found = watch(video, spot, Options(kinds=(kind,), pictures=False)).events
        assert found == [event for event in whole.events if event["kind"] == kind]
    assert watch(video, spot, Options(min_score=1.0, pictures=False)).events == []


def moments(seen, name, rows, face=0):
    for seconds, value in rows:
        outputs = np.zeros(len(OUTPUTS))
        outputs[OUTPUTS.index(name)] = value
        seen.take(Moment(face, seconds, np.zeros((2, 3)), outputs))


def test_blinks_and_speech_are_spans_without_what_is_too_short():
    watched = Watched()
    seen = _Seen(watched, QUIET)
    said = [(index / 25, float(index in (*range(10, 16), *range(30, 32), 50))) for index in range(75)]
    moments(seen, "blink", said)
    talk = [(index / 25, float(100 <= index < 200 and index % 20 > 4)) for index in range(75, 300)]
    moments(seen, "speech", talk, face=1)
    seen.finish()
    blinks = [(span["start"], span["end"]) for span in watched.spans if span["kind"] == "blink"]
    speech = [(span["face"], span["start"], span["end"]) for span in watched.spans if span["kind"] == "speech"]
    assert blinks == [(0.4, 0.6)]  # one moment of .04 s is none
    assert speech == [(1, 4.2, 7.96)]  # pauses of a fifth of a second belong to it


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"faces": 0}, "faces is 0"),
        ({"kinds": ("nano",)}, "kinds is nano"),
        ({"kinds": ()}, "kinds is empty"),
        ({"min_score": 1.2}, "min_score is 1.2"),
        ({"start": 3.0, "end": 2.0}, "the end comes after the start"),
    ],
)
def test_options_out_of_their_range_are_refused(wrong, said):
    with pytest.raises(MerHfError, match=said):
        Options(**wrong)


def test_coded_segments_are_classified_and_nothing_else(video):
    classify = pipeline("micro-expression-classification")
    segments = [Segment(1.0, 1.4), Segment(0.2, 0.6), Segment(50.0, 51.0)]
    watched = classify_segments(video, segments, classify, QUIET)
    assert [(event["start"], event["start_frame"], event["end_frame"]) for event in watched.events] == [
        (0.2, 5, 15),
        (1.0, 25, 35),
    ]
    expected = classify(video, start=1.0, end=1.4, face_problems="flag")[0]
    assert (watched.events[1]["label"], watched.events[1]["label_score"]) == (
        expected["label"],
        pytest.approx(expected["score"], abs=1e-4),
    )
    assert all(event["kind"] == "coded" and event["score"] is None for event in watched.events)
    (refused,) = watched.spans
    assert (refused["start"], refused["kind"]) == (50.0, "unwatched") and "no frame" in refused["reason"]


def test_seconds_are_told_as_people_do():
    assert [seconds_text(value) for value in (0, 12.345, 59.996, 3723.45)] == [
        "0:00.00",
        "0:12.35",
        "1:00.00",
        "1:02:03.45",
    ]
