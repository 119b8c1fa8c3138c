"""What the network is given: crops, flow windows, jittered and resampled time, and the way there and back on disk."""

import json
import re

import cv2
import numpy as np
import pytest
import torch
from transformers import AutoVideoProcessor

from mer_hf.drawn import rendering
from mer_hf.drawn.rendering import render_clip
from mer_hf.rcn import video_processing_rcn
from mer_hf.rcn.decoding_rcn import Budget, Video, VideoError
from mer_hf.rcn.errors_rcn import MerHfError
from mer_hf.rcn.faces_rcn import FaceError, align_clip
from mer_hf.rcn.motion_rcn import flow_picture, flow_sequence, optical_flow
from mer_hf.rcn.temporal_rcn import KERNELS, TemporalJitter, linear_operator
from mer_hf.rcn.video_processing_rcn import (
    MOST_FLOWS,
    ClipMotion,
    MotionBatch,
    RcnVideoProcessor,
    collate,
    fewer_frames,
)

GEOMETRIC = {"size": {"height": 16, "width": 16}, "crop_size": {"height": 32, "width": 32}, "align": "none"}
APPEARANCE = {
    "connectivity": "appearance",
    "num_channels": 1,
    "num_frames": 5,
    "size": {"height": 12, "width": 8},
    "align": "none",
}
FLOWS = {**GEOMETRIC, "connectivity": "sequence", "num_channels": 2, "num_frames": 5}
SEQUENCE = {**APPEARANCE, "connectivity": "sequence", "num_channels": 3, "size": {"height": 12, "width": 12}}


def video(frames: int = 30, fps: float = 100.0, size: int = 40) -> Video:
    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.integers(0, 256, (size, size + frames, 3), dtype=np.uint8), (0, 0), 1.5)
    pictures = np.stack([scene[:, index : index + size] for index in range(frames)])
    return Video(np.ascontiguousarray(pictures), np.arange(frames) / fps)


@pytest.fixture(scope="module")
def face():
    return render_clip(subject=3, clip=0, emotion_class="surprise", size=96, fps=200.0)


def crops_of(clip, height, width=None):
    """Grey crops of the centred square, as the processor makes them, without it."""
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip.frames])
    crops, _ = align_clip(grey, 100.0, height, width or height, align="none")
    return crops


def test_a_sequence_of_two_channels_is_the_flow_from_the_onset_to_every_frame():
    processor = RcnVideoProcessor(**FLOWS)
    assert (processor.sees_flow, processor.crop) == (True, {"height": 32, "width": 32})
    clip = video(frames=9)
    sequence, crops = processor.clip_sequence(clip), crops_of(clip, 32)
    assert sequence.frames.shape == (9, 2, 16, 16)
    assert not sequence.frames[0].any()
    for index in range(1, 9):
        flow = optical_flow(crops[0], crops[index]).reshape(2, 16, 2, 16, 2).mean((2, 4))
        np.testing.assert_allclose(sequence.frames[index], flow, atol=1e-5)
    pixels = processor(clip)["pixel_values_videos"]
    resampled = torch.from_numpy(sequence.frames[::2])[None]  # 9 frames to 5: every second one
    torch.testing.assert_close(pixels, flow_sequence(resampled), atol=1e-5, rtol=1e-4)


def test_a_flow_sequence_is_without_the_motion_of_the_head_and_on_one_scale():
    flow = torch.randn(2, 4, 2, 6, 6)
    shifted = flow_sequence(3 * flow + torch.randn(2, 4, 2, 1, 1))
    torch.testing.assert_close(shifted, flow_sequence(flow), atol=1e-5, rtol=1e-4)
    assert shifted.square().mean((1, 2, 3, 4)).tolist() == pytest.approx([1, 1], rel=1e-4)
    weaker = flow * torch.tensor([1, 0.5, 0.25, 0])[:, None, None, None]
    strength = flow_sequence(weaker).square().mean((2, 3, 4)).sqrt()
    expected = flow_sequence(flow).square().mean((2, 3, 4)).sqrt() * torch.tensor([1, 0.5, 0.25, 0])
    torch.testing.assert_close(strength / strength[:, :1], expected / expected[:, :1])
    assert not flow_sequence(torch.ones(1, 4, 2, 6, 6)).any()


