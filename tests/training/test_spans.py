import math

import av
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value, Video

from mer_hf.errors import MerHfError
from mer_hf.rcn.decoding_rcn import VideoError, load_video
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.training.clips import check_dataset, load_clips
from mer_hf.training.spans import clip_of_row


def named(*numbers, pattern="reg_img{}.jpg"):
    return [pattern.format(number) for number in numbers]


# --- lists of images ---


@pytest.mark.parametrize(
    ("row", "total", "index"),
    [
        ({"onset": 100, "apex": 120, "offset": 140}, 41, 20),
        ({"onset": 100, "apex": 120, "offset": 140}, 21, 10),  # every second frame is missing
        ({"onset": "100", "apex": "140", "offset": "140"}, 41, 40),
        ({"onset": 100.0, "apex": 120.0, "offset": math.nan}, 41, 20),
        ({"onset": 100, "apex": 120}, 41, 20),
        ({"onset": 100, "apex": None, "offset": 140}, 41, None),
        *(({"onset": 100, "apex": blank, "offset": 140}, 41, None) for blank in ("", " ", "/", "nan", math.nan)),
        ({}, 41, None),
    ],
)
def test_the_apex_is_found_among_frames_without_names(row, total, index):
    frames = [{"bytes": b"", "path": None}] * total
    assert clip_of_row({**row, "frames": frames}, grey=True) == (frames, index)


def test_of_a_whole_recording_the_frames_from_onset_to_offset_are_taken_by_their_numbers():
    frames = named(*range(1, 151))
    clip, apex = clip_of_row({"frames": frames, "onset": 46, "apex": 59, "offset": 119}, grey=True)
    assert (clip[0], clip[apex], clip[-1]) == ("reg_img46.jpg", "reg_img59.jpg", "reg_img119.jpg")
    assert len(clip) == 74


def test_the_numbers_in_names_say_which_frames_are_missing():
    frames = [{"path": path, "bytes": b""} for path in named(46, 47, 48, 49, 50, 90, 119)]
    clip, apex = clip_of_row({"frames": frames, "onset": 46, "apex": 50, "offset": 119}, grey=True)
    assert clip == frames and clip[apex]["path"] == "reg_img50.jpg"
    _, apex = clip_of_row({"frames": frames, "onset": 46, "apex": 85, "offset": 119}, grey=True)
    assert frames[apex]["path"] == "reg_img90.jpg"  # the nearest that is there
    _, apex = clip_of_row({"frames": frames, "onset": 46, "apex": 50}, grey=True)
    assert frames[apex]["path"] == "reg_img50.jpg"


def test_frames_that_were_numbered_anew_are_counted_from_the_onset():
    frames = named(*range(1, 75))
    assert clip_of_row({"frames": frames, "onset": 46, "apex": 59, "offset": 119}, grey=True) == (frames, 13)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"onset": 46, "apex": 59, "offset": 50}, "46, 59, 50: out of order"),
        ({"onset": 46, "apex": 40}, "46, 40: out of order"),
        ({"apex": 3}, "apex without an onset"),
        ({"onset": 46, "apex": 46.5, "offset": 50}, "46.5 is no number of a frame"),
        ({"onset": "the first"}, "onset is 'the first'; expected a number"),
        ({"onset": -1}, "onset is -1"),
        ({"onset": 3, "apex": 5}, "onset 3 is in the middle of the frames, which are numbered 1 to 9; give the offset"),
        ({"onset": 46, "offset": 48}, "9 frames for the 3 from onset 46 to offset 48"),
        ({"onset": 1, "offset": 2, "unit": "seconds"}, "unit is 'seconds'; expected frames, or, of a video"),
    ],
)
def test_numbers_that_do_not_fit_the_frames_are_refused(row, message):
    with pytest.raises(MerHfError, match=message):
        clip_of_row({"frames": named(*range(1, 10)), **row}, grey=True)


