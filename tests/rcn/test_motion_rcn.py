"""Motion against known warps, naive twins, and the invariances that the network counts on."""

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from mer_hf.rcn.motion_rcn import (
    flow_picture,
    motion_energy,
    moving_pixels,
    optical_flow,
    optical_strain,
    spot_apex,
)


def real_face(size: int = 128) -> np.ndarray:
    astronaut = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2GRAY)
    return cv2.resize(astronaut[20:276, 96:352], (size, size), interpolation=cv2.INTER_AREA)


def raised_brow(size: int, pixels: float) -> np.ndarray:
    """A bump of motion upwards at the brow of the real face, (2, H, W)."""
    y, x = np.mgrid[:size, :size] / size
    bump = np.exp(-((x - 0.55) ** 2 + (y - 0.25) ** 2) / (2 * 0.08**2))
    return np.stack([np.zeros_like(bump), -pixels * bump])


def warp(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: len(picture), : len(picture)].astype(np.float32)
    # backward: what is at p after the motion was at p - flow(p), to first order
    moved = cv2.remap(picture, x - flow[0].astype(np.float32), y - flow[1].astype(np.float32), cv2.INTER_CUBIC)
    return moved


def test_flow_finds_a_sub_pixel_motion_of_a_real_face_in_noise_and_brighter_light():
    face, truth = real_face(), raised_brow(128, 0.75)
    rng = np.random.default_rng(0)
    moved = warp(face, truth).astype(np.float32) * 1.02
    first, second = (np.clip(p + rng.normal(0, 2, p.shape), 0, 255).astype(np.uint8) for p in (face, moved))
    flow = optical_flow(first, second)
    moving = np.abs(truth[1]) > 0.2
    error = np.linalg.norm(flow - truth, axis=0)[moving].mean()
    assert flow.dtype == np.float32
    assert flow.shape == (2, 128, 128)
    assert error < 0.2  # pixels; a fifth of what is measured would still be a quarter of the motion
    assert flow[1][moving].mean() < -0.25


def test_flow_points_right_and_down():
    face = real_face()
    flow = optical_flow(face, np.roll(np.roll(face, 2, 1), 1, 0))
    assert np.median(flow[0]) == pytest.approx(2, abs=0.1)
    assert np.median(flow[1]) == pytest.approx(1, abs=0.1)


def naive_strain(flow: np.ndarray) -> np.ndarray:
    _, height, width = flow.shape
    strain = np.zeros((height, width))
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            ux, vx = (flow[:, y, x + 1] - flow[:, y, x - 1]) / 2
            uy, vy = (flow[:, y + 1, x] - flow[:, y - 1, x]) / 2
            strain[y, x] = np.sqrt(ux**2 + vy**2 + (uy + vx) ** 2 / 2)
    return strain


def test_strain_is_its_formula_pixel_by_pixel():
    flow = np.random.default_rng(0).normal(size=(2, 9, 7))
    strain = optical_strain(torch.from_numpy(flow))[0].numpy()
    np.testing.assert_allclose(strain[1:-1, 1:-1], naive_strain(flow)[1:-1, 1:-1])


def test_a_turn_of_the_head_has_no_strain():
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    turn = 0.01 * torch.stack([-y, x])
    assert optical_strain(turn).abs().max() < 1e-7


@pytest.mark.parametrize("channels", [2, 3])
def test_a_flow_picture_forgets_head_shift_and_strength(channels):
    flow = torch.from_numpy(raised_brow(32, 1.0)).float()[None]
    shifted = 3 * flow + torch.tensor([5.0, -2.0])[:, None, None]
    torch.testing.assert_close(flow_picture(flow, channels), flow_picture(shifted, channels), atol=1e-4, rtol=1e-4)


def test_a_flow_picture_has_unit_scale_and_keeps_directions():
    flow = torch.from_numpy(raised_brow(32, 1.0)).float()
    picture = flow_picture(flow, 3)
    assert picture.shape == (3, 32, 32)
    assert picture[:2].square().mean().sqrt() == pytest.approx(1, rel=1e-4)
    assert picture[2].square().mean().sqrt() == pytest.approx(1, rel=1e-4)
    assert picture[1].min() < -2  # still upwards
    torch.testing.assert_close(flow_picture(torch.zeros(2, 8, 8), 3), torch.zeros(3, 8, 8))


def test_a_published_flow_picture_becomes_that_of_its_flow():
    flow = torch.from_numpy(raised_brow(32, 1.0)).float()
    flow[0] = flow[1].flip(-1)  # u and v of one range, which keeps their ratio in the stretching to 0..255
    parts = torch.cat([flow, optical_strain(flow)])
    low, high = parts.amin((1, 2), keepdim=True), parts.amax((1, 2), keepdim=True)
    published = (255 * (parts - low) / (high - low)).round()
    torch.testing.assert_close(flow_picture(published, 3), flow_picture(flow, 3), atol=0.05, rtol=0)


def test_energy_is_the_summed_difference_from_the_first_frame():
    clip = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    expected = sum(np.abs(frame.astype(float) - clip[0]) for frame in clip)
    np.testing.assert_allclose(motion_energy(clip), expected / expected.max(), rtol=1e-6)
    assert not motion_energy(np.zeros((5, 4, 3), np.uint8)).any()


def test_moving_pixels_are_the_upper_quarter_opened_by_a_disk():
    energies = np.zeros((2, 12, 12))
    energies[0, 3:8, 3:8] = 1.0
    energies[1, 10, 1] = 1.0  # a lone pixel, which opening removes
    mask = moving_pixels(energies)
    expected = np.zeros((12, 12), bool)
    expected[3:8, 3:8] = True
    expected[[3, 3, 7, 7], [3, 7, 3, 7]] = False  # a cross does not reach into corners
    np.testing.assert_array_equal(mask, expected)


def test_a_mask_that_opening_would_empty_is_left_as_it_is():
    energies = np.zeros((1, 8, 8))
    energies[0, ::2, ::2] = 1.0
    np.testing.assert_array_equal(moving_pixels(energies), energies[0] > 0)


def test_a_mask_of_still_clips_keeps_every_pixel():
    assert moving_pixels(np.zeros((3, 8, 8))).all()


def test_the_apex_is_where_the_difference_from_the_onset_varies_most():
    face = real_face(64)
    levels = np.concatenate([np.linspace(0, 1, 12), np.linspace(1, 0, 18)[1:]])
    clip = np.stack([warp(face, level * raised_brow(64, 3.0)) for level in levels])
    assert abs(spot_apex(clip) - 11) <= 1


def test_the_apex_of_a_still_clip_is_its_middle():
    assert spot_apex(np.full((9, 16, 16), 7, np.uint8)) == 4
    assert spot_apex(np.full((1, 16, 16), 7, np.uint8)) == 0
