"""A video in, events and unwatched spans out: what the pipeline does, whatever the network says."""

import io
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch
from transformers import pipeline

import real_face
from mer_hf.errors import MerHfError
from mer_hf.rcn.configuration_spotting_rcn import RcnSpottingConfig
from mer_hf.rcn.decoding_rcn import VideoError
from mer_hf.rcn.pipeline_spotting_rcn import MicroExpressionSpottingPipeline
from mer_hf.rcn.spotting_rcn import OUTPUTS, RcnForSpotting, moment_input
from mer_hf.rcn.tracking_rcn import FaceTracker

SECONDS = 2.4
EVENT = {"start", "apex", "end", "score", "kind", "parts", "label", "label_score", "action_units", "face", "flags"}


@pytest.fixture(scope="module")
def portrait():
    return real_face.portrait(160)


@pytest.fixture(scope="module")
def spot():
    """A network that says what chance gave it, but no event: its score never reaches the threshold."""
    torch.manual_seed(0)
    config = RcnSpottingConfig(backbone_kwargs={"width": 6}, moment_size=5, hidden_size=7, threshold=1.0)
    return pipeline("micro-expression-spotting", model=RcnForSpotting(config).eval(), classifier=None)


def scene(*faces, size=(200, 400)):
    y, x = np.indices(size)
    frame = (90 + 20 * np.sin(x / 40) + 20 * np.cos(y / 30 + x / 90)).astype(np.uint8)
    for picture, left in faces:
        frame[20:180, left : left + 160] = picture
    return frame


def stream(*frames, rate=25.0, begin=0.0):
    return [(frame, begin + index / rate) for index, frame in enumerate(frames)]


def encode(frames, rate=25):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=rate)
        video.height, video.width = frames[0].shape
        video.pix_fmt = "yuv420p"
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.repeat(frame[..., None], 3, 2), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, rate)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
    return file.getvalue()


def held_upright(data, height):
    """The same MP4 file with the display matrix (ISO 14496-12, 8.3.2) of a phone that was held upright."""
    at, one = data.index(b"tkhd") + 4 + 40, 1 << 16
    return data[:at] + struct.pack(">9i", 0, one, 0, -one, 0, 0, height * one, 0, 1 << 30) + data[at + 36 :]


def spans(events):
    return [(event["face"], round(event["start"], 1), round(event["end"], 1)) for event in events]


def reasons(events):
    return [event["flags"][0] for event in events if event["kind"] == "unwatched"]


class Oracle(torch.nn.Module):
    """In the place of the network's last layer: says that there is an apex at certain moments."""

    rate = 25

    def __init__(self, apexes):
        super().__init__()
        self.apexes, self.moments = apexes, 0

    def forward(self, hidden):
        rows = []
        for _ in range(hidden.shape[1]):
            now = self.moments // (self.rate // 25) / 25
            row = torch.full((len(OUTPUTS),), -9.0)
            for apex in self.apexes:
                row[0] = 9.0 if apex - 0.2 <= now <= apex + 0.3 else row[0]
                for place, moment in enumerate((apex - 0.2, apex, apex + 0.3), start=1):
                    row[place] = 9.0 if abs(now - moment) < 0.05 else row[place]
            rows.append(row)
            self.moments += 1
        return torch.stack(rows).expand(len(hidden), -1, -1)


@pytest.fixture
def knowing(spot, monkeypatch):
    """The pipeline with a network that finds apexes where it is told to, a fifth of a second after its first moment."""

    def make(*apexes):
        monkeypatch.setattr(spot.model.config, "threshold", 0.5)
        monkeypatch.setitem(spot.model._modules, "outputs", Oracle([apex - 0.2 for apex in apexes]))
        return spot

    return make


def test_the_task_is_known_by_its_name(spot):
    assert isinstance(spot, MicroExpressionSpottingPipeline) and spot.task == "micro-expression-spotting"


def test_a_face_that_is_watched_throughout_gives_no_spans(spot, portrait):
    assert spot([scene((portrait, 100))] * 60) == []


def test_an_event_has_its_times_its_face_and_its_parts(knowing, portrait):
    (event,) = knowing(1.4)([scene((portrait, 100))] * 75)
    assert set(event) == EVENT
    assert (event["start"], event["apex"], event["end"]) == pytest.approx((1.2, 1.4, 1.72), abs=0.05)
    assert event["kind"] == "micro" and event["face"] == 0 and event["parts"] == ["upper"] and event["score"] > 0.85
    assert event["label"] is None and event["flags"] == []


def test_the_times_are_those_of_the_container(knowing, portrait):
    frames = [scene((portrait, 100))] * 150
    times = np.cumsum(np.tile([0.015, 0.025], 75))  # 50 frames a second, unevenly
    (event,) = list(knowing(1.4).stream(iter(zip(frames, times.tolist(), strict=True))))
    assert event["apex"] == pytest.approx(1.4 + times[0], abs=0.06)
    assert min(abs(times - event["apex"])) < 1e-3, "a frame's time, not one between frames"