def test_of_many_frames_neighbours_are_averaged_before_flow():
    few = np.random.default_rng(0).integers(0, 256, (MOST_FLOWS, 4, 4), dtype=np.uint8)
    assert fewer_frames(few, MOST_FLOWS) is few
    many = np.random.default_rng(0).integers(0, 256, (3 * MOST_FLOWS, 4, 4), dtype=np.uint8)
    means = many.reshape(MOST_FLOWS, 3, 4, 4).mean(1)
    assert np.abs(fewer_frames(many, MOST_FLOWS) - means).max() <= 0.501
    processor = RcnVideoProcessor(**FLOWS)
    assert len(processor.clip_sequence(video(frames=50)).frames) == MOST_FLOWS


def test_a_jittered_flow_sequence_is_one_of_its_own_flows_resampled_and_counts_from_its_first_moment():
    processor = RcnVideoProcessor(**FLOWS)
    batch = collate([processor.clip_sequence(video(frames=frames)) for frames in (9, 12)])
    jitter, seeds = TemporalJitter(), (torch.Generator().manual_seed(3) for _ in range(2))
    found = processor.model_input(batch, jitter, next(seeds))
    operators = jitter(batch.lengths, 5, next(seeds), 12)
    flow = torch.einsum("bts,bschw->btchw", operators, batch.frames)
    torch.testing.assert_close(found, flow_sequence(flow - flow[:, :1]), atol=1e-5, rtol=1e-4)
    assert flow[:, 0].abs().max() > 0.01
    assert not found[:, 0].any()


def test_the_flow_of_a_window_is_that_of_its_frames_one_by_one():
    processor = RcnVideoProcessor(**GEOMETRIC, apex_window=0.03, onset_window=0.02)
    clip = video(fps=100.0)
    sequence = processor.clip_sequence(clip, apex=12, windows=True)
    grey = crops_of(clip, 32)
    for index, flow in enumerate(sequence.motion):
        expected = [
            cv2.resize(p, (16, 16), interpolation=cv2.INTER_AREA) for p in optical_flow(grey[0], grey[9 + index])
        ]
        np.testing.assert_array_equal(flow, np.stack(expected))
    assert len(sequence.motion) == 7  # 30 ms on both sides of the apex
    assert len(sequence.onsets) == 3  # the onset and 20 ms after it
    assert np.abs(sequence.onsets[0]).max() < 0.05  # the onset does not move against itself


@pytest.mark.parametrize(("apex", "frames"), [(28, 3), (29, 1), (4, 3), (1, 1), (0, 1), (12, 7)])
def test_the_apex_stays_in_the_middle_of_its_window(apex, frames):
    processor = RcnVideoProcessor(**GEOMETRIC, apex_window=0.03, onset_window=0.02)
    sequence = processor.clip_sequence(video(), apex, windows=True)
    assert (len(sequence.motion), sequence.apex) == (frames, frames // 2)
    grey = crops_of(video(), 32)
    middle = cv2.resize(optical_flow(grey[0], grey[max(apex, 1)])[0], (16, 16), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(sequence.motion[sequence.apex, 0], middle)


def test_a_slow_camera_leaves_onset_and_apex_alone():
    sequence = RcnVideoProcessor(**GEOMETRIC).clip_sequence(video(frames=8, fps=10.0), apex=4, windows=True)
    assert len(sequence.motion) == len(sequence.onsets) == 1


def test_a_clip_without_apex_has_it_spotted(face):
    processor = RcnVideoProcessor(**GEOMETRIC)
    clip = Video(face.frames, np.arange(len(face.frames)) / 200)
    sequence = processor.clip_sequence(clip)
    assert sequence.motion.shape[1:] == (2, 16, 16)
    assert len(sequence.motion) == 2 * sequence.apex + 1


@pytest.mark.parametrize("windows", [True, False])
def test_geometric_input_is_the_picture_of_the_flow_from_onset_to_apex(windows):
    processor = RcnVideoProcessor(**GEOMETRIC)
    sequence = processor.clip_sequence(video(), apex=12, windows=windows)
    grey = crops_of(video(), 32)
    flow = [cv2.resize(part, (16, 16), interpolation=cv2.INTER_AREA) for part in optical_flow(grey[0], grey[12])]
    picture = processor.model_input(collate([sequence]))
    torch.testing.assert_close(picture[0, 0], flow_picture(torch.from_numpy(np.stack(flow)), 3))


def test_jitter_draws_apex_and_onset_from_their_windows():
    """With nearest-frame kernels and no drops, a drawn picture is that of one frame of each window."""
    processor = RcnVideoProcessor(**GEOMETRIC, apex_window=0.03, onset_window=0.02)
    sequence = processor.clip_sequence(video(), apex=12, windows=True)
    jitter = TemporalJitter(ratios=(0.0,), kernels=("nearest",))
    batch = collate([sequence] * 40)
    drawn = processor.model_input(batch, jitter=jitter, generator=torch.Generator().manual_seed(0))
    frames, reference = torch.from_numpy(sequence.motion), torch.from_numpy(sequence.onsets)
    possible = {(a, o): flow_picture(frames[a] - reference[o], 3) for a in range(7) for o in range(3)}
    seen = set()
    for picture in drawn[:, 0]:
        matches = [pair for pair, expected in possible.items() if torch.allclose(picture, expected, atol=1e-4)]
        assert matches
        seen.update(matches)
    assert {a for a, _ in seen} == set(range(7))
    assert {o for _, o in seen} == set(range(3))


def test_frames_are_resampled_in_time_and_scaled():
    processor = RcnVideoProcessor(**SEQUENCE, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.2, 0.1])
    clip = video(frames=9)
    pixels = processor([clip])["pixel_values_videos"]
    crops, _ = align_clip(clip.frames, 100.0, 12, 12, align="none")
    crops = torch.from_numpy(np.moveaxis(crops, 3, 1)).float() / 255
    resampled = torch.einsum("ts,schw->tchw", linear_operator(torch.tensor([9]), 5)[0], crops)
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.5, 0.4, 0.3], [0.2, 0.2, 0.1]))
    torch.testing.assert_close(pixels[0], (resampled - mean) / std)


