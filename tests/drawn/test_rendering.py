from dataclasses import replace

import numpy as np
import pytest
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade

from mer_hf.drawn import rendering
from mer_hf.drawn.rendering import clip_class, render_clip


def test_render_clip_refuses_an_unknown_class_and_a_negative_clip():
    with pytest.raises(ValueError, match="'happy'; expected one of negative, positive, surprise"):
        render_clip(subject=0, clip=0, emotion_class="happy", size=64)
    with pytest.raises(ValueError, match="clip is -1; expected 0 or more"):
        render_clip(subject=0, clip=-1, size=64)


def test_any_class_can_be_asked_for_with_still_time_around_it():
    clip = render_clip(subject=99, clip=0, emotion_class="positive", size=64, fps=30, lead_in=0.5, lead_out=0.4)
    assert clip.frames.dtype == np.uint8 and clip.frames.shape[1:] == (64, 64, 3)
    assert clip.emotion_class == "positive" and clip.emotion == "happiness" and 12 in clip.action_units
    assert clip.onset == 15 < clip.apex < clip.offset == len(clip.frames) - 1 - 12


def test_another_rate_samples_the_same_motion():
    slow = render_clip(subject=0, clip=1, size=64, fps=100)
    fast = render_clip(subject=0, clip=1, size=64, fps=200)
    assert (slow.emotion, slow.action_units) == (fast.emotion, fast.action_units)
    assert slow.apex / 100 == pytest.approx(fast.apex / 200, abs=0.01)
    assert slow.offset / 100 == pytest.approx(fast.offset / 200, abs=0.011)


def view_of(subject, clip, size, seed=0):
    expression = rendering._draw_expression(
        rendering.random_stream(seed, rendering._CLIP_STREAM, subject, clip), clip_class(subject, clip, seed)
    )
    scene = rendering._draw_scene(np.random.default_rng(0), expression.duration)
    portrait, recording = rendering._portrait(subject, size, seed), rendering.draw_recording(subject, seed)
    return rendering._draw_view(portrait, expression, scene, recording, size), expression


@pytest.mark.parametrize("size", [64, 128])
def test_units_move_the_face_by_one_to_three_pixels_of_256(size):
    for clip in range(12):
        view, expression = view_of(0, clip, size)
        frame_pixels = np.linalg.norm(view.units, axis=-1).max() / rendering.STORED_SCALE
        assert frame_pixels == pytest.approx(expression.peak * size / 256, rel=1e-3)
        assert 1 <= expression.peak <= 3


def test_no_motion_folds_the_face():
    for subject in range(2):
        for clip in range(12):
            view, _ = view_of(subject, clip, 64)
            for motion in (view.units, view.lids):
                source = rendering.STORED_SCALE * view.grid - motion
                across = np.diff(source[..., 0], axis=1)
                down = np.diff(source[..., 1], axis=0)
                assert across.min() >= 0 and down.min() >= -1e-3


def test_expression_is_zero_at_rest_one_at_the_apex_and_falls_after():
    _, expression = view_of(0, 0, 64)
    times = np.linspace(-0.2, 0.8, 1001)
    level = rendering._profile(expression, times, 0.1, 0.3)
    assert (level[times <= 0] == 0).all()
    assert level.max() == pytest.approx(1) and times[level.argmax()] == pytest.approx(0.1, abs=1e-3)
    assert (np.diff(level[(times > 0) & (times < 0.1)]) > 0).all() and (np.diff(level[times > 0.101]) <= 1e-9).all()
    assert level[-1] == 0


def test_the_apex_is_seen_to_move_most_when_nothing_else_moves(monkeypatch):
    monkeypatch.setattr(rendering, "EXPRESSION", replace(rendering.EXPRESSION, blink=0.0, gaze=0.0))
    for name, value in {"HEAD_SHIFT": 0, "FLICKER": 0, "NOISE": (0, 0)}.items():
        monkeypatch.setattr(rendering, name, value)
    for name in ("DRIFT_SHIFT", "DRIFT_TURN", "DRIFT_SCALE"):
        monkeypatch.setattr(rendering, name, (0.0, 0.0))
    clip = render_clip(subject=0, clip=0, size=96)
    change = np.abs(clip.frames.astype(float) - clip.frames[clip.onset]).sum(axis=(1, 2, 3))
    assert change.argmax() == pytest.approx(clip.apex, abs=2)


@pytest.mark.parametrize(
    ("emotion_class", "units", "emotion"),
    [
        ("positive", (12,), "happiness"),
        ("surprise", (1, 2), "surprise"),
        ("negative", (4, 7), "disgust"),
        ("negative", (15, 17), "repression"),
        ("negative", (14,), "repression"),
    ],
)
def test_emotions_are_worded_as_in_the_release(emotion_class, units, emotion):
    assert rendering._emotion(emotion_class, units) == emotion


def test_a_face_detector_finds_every_subject():
    detector = Cascade(lbp_frontal_face_cascade_filename())
    for subject in range(5):
        frame = render_clip(subject=subject, clip=0, fps=20).frames[0]
        found = detector.detect_multi_scale(
            img=frame, scale_factor=1.2, step_ratio=1, min_size=(100, 100), max_size=(256, 256)
        )
        assert len(found) == 1
        middle = found[0]["c"] + found[0]["width"] / 2, found[0]["r"] + found[0]["height"] / 2
        assert middle == pytest.approx((128, 140), abs=25)
