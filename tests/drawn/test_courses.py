"""Sequences of flow over the course of an expression: what is known of them, and rendered clips beside them."""

import numpy as np
import pytest
import torch

from mer_hf.drawn.bumps import Draws
from mer_hf.drawn.courses import CourseSettings, draw_courses, draw_levels, ease
from mer_hf.drawn.fields import aligned_crop, held_back_settings
from mer_hf.drawn.rendering import render_clip
from mer_hf.errors import MerHfError
from mer_hf.rcn.motion_rcn import flow_sequence
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor

NONE = (0.0, 0.0)
STILL_HEAD = {"head_shift": NONE, "head_turn": NONE, "head_growth": NONE, "head_relief": NONE}
QUIET = {"blink": 0.0, "gaze": 0.0, "outliers": 0.0, "noise": NONE, "edge_noise": NONE, "oval": 0.0, **STILL_HEAD}
EXACT = {"coding_error": NONE, "careless": 0.0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_quiet_course_is_one_field_that_rises_and_falls():
    settings = CourseSettings(**QUIET, **EXACT, remainder=NONE)
    drawn = draw_courses(20, 9, (16, 16), generator(), settings)
    assert torch.equal(drawn.flow[:, 0], torch.zeros_like(drawn.flow[:, 0]))
    strength = drawn.flow.square().mean((2, 3, 4)).sqrt()
    for flow, level in zip(drawn.flow, strength, strict=True):
        apex = int(level.argmax())
        assert 0 < apex < 8
        assert level[-1] < 1e-3 * level[apex]
        assert (level[: apex + 1].diff() >= 0).all()
        assert (level[apex:].diff() <= 0).all()
        for frame, part in zip(flow, level / level[apex], strict=True):
            torch.testing.assert_close(frame, part * flow[apex], atol=1e-6, rtol=1e-4)


def test_levels_are_those_of_the_times_of_the_frames():
    """The expression's course, a second time, of one sequence at a time."""
    settings = CourseSettings(coding_error=NONE, careless=1.0)
    levels = draw_levels(Draws(30, generator(3), torch.device("cpu")), 7, settings)[..., 0]
    draws = Draws(30, generator(3), torch.device("cpu"))
    duration, off = draws.uniform(*settings.duration, 1), draws.uniform(-0.1, 0.1, 2)
    draws.normal(1, 2), draws.chance(1.0, 1)
    rise, exponent = draws.uniform(*settings.rise, 1) * duration, draws.uniform(*settings.time_exponent, 1)
    left = draws.uniform(*settings.remainder, 1)
    for row in range(30):
        whole, up = float(duration[row]), float(rise[row])
        first = float(off[row, 0])
        last = max(whole + float(off[row, 1]), first + whole / 2)
        expected = []
        for time in np.linspace(first, last, 7):
            level = float(ease(torch.tensor(time / up)) ** exponent[row])
            if time > up:
                fall = float(ease(torch.tensor((whole - time) / (whole - up))) ** exponent[row])
                level = float(left[row]) + (1 - float(left[row])) * fall
            expected.append(level * (1 - float(ease(torch.tensor((time - whole) / whole)))))
        np.testing.assert_allclose(levels[row].numpy(), np.array(expected) - expected[0], atol=1e-5)


def test_the_noise_of_the_first_frame_is_in_every_flow_and_that_of_the_others_is_not():
    bare = {**QUIET, "noise": (0.01, 0.0), "intensity": NONE}
    shared = draw_courses(8, 6, (12, 12), generator(), CourseSettings(**bare, shared_noise=1.0)).flow[:, 1:]
    torch.testing.assert_close(shared, shared[:, :1].expand_as(shared))
    own = draw_courses(200, 6, (12, 12), generator(), CourseSettings(**bare, shared_noise=0.0)).flow[:, 1:]
    assert own.square().mean().sqrt() == pytest.approx(0.01 / 2**0.5 * 2**0.5, rel=0.1)
    alike = (own[:, 0] * own[:, 1]).mean() / own.square().mean()
    assert abs(alike) < 0.05


def test_a_seed_draws_the_same_and_classes_come_equally_often():
    first, again, other = (draw_courses(300, 4, (8, 8), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.flow, again.flow)
    assert not torch.equal(first.flow, other.flow)
    assert min(torch.bincount(first.label)) > 70
    assert first.units.shape == (300, 15)
    resting = draw_courses(50, 4, (8, 8), generator(), CourseSettings(rest=1.0))
    assert resting.label.tolist() == [-1] * 50
    assert not resting.units.any()


def test_held_back_versions_of_courses_are_courses():
    shifted = held_back_settings(CourseSettings(careless=0.0))
    assert all(isinstance(settings, CourseSettings) and settings.careless == 0 for settings in shifted.values())
    assert shifted["around"].blink == 0.8


@pytest.mark.parametrize(("count", "frames", "size"), [(0, 4, (8, 8)), (2, 1, (8, 8)), (2, 4, (0, 8))])
def test_nothing_to_draw_is_an_error(count, frames, size):
    with pytest.raises(MerHfError, match="nothing to draw"):
        draw_courses(count, frames, size, generator())


def rendered_flows(subjects=4, clips=2, fps=50.0):
    """Flow sequences of rendered clips through the front end, (N, 8, 2, 28, 28)."""
    processor = RcnVideoProcessor(
        connectivity="sequence", num_channels=2, num_frames=8, size=28, clip_problems="flag", face_problems="flag"
    )
    shown = [(90 + subject, clip) for subject in range(subjects) for clip in range(clips)]
    frames = (render_clip(subject=subject, clip=clip, fps=fps).frames for subject, clip in shown)
    return torch.cat([processor(list(each), fps=fps)["pixel_values_videos"] for each in frames])


@pytest.mark.slow
def test_drawn_courses_are_like_those_of_rendered_clips():
    """Strength over time, smoothness over the picture, and likeness from frame to frame."""

    def summary(flows):
        level = flows.square().mean((2, 3, 4)).sqrt().mean(0)
        rough = (flows.diff(dim=-1).square().mean() / flows.square().mean()).sqrt()
        later, before = flows[:, 5], flows[:, 4]
        alike = ((later * before).mean((1, 2, 3)) / (later.square() * 1).mean((1, 2, 3)).sqrt()).mean()
        return level, float(rough), float(alike / before.square().mean((1, 2, 3)).sqrt().mean())

    drawn = flow_sequence(draw_courses(400, 8, (28, 28), generator(), CourseSettings(crops=(aligned_crop(),))).flow)
    found, expected = summary(drawn), summary(rendered_flows())
    assert torch.allclose(found[0][1:], expected[0][1:], rtol=0.5)
    assert 0.5 < found[1] / expected[1] < 2
    assert abs(found[2] - expected[2]) < 0.25