def test_a_narrow_input_sees_the_middle_columns_of_the_square():
    processor = RcnVideoProcessor(**APPEARANCE)
    clip = video(frames=5)
    pixels = processor([clip])["pixel_values_videos"]
    middle = crops_of(clip, 12)[:, :, 2:10]
    torch.testing.assert_close(pixels[0, :, 0], torch.from_numpy(middle).float() / 255)


@pytest.mark.filterwarnings("ignore:.*nothing moves")  # two frames of a shifting picture
@pytest.mark.parametrize("options", [GEOMETRIC, APPEARANCE, SEQUENCE])
def test_videos_of_different_lengths_are_prepared_together_as_alone(options):
    processor = RcnVideoProcessor(**options)
    clips = [video(frames=30), video(frames=6), video(frames=2)]
    batch = processor.model_input(collate([processor.clip_sequence(clip, windows=True) for clip in clips]))
    for clip, together in zip(clips, batch, strict=True):
        torch.testing.assert_close(processor(clip)["pixel_values_videos"][0], together)


@pytest.mark.parametrize("options", [GEOMETRIC, APPEARANCE, SEQUENCE])
def test_a_saved_processor_prepares_equally(options, tmp_path):
    processor = RcnVideoProcessor(**options)
    processor.save_pretrained(tmp_path)
    loaded = RcnVideoProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    first, second = (p(video())["pixel_values_videos"] for p in (processor, loaded))
    assert torch.equal(first, second)


def test_the_face_models_are_saved_and_found_again_where_the_code_has_none(tmp_path, monkeypatch, face):
    RcnVideoProcessor(num_frames=1).save_pretrained(tmp_path / "model")
    assert {"face_landmark.tflite", "face_detection_short_range.tflite", "NOTICE"} <= {
        path.name for path in (tmp_path / "model").iterdir()
    }
    monkeypatch.setattr(video_processing_rcn, "FOLDER", tmp_path / "a cache of code")
    loaded = RcnVideoProcessor.from_pretrained(tmp_path / "model")
    assert loaded.face_models == str(tmp_path / "model")
    assert "face_models" not in loaded.to_dict()
    loaded.save_pretrained(tmp_path / "again")
    again = RcnVideoProcessor.from_pretrained(tmp_path / "again")
    expected = RcnVideoProcessor()(face.frames, fps=200.0)["pixel_values_videos"]
    assert torch.equal(again(face.frames, fps=200.0)["pixel_values_videos"], expected)


def test_a_rendered_face_is_aligned(face):
    clip = RcnVideoProcessor().aligned_clip(face.frames, apex=face.apex, fps=200.0)
    assert clip.frames.shape == (len(face.frames), 128, 128)
    assert clip.fps == pytest.approx(200.0)
    assert (clip.apex, clip.face.problems) == (face.apex, ())
    assert clip.face.face.eye_distance > 20