def test_an_event_comes_about_a_second_after_its_end(knowing, portrait):
    taken = []

    def camera():
        for frame, seconds in stream(*[scene((portrait, 100))] * 100):
            taken.append(seconds)
            yield frame, seconds

    event = next(knowing(1.2).stream(camera()))
    assert event["end"] < taken[-1] <= event["end"] + 1.5


def test_the_classifier_names_the_event_by_its_clip(knowing, portrait, monkeypatch):
    spot = knowing(1.4)
    classify = pipeline("micro-expression-classification")
    monkeypatch.setattr(spot, "classifier", classify)
    moved = portrait.copy()
    moved[60:100] = portrait[58:98]
    frames = [scene((portrait, 100))] * 30 + [scene((moved, 100))] * 45
    (event,) = spot(frames)
    assert event["label"] in classify.model.config.id2label.values() and 0 < event["label_score"] <= 1
    assert all(0.5 <= p <= 1 and unit.startswith("AU") for unit, p in event["action_units"].items())


def test_every_moment_of_a_face_can_be_observed(spot, portrait):
    seen = []
    list(spot.stream(iter(stream(*[scene((portrait, 100))] * 50)), observe=seen.append))
    times = [moment.seconds for moment in seen]
    assert len(seen) >= 40 and times == sorted(set(times)) and times[-1] == pytest.approx(49 / 25)
    assert {moment.face for moment in seen} == {0} and all(moment.outputs.shape == (len(OUTPUTS),) for moment in seen)
    assert all(0 <= value <= 1 for moment in seen for value in moment.outputs)
    (tracked,) = FaceTracker().update(scene((portrait, 100)), 0.0)
    np.testing.assert_allclose(seen[-1].place, tracked.face_to_frame, atol=1)
    assert seen[-1].eyes == pytest.approx(np.hypot(*tracked.face_to_frame[:, 0]), abs=1)


def test_the_motion_of_a_face_is_what_the_network_would_see(spot, portrait):
    frames = [scene((portrait, 100 + index % 3)) for index in range(30)]
    frames += [scene()] * 10 + [scene((portrait, 100 + index % 2)) for index in range(40)]
    seen = {}
    list(spot.stream(iter(stream(*frames)), observe=lambda moment: seen.setdefault(moment.face, []).append(moment)))
    faces = spot.motion(iter(stream(*frames)))
    assert len(faces) > 1 and {face.face for face in faces} == set(seen)
    for number, moments in seen.items():
        spans = [face for face in faces if face.face == number]
        assert [moment.seconds for moment in moments] == [float(at) for face in spans for at in face.seconds]
        with torch.inference_mode():
            told = [spot.model(moment_input(face.motion)[None]).logits[0].sigmoid().numpy() for face in spans]
        np.testing.assert_allclose(np.concatenate(told), [moment.outputs for moment in moments], atol=1e-4)


