"""Drawn image sequences: what moves in them, what the camera adds, and rendered clips beside them."""

import itertools

import numpy as np
import pytest
import torch

from mer_hf.drawn import images
from mer_hf.drawn.images import ImageSettings, draw_images, drawn_faces, face_crop, still_face
from mer_hf.drawn.rendering import render_clip
from mer_hf.errors import MerHfError
from mer_hf.rcn.faces_rcn import CROP_EYE_LINE, CROP_SIDE, align_clip, crop_matrix
from mer_hf.rcn.modeling_rcn import changes_of
from mer_hf.rcn.motion_rcn import optical_flow

NONE = (0.0, 0.0)
NO_CAMERA = {"light": 0.0, "contrast": 0.0, "sensor": NONE, "crop_shift": 0.0, "crop_scale": 0.0, "crop_turn": 0.0}
NO_HEAD = {"head_shift": NONE, "head_turn": NONE, "head_growth": NONE, "head_relief": NONE, "drift": 0.0, "quick": 0.0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def textured(height, width, count=3):
    noise = torch.rand(count, 1, height // 8, width // 8, generator=generator(1)) * 255
    return torch.nn.functional.interpolate(noise, (height, width), mode="bicubic")[:, 0].clamp(0, 255).to(torch.uint8)


def test_the_flow_between_drawn_frames_is_the_displacement_that_was_drawn():
    settings = ImageSettings(**NO_CAMERA, blink=0.0, gaze=0.0, amplitude=0.08, intensity=(0.8, 1.0), careless=0.0)
    drawn = draw_images(4, 5, textured(256, 192), generator(), settings)
    crop = face_crop(128, 96)
    for frames, motion in zip(drawn.frames[:, :, 0], drawn.motion, strict=True):
        strongest = int(motion.square().mean((1, 2, 3)).argmax())
        first, apex = (frame.to(torch.uint8).numpy() for frame in (frames[0], frames[strongest]))
        found = optical_flow(first, apex)
        expected = (motion[strongest] * torch.tensor([96 / crop.width, 128 / crop.height])[:, None, None]).numpy()
        inside = (slice(None), slice(12, -12), slice(12, -12))
        error = np.linalg.norm((found - expected)[inside], axis=0)
        assert np.linalg.norm(expected[inside], axis=0).max() > 1
        assert np.median(error) < 0.15
        assert np.corrcoef(found[inside].ravel(), expected[inside].ravel())[0, 1] > 0.95


def test_nothing_changes_where_nothing_moves_and_no_camera_adds_anything():
    settings = ImageSettings(**NO_CAMERA, **NO_HEAD, rest=1.0, blink=0.0, gaze=0.0)
    drawn = draw_images(6, 4, textured(32, 24), generator(), settings)
    assert torch.equal(drawn.frames, drawn.frames[:, :1].expand_as(drawn.frames))
    assert drawn.label.tolist() == [-1] * 6


def test_a_camera_adds_noise_that_no_frame_shares_and_light_that_all_pixels_share():
    still = {**NO_CAMERA, **NO_HEAD, "rest": 1.0, "blink": 0.0, "gaze": 0.0}
    grey = torch.full((1, 32, 24), 128, dtype=torch.uint8)
    noisy = draw_images(50, 4, grey, generator(), ImageSettings(**{**still, "sensor": (4.0, 0.0)})).frames
    assert (noisy - 128).std() == pytest.approx(4, rel=0.05)
    assert abs(((noisy[:, 0] - 128) * (noisy[:, 1] - 128)).mean()) < 0.5
    lit = draw_images(50, 4, grey, generator(), ImageSettings(**{**still, "light": 0.05})).frames
    assert lit.mean((2, 3, 4)).std() > 1
    assert lit.flatten(2).std(2).max() < 0.1


def test_a_seed_draws_the_same_sequences():
    faces = textured(32, 24)
    first, again, other = (draw_images(5, 3, faces, generator(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not torch.equal(first.frames, other.frames)


@pytest.mark.parametrize("faces", [torch.zeros(2, 9, 8, dtype=torch.uint8), torch.zeros(2, 8, 8), torch.zeros(8, 8)])
def test_faces_of_another_shape_are_refused(faces):
    with pytest.raises(MerHfError, match="faces must be"):
        draw_images(2, 3, faces, generator())


@pytest.mark.parametrize(("height", "width"), [(64, 48), (48, 48), (48, 64)])
def test_a_crop_lies_on_the_face_where_the_front_end_cuts_it_out(height, width):
    crop, eyes = face_crop(height, width), np.array([0.0, 0.0, 1.0])
    to_crop = crop_matrix(np.eye(2, 3), height, width, 0.1)
    assert to_crop[0, 0] == pytest.approx(width / crop.width)
    middle = to_crop @ eyes
    assert (middle[0] + 0.5) / width == pytest.approx(crop.eyes[0], abs=1e-6)
    assert (middle[1] + 0.5) / height == pytest.approx(crop.eyes[1], abs=1e-6)
    assert pytest.approx(max(crop.width, crop.height)) == CROP_SIDE * 1.2
    assert 0 < CROP_EYE_LINE < 0.5


def test_drawn_faces_are_made_once_and_lie_as_the_front_end_would_cut_them_out(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    faces = drawn_faces(32, 24, count=2)
    assert faces.shape == (2, 64, 48)
    assert not torch.equal(faces[0], faces[1])
    monkeypatch.setattr(images, "still_face", None)
    assert torch.equal(drawn_faces(32, 24, count=2), faces)


@pytest.mark.slow
def test_drawn_sequences_change_as_rendered_clips_do_through_the_whole_front_end():
    """How strongly pixels change, how much of it is noise from frame to frame, and where on the face."""
    faces = torch.from_numpy(np.stack([still_face(number, 128, 96) for number in range(4)]))
    drawn = draw_images(100, 8, faces, generator()).frames / 255
    rendered = []
    for subject, number in itertools.product(range(90, 94), range(2)):
        clip = render_clip(subject=subject, clip=number, fps=30.0)
        grey, _ = align_clip(clip.frames, 30.0, 64, 48, problems="flag")
        chosen = grey[np.linspace(0, len(grey) - 1, 8).round().astype(int)]
        rendered.append((chosen @ np.array([0.299, 0.587, 0.114], np.float32))[:, None] / 255)
    rendered = torch.from_numpy(np.stack(rendered)).float()

    def summary(frames):
        difference = (frames - frames[:, :1]).square().mean((1, 2, 3, 4)).sqrt() / frames[:, 0].std((1, 2, 3))
        step = (frames[:, 1:] - frames[:, :-1]).square().mean((1, 2, 3, 4)).sqrt() / frames[:, 0].std((1, 2, 3))
        where = changes_of(frames)[:, -3:].square().mean((0, 1, 2))
        return float(difference.median()), float((step / difference).median()), where

    (strength, noise, where), (expected, expected_noise, expected_where) = summary(drawn), summary(rendered)
    assert 0.5 < strength / expected < 2
    assert 0.6 < noise / expected_noise < 1.6
    smooth = [torch.nn.functional.avg_pool2d(each[None], 8).flatten() for each in (where, expected_where)]
    assert torch.corrcoef(torch.stack(smooth))[0, 1] > 0.5