@pytest.mark.filterwarnings("ignore:.*jumps")  # noise
def test_options_of_one_call_do_not_stay():
    processor = RcnVideoProcessor(**GEOMETRIC)
    noise = np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
    plain = processor(noise)["pixel_values_videos"]
    flagged = processor([noise, noise], align="mesh", face_problems="flag")
    assert len(flagged["problems"]) == 2
    assert "no face" in flagged["problems"][0][0]
    assert torch.equal(flagged["pixel_values_videos"][:1], plain)  # the centred square is the best there is
    with pytest.raises(FaceError, match="no face"):
        processor(noise, align="mesh")
    assert (processor.align, processor.face_problems) == ("none", "raise")
    assert "problems" not in processor(noise)
    with pytest.raises(ValueError, match="alpha is no option of RcnVideoProcessor; it has align"):
        processor(noise, alpha=3)


def test_frames_at_uneven_times_are_put_on_even_ones():
    processor = RcnVideoProcessor(**APPEARANCE)
    even = video(frames=41, fps=100.0)
    kept = np.r_[0:20, 20:41:4]  # the camera slows down
    uneven = Video(even.frames[kept], even.times[kept])
    expected, taken_as_even = (processor(clip)["pixel_values_videos"] for clip in (even, uneven.frames))
    error = (processor(uneven)["pixel_values_videos"] - expected).abs().mean()
    assert error < 0.4 * (taken_as_even - expected).abs().mean()
    clip = processor.aligned_clip(uneven, apex=10)
    assert clip.apex == round(uneven.times[10] * clip.fps)
    assert len(clip.frames) == len(kept)


def test_times_that_a_container_rounds_are_even():
    clip = video(frames=30, fps=120.0)
    rounded = Video(clip.frames, clip.times.round(3))
    first, second = (RcnVideoProcessor(**APPEARANCE).aligned_clip(each).frames for each in (clip, rounded))
    np.testing.assert_array_equal(first, second)


def test_magnified_motion_is_larger(face):
    options = {"connectivity": "appearance", "num_channels": 1, "num_frames": 9, "size": {"height": 128, "width": 128}}
    flows = []
    for magnification in (0.0, 8.0):
        clip = RcnVideoProcessor(**options, magnification=magnification).aligned_clip(face.frames, fps=200.0)
        flow = optical_flow(clip.frames[0], clip.frames[face.apex])
        flows.append(np.hypot(*(flow - np.median(flow, axis=(1, 2), keepdims=True))).mean())
    assert flows[1] > 1.3 * flows[0]


@pytest.mark.parametrize("method", ["dis", "farneback", "tvl1"])
def test_flow_is_measured_as_asked(method):
    clip = video(fps=100.0)
    sequence = RcnVideoProcessor(**GEOMETRIC, flow=method).clip_sequence(clip, apex=3)
    grey = crops_of(clip, 32)
    flow = [cv2.resize(part, (16, 16), interpolation=cv2.INTER_AREA) for part in optical_flow(grey[0], grey[3], method)]
    np.testing.assert_array_equal(sequence.motion[0], np.stack(flow))