# --- videos ---


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """40 frames at 20 a second; frame n is a picture of grey 5 n."""
    path = tmp_path_factory.mktemp("videos") / "long.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=20)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv444p"
        for number in range(40):
            frame = np.full((32, 32, 3), 5 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def shown(clip):
    """The numbers of the frames of a clip."""
    return [round(frame.mean() / 5) for frame in clip.frames]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(
    "times", [{"onset": 12, "apex": 18, "offset": 30}, {"onset": 0.6, "apex": 0.9, "offset": 1.5, "unit": "seconds"}]
)
def test_a_stretch_of_a_video_is_cut_out_by_frames_or_by_seconds(video, times, grey):
    clip, apex = clip_of_row({"video": str(video), **times}, grey)
    assert shown(clip) == list(range(12, 31)) and shown(clip)[apex] == 18
    assert clip.frames.shape[1:] == (32, 32, 1 if grey else 3)
    np.testing.assert_allclose(clip.times, np.arange(19) / 20, atol=2e-3)


def test_without_onset_and_offset_the_whole_video_is_the_clip(video):
    assert clip_of_row({"video": str(video)}, grey=True) == (str(video), None)
    clip, apex = clip_of_row({"video": {"path": str(video), "bytes": None}, "apex": 7}, grey=False)
    assert shown(clip) == list(range(40)) and apex == 7
    clip, _ = clip_of_row({"video": str(video), "onset": 0.5, "offset": 2.0, "unit": "seconds"}, grey=True)
    assert shown(clip) == list(range(10, 40))  # the last frame is seen until then


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"onset": 12, "offset": 40}, r"offset 40 lies after the end of the video, 39 \(frames, counted from 0\)"),
        ({"onset": 1.0, "offset": 2.1, "unit": "seconds"}, r"offset 2.1 lies after the end of the video, 1.95 \(sec"),
        ({"onset": 70, "offset": 90}, "onset 70 lies after the end"),
        ({"onset": 0.61, "offset": 0.66, "unit": "seconds"}, "1 frames of the video lie from onset 0.61"),
        ({"onset": 1.24, "offset": 1.5}, "1.24 is no number of a frame; where seconds are meant"),
        ({"unit": "minutes"}, "unit is 'minutes'"),
    ],
)
def test_a_stretch_that_the_video_does_not_have_is_refused(video, times, message):
    with pytest.raises(MerHfError, match=message):
        clip_of_row({"video": str(video), **times}, grey=True)


def with_video(rows, feature):
    features = {"label": ClassLabel(names=["a"]), "subject": Value("string"), "clip_id": Value("string")}
    features |= {"onset": Value("int64"), "apex": Value("int64"), "offset": Value("int64"), "video": feature}
    rows = [{"label": 0, "subject": "s1", "clip_id": f"clip{number}", **row} for number, row in enumerate(rows)]
    return Dataset.from_list(rows, features=Features(features))


@pytest.mark.parametrize("feature", [Value("string"), Video(decode=False), Video()])
def test_a_video_column_is_prepared_as_the_frames_it_was_cut_from(video, feature):
    processor = RcnVideoProcessor(connectivity="geometric", align="none", size={"height": 16, "width": 16})
    dataset = with_video([{"video": str(video), "onset": 12, "apex": 18, "offset": 30}], feature)
    assert check_dataset(dataset) == "video"
    (sample,) = load_clips(dataset, processor)
    cut = load_video(str(video)).frames[12:31]
    expected = processor.clip_sequence(cut, 6, fps=20.0, windows=True)
    assert (sample.content.motion.shape, sample.content.apex) == (expected.motion.shape, expected.apex)
    np.testing.assert_allclose(sample.content.motion, expected.motion, atol=0.05)


def test_a_clip_that_its_video_does_not_have_is_named(video):
    processor = RcnVideoProcessor(connectivity="geometric", align="none", size={"height": 16, "width": 16})
    good = {"video": str(video), "onset": 12, "apex": 18, "offset": 30}
    with pytest.raises(VideoError, match="clip clip1: the offset 99 lies after the end"):
        load_clips(with_video([good, {**good, "offset": 99}], Value("string")), processor)