def test_an_event_brings_aligned_pictures_from_its_start_to_its_end(knowing, portrait):
    frames = [np.roll(scene((portrait, 100)), index // 30, axis=1) for index in range(75)]
    (event,) = knowing(1.4).stream(iter(stream(*frames)), crop_side=64)
    assert event["crops"].shape == (len(event["crop_times"]), 64, 64) and event["crops"].dtype == np.uint8
    assert event["crop_times"][[0, -1]].tolist() == pytest.approx([event["start"], event["end"]], abs=1e-3)
    assert np.diff(event["crop_times"]).tolist() == pytest.approx([1 / 25] * (len(event["crops"]) - 1))
    assert event["crops"][0].std() > 20 and set(event) == EVENT | {"crops", "crop_times"}


def test_somebody_who_comes_and_goes_is_followed_and_the_gap_is_reported(spot, portrait):
    there, gone = scene((portrait, 100)), scene()
    events = list(spot.stream(iter(stream(*[there] * 30, *[gone] * 50, *[there] * 40))))
    (gap,) = events
    assert gap["kind"] == "unwatched" and gap["face"] is None and gap["apex"] is None and set(gap) == EVENT
    assert gap["flags"] == ["no face is seen"]
    assert 1.2 <= gap["start"] <= 1.5 and 3.2 <= gap["end"] <= 3.8


def test_two_people_have_an_event_each(knowing, portrait, monkeypatch):
    both = scene((portrait, 10), (portrait[:, ::-1], 220))
    spot = knowing()
    # the oracle counts moments; of two faces it is asked by turns
    monkeypatch.setattr(Oracle, "rate", 50, raising=False)
    monkeypatch.setitem(spot.model._modules, "outputs", Oracle([1.2]))
    assert sorted(event["face"] for event in spot([both] * 75)) == [0, 1]


def test_a_face_that_is_too_small_is_named_with_the_reason(spot, portrait):
    small = np.full((120, 190), 100, np.uint8)
    small[20:90, 60:130] = cv2.resize(portrait, (70, 70), interpolation=cv2.INTER_AREA)
    (span,) = spot([small] * 40)
    assert span["face"] == 0 and "pixels apart" in span["flags"][0] and span["kind"] == "unwatched"


def test_a_cut_ends_what_was_open_and_begins_a_new_face(knowing, portrait):
    before, after = scene((portrait, 20)), 255 - scene((255 - portrait, 200))
    events = knowing(1.2)(([before] * 32) + [after] * 40)
    assert events[0]["end"] <= 32 / 25 and events[0]["face"] == 0
    assert all(event["face"] in (0, 1, None) for event in events)


def test_twelve_frames_a_second_are_refused_with_the_reason(spot, portrait):
    events = spot(encode([scene((portrait, 100))] * 40, rate=12))
    assert len(events) == 1 and "12 frames a second; at least 20" in reasons(events)[0]
    assert events[0]["end"] > 3 and events[0]["start"] < 0.6


def test_a_portrait_video_of_a_phone_is_turned(spot, portrait, monkeypatch):
    lying, views = encode([np.ascontiguousarray(np.rot90(scene((portrait, 100), size=(400, 320))))] * 10), []
    update = FaceTracker.update
    monkeypatch.setattr(FaceTracker, "update", lambda *args: views.append(update(*args)) or views[-1])
    assert spot(lying) == spot(held_upright(lying, 320)) == []
    turns = [np.rad2deg(np.arctan2(seen[0].face_to_frame[1, 0], seen[0].face_to_frame[0, 0])) for seen in views]
    assert abs(abs(turns[5]) - 90) < 15 and abs(turns[15]) < 15


def test_a_sound_file_is_named_as_one(spot):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        for index in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, 1024 * index
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(VideoError, match=r"no video stream.*audio|audio"):
        spot(file.getvalue())


def test_a_wall_has_no_face(spot):
    (span,) = spot([scene()] * 50)
    assert span["flags"] == ["no face is seen"] and spans([span]) == [(None, 0.0, 2.0)]


def test_a_stream_that_stalls_is_not_watched_over_the_gap(knowing, portrait):
    frame = scene((portrait, 100))
    frames = stream(*[frame] * 40) + stream(*[frame] * 40, begin=30.0)
    events = list(knowing(1.2).stream(iter(frames)))
    assert events[0]["kind"] == "micro"
    assert all(event["end"] - event["start"] < 3 for event in events if event["kind"] != "unwatched")


def test_frames_in_chunks_or_whole_give_the_same_events(spot, portrait, monkeypatch):
    """A file, an array and a camera of the same frames are one video."""
    rng = np.random.default_rng(0)
    frames = [
        np.clip(scene((portrait, 100)) + rng.normal(0, 3, (200, 400)), 0, 255).astype(np.uint8) for _ in range(60)
    ]
    monkeypatch.setattr(spot.model.config, "threshold", 0.2)
    whole = spot(np.stack(frames))
    assert whole == list(spot.stream(iter(stream(*frames)))) == spot(frames)


def test_a_camera_may_give_colour_and_times_of_its_own(spot, portrait):
    colour = np.repeat(scene((portrait, 100))[..., None], 3, 2)
    assert list(spot.stream(iter([(colour, 100 + index / 30) for index in range(40)]))) == []


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([np.zeros((9, 9))], "uint8"),
        ([np.zeros((90, 90), np.uint8), np.zeros((80, 90), np.uint8)], "alike"),
        ([(np.zeros((90, 90), np.uint8), 1.0), (np.zeros((90, 90), np.uint8), 1.0)], "times must grow"),
    ],
)
def test_a_camera_that_gives_something_else_is_refused(spot, frames, words):
    with pytest.raises(VideoError, match=words):
        list(spot.stream(iter(frames)))


def test_options_out_of_range_are_refused(spot, portrait):
    with pytest.raises(MerHfError, match="threshold"):
        spot([scene((portrait, 100))] * 3, threshold=2.0)


def test_a_network_that_names_clips_is_refused():
    from mer_hf.rcn.configuration_rcn import RcnConfig
    from mer_hf.rcn.modeling_rcn import RcnForVideoClassification

    with pytest.raises(MerHfError, match="names cut clips"):
        pipeline("micro-expression-spotting", model=RcnForVideoClassification(RcnConfig(num_labels=3)), classifier=None)


def test_several_videos_are_a_list_of_lists(spot, portrait):
    video = encode([scene((portrait, 100))] * 30)
    assert spot([video, encode([scene()] * 30)]) == [[], spot(encode([scene()] * 30))]