def test_a_fast_and_a_slow_camera_give_nearly_the_same_input(monkeypatch):
    """How nearly depends on the face: flow is noise where skin has no texture. So several faces are looked at."""
    monkeypatch.setattr(rendering, "NOISE", (0.5, 0.5))
    processor = RcnVideoProcessor(**{**GEOMETRIC, "crop_size": {"height": 128, "width": 128}})

    def motion(subject, fps):
        clip = render_clip(subject=subject, clip=0, emotion_class="surprise", fps=fps)
        seen = Video(clip.frames, np.arange(len(clip.frames)) / fps)
        return processor([seen], apex=clip.apex)["pixel_values_videos"][0, 0, :2].flatten()

    fast, slow = torch.stack([torch.stack([motion(subject, fps) for fps in (100.0, 40.0)]) for subject in range(5)], 1)
    similar = torch.cosine_similarity(fast[:, None], slow[None], dim=2)
    assert similar.diagonal().mean() > 0.6
    assert (similar.argmax(1) == torch.arange(5)).all()  # nobody's motion is more like somebody else's


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"connectivity": "optical"}, "one of geometric, appearance, sequence, got 'optical'"),
        ({"connectivity": "appearance", "num_channels": 3}, r"appearance takes \(1,\) channels, got 3"),
        ({"interpolation": "spline"}, f"linear, tim, {', '.join(KERNELS)}, got 'spline'"),
        ({"align": "eyes"}, "align must be one of mesh, box, none, got 'eyes'"),
        ({"face_problems": "ignore"}, "face_problems must be one of raise, flag, got 'ignore'"),
        ({"flow": "horn"}, "flow must be one of dis, farneback, tvl1, got 'horn'"),
        ({"margin": -0.1}, "margin must be a number of 0 or more, to 10, got -0.1"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        RcnVideoProcessor(**options)


def test_a_single_frame_shows_no_motion():
    with pytest.raises(VideoError, match="at least 2 frames to show a motion, this one has 1"):
        RcnVideoProcessor(**GEOMETRIC)([video(frames=1)])


def test_an_apex_outside_the_clip_is_refused():
    with pytest.raises(ValueError, match="apex is frame 30 of a clip of 30 frames"):
        RcnVideoProcessor(**GEOMETRIC).clip_sequence(video(frames=30), apex=30)


def test_collated_sequences_are_padded_to_the_longest():
    sequences = [
        ClipMotion(np.ones((n, 2, 4, 4), np.float32), n // 2, np.ones((m, 2, 4, 4), np.float32))
        for n, m in [(3, 1), (5, 2)]
    ]
    batch = collate(sequences)
    assert isinstance(batch, MotionBatch)
    assert batch.motion.shape == (2, 5, 2, 4, 4)
    assert batch.motion[0, 3:].abs().sum() == 0
    assert batch.lengths.tolist() == [3, 5]
    assert batch.apex.tolist() == [1, 2]
    assert batch.onset_lengths.tolist() == [1, 2]


# --- what is doubtful ---


def doubtful(source, **options):
    processor = RcnVideoProcessor(**{**GEOMETRIC, "crop_size": 128, **options})
    return processor.clip_sequence(source).problems


@pytest.mark.parametrize("options", [{}, APPEARANCE, SEQUENCE])
def test_a_clip_in_which_nothing_moves_is_told(face, options):
    noise = np.random.default_rng(0).normal(0, 2, (10, *face.frames[0].shape))
    for still in ([face.frames[0]] * 10, (face.frames[0] + noise).clip(0, 255).astype(np.uint8)):
        problems = doubtful(np.stack(still), **options)
        assert [problem.split(":")[0] for problem in problems] in (["nothing moves"], [])
        assert problems or options  # the smallest of crops show the noise alone
    assert doubtful(np.stack([face.frames[0]] * 10), **options)


def test_an_expression_is_not_doubtful(face):
    assert doubtful(Video(face.frames, np.arange(len(face.frames)) / 200)) == ()


def test_a_clip_that_is_longer_than_an_expression_is_told_and_refused_by_option(face):
    slow = Video(face.frames, np.arange(len(face.frames)) / 15)
    assert "the clip lasts" in doubtful(slow)[0]
    with pytest.raises(VideoError, match="the clip lasts"):
        doubtful(slow, clip_problems="raise")
    with pytest.warns(UserWarning, match="the clip lasts|the motion takes"):
        RcnVideoProcessor(**{**GEOMETRIC, "crop_size": 128})(slow, fps=15)


def test_a_hole_and_a_cut_are_told(face):
    times = np.arange(len(face.frames)) / 200
    times[20:] += 1.0
    assert any("no frames for" in problem for problem in doubtful(Video(face.frames, times)))
    cut = np.concatenate([face.frames[:30], 255 - face.frames[30:]])
    assert any("the picture jumps at" in problem for problem in doubtful(cut))


def test_a_part_of_a_video_is_prepared_as_if_it_were_cut(face):
    clip = Video(face.frames, np.arange(len(face.frames)) / 200)
    processor = RcnVideoProcessor(**GEOMETRIC)
    part = processor(clip, start=0.05, end=0.2)["pixel_values_videos"]
    cut = processor(Video(face.frames[10:41], np.arange(31) / 200))["pixel_values_videos"]
    assert torch.equal(part, cut)


# --- how much it may ask for ---


def test_a_clip_of_more_frames_than_the_budget_is_refused():
    processor = RcnVideoProcessor(**APPEARANCE, budget=Budget(frames=20))
    with pytest.raises(VideoError, match="more than 20 frames"):
        processor(video())
    assert processor(video(), end=0.19)["pixel_values_videos"].shape[1] == 5
    assert processor(video(), budget=Budget())["pixel_values_videos"].shape[1] == 5


@pytest.mark.parametrize(
    "options",
    [
        {"size": 10**5},
        {"crop_size": {"height": 9000, "width": 9000}},
        {"connectivity": "sequence", "num_frames": 10**7},
    ],
)
def test_an_input_that_is_larger_than_the_budget_is_refused_before_it_is_made(options):
    with pytest.raises(ValueError, match="budget="):
        RcnVideoProcessor(**options)


def test_the_budget_is_not_taken_from_a_file(tmp_path):
    RcnVideoProcessor(**GEOMETRIC, budget=Budget(frames=9)).save_pretrained(tmp_path)
    file = tmp_path / "video_preprocessor_config.json"
    options = json.loads(file.read_text())
    assert "budget" not in options
    file.write_text(json.dumps({**options, "budget": {"frames": 10**9}, "face_models": "/elsewhere"}))
    loaded = RcnVideoProcessor.from_pretrained(tmp_path)
    assert loaded.budget == Budget()
    assert loaded.face_models != "/elsewhere"


# --- options as others write them ---


@pytest.mark.parametrize("size", [16, {"height": 16, "width": 16}, [16, 16], (16, 16)])
def test_a_size_may_be_one_number(size):
    for processor in (RcnVideoProcessor(**{**GEOMETRIC, "size": size}), RcnVideoProcessor().with_options(size=size)):
        assert dict(processor.size) == {"height": 16, "width": 16}


WRONG = [
    {"size": {"shortest_edge": 20}},
    {"size": "x"},
    {"size": None},
    {"size": 0},
    {"size": [1, 2, 3]},
    {"size": {"height": 4.5, "width": 4}},
    {"crop_size": 8},
    {"num_frames": 0},
    {"num_frames": 1e308},
    {"size": {"height": 1, "width": 60}},
    {"num_frames": "4"},
    {"num_frames": None},
    {"num_channels": "3"},
    {"num_channels": True},
    {"connectivity": ["geometric"]},
    {"align": None},
    {"clip_problems": "ignore"},
    {"margin": "0.1"},
    {"margin": float("nan")},
    {"magnification": None},
    {"magnification_band": 3},
    {"magnification_band": [10, 1]},
    {"image_mean": "grey"},
    {"image_std": 0},
    {"image_std": [1.0, 2.0]},
    {"do_rescale": False},
    {"do_resize": False},
    {"device": "cuda"},
    {"video_metadata": {}},
    {"rescale_factor": 1.0},
    {"algin": "mesh"},
    {"preprocess": 3},
    {"_check": None},
    {"self": 1},
]


@pytest.mark.parametrize("options", WRONG, ids=lambda options: str(options))
def test_options_that_mean_nothing_are_refused_wherever_they_are_given(options, tmp_path):
    (name,) = options
    attempts = [
        lambda: RcnVideoProcessor().with_options(**options),
        lambda: AutoVideoProcessor.from_pretrained(tmp_path / "wrong"),
        lambda: RcnVideoProcessor.from_pretrained(tmp_path / "right", **options),
        lambda: RcnVideoProcessor(**options),
    ]
    for folder in ("right", "wrong"):
        RcnVideoProcessor().save_pretrained(tmp_path / folder)
    file = tmp_path / "wrong" / "video_preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **options}))
    for attempt in attempts[1:2] if name == "self" else attempts:
        with pytest.raises(MerHfError, match=re.escape(name)) as raised:
            attempt()
    if name != "self":
        return
    assert str(tmp_path / "wrong") in str(raised.value)


@pytest.mark.parametrize("text", ["[]", "3", '"x"', "null", "[" * 100000, b"\xff\xfe{}"])
def test_a_file_that_holds_no_options_is_an_error_that_names_it(tmp_path, text):
    RcnVideoProcessor().save_pretrained(tmp_path)
    file = tmp_path / "video_preprocessor_config.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((MerHfError, OSError), match=re.escape(str(tmp_path))):
        RcnVideoProcessor.from_pretrained(tmp_path)


@pytest.mark.parametrize("apex", [float("nan"), 2.5, "3", -1])
def test_an_apex_that_is_no_frame_is_refused(apex):
    with pytest.raises(MerHfError, match="apex is frame"):
        RcnVideoProcessor(**GEOMETRIC).clip_sequence(video(), apex=apex)


def test_the_video_of_a_batch_that_cannot_be_prepared_is_named(tmp_path):
    processor = RcnVideoProcessor(**GEOMETRIC)
    with pytest.raises(VideoError, match="video 2 of 2: a clip needs at least 2 frames"):
        processor([video(), video(frames=1)])
    with pytest.raises(VideoError, match=re.escape(str(tmp_path / "gone.mp4"))):
        processor([video(), tmp_path / "gone.mp4"])
