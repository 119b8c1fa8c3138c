"""Motion over a pair of frames: what is known of it is found, and the head is taken off, but nothing else."""

import cv2
import numpy as np
import pytest
import torch

from mer_hf.rcn.motion_rcn import FIT_SCALE, FIT_STEPS, GRID, face_oval, grid_places, pair_field, residual_motion

PLACE = np.array([[60.0, 0, 160], [0, 60.0, 90]])  # face coordinates -> pixels


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.normal(0, 1, (240, 320)).astype(np.float32), (0, 0), 2.5)
    return np.clip(128 + 300 * smooth, 0, 255).astype(np.uint8)


def moved(frame, right, down):
    """A frame whose picture has moved by as many pixels as the maps (H, W), or numbers, say."""
    y, x = np.indices(frame.shape, np.float32)
    return cv2.remap(frame, x - np.float32(right), y - np.float32(down), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def test_a_shift_is_found_in_eye_distances(frame):
    field = pair_field(frame, moved(frame, 1.5, -0.9), PLACE)
    assert field.shape == (2, *GRID)
    np.testing.assert_allclose(field[0][2:-2, 1:-1], 1.5 / 60, atol=0.003)
    np.testing.assert_allclose(field[1][2:-2, 1:-1], -0.9 / 60, atol=0.003)


def test_cells_are_where_their_face_coordinates_say(frame):
    """A bump of motion around a place shows most in the cell there."""
    for centre in ((-0.4, -0.2), (0.4, 0.6), (0.0, 1.1)):
        y, x = np.indices(frame.shape)
        u, v = PLACE[0, 0] * centre[0] + PLACE[0, 2], PLACE[1, 1] * centre[1] + PLACE[1, 2]
        bump = 1.5 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 10**2))
        field = pair_field(frame, moved(frame, 0, bump), PLACE)
        row, column = np.unravel_index(field[1].argmax(), GRID)
        assert np.abs(grid_places()[:, row, column].numpy() - centre).max() <= 0.15


def test_jitter_of_the_transform_cancels(frame):
    rng = np.random.default_rng(1)
    jittered = PLACE + np.column_stack([np.zeros((2, 2)), rng.normal(0, 0.5, 2)])
    assert np.abs(pair_field(frame, frame, jittered)).max() < 1e-3


def test_a_head_that_moves_leaves_nothing():
    x, y = grid_places()
    head = torch.stack([0.03 + 0.01 * x - 0.02 * y, -0.02 + 0.02 * x + 0.015 * y])
    motion = residual_motion(head[None])
    assert motion.field.abs().max() < 1e-5
    assert motion.head.item() == pytest.approx(head.square().sum(0)[face_oval() > 0].mean().sqrt().item(), rel=1e-3)
    assert motion.fit.item() == pytest.approx(1, abs=1e-3)


def test_an_expression_is_left_where_the_head_is_taken_off():
    x, y = grid_places()
    bump = -0.04 * torch.exp(-((x - 0.3) ** 2 + (y + 0.2) ** 2) / (2 * 0.15**2))
    head = torch.stack([0.05 + 0.01 * x, 0.02 * y])
    field = residual_motion((head + torch.stack([0 * bump, bump]))[None]).field[0]
    on_face = face_oval() > 0
    assert (field[1] - bump)[on_face].abs().max() < 0.004, "plain least squares would spread a tenth of it"
    assert field[0][on_face].abs().max() < 0.004


def test_nothing_is_left_off_the_face():
    field = residual_motion(torch.randn(3, 2, *GRID)).field
    assert (field[..., face_oval() == 0] == 0).all() and (field[..., face_oval() > 0] != 0).all()


def test_the_fit_is_that_of_the_textbook():
    """The twin fits one component of one field after the other, with NumPy's least squares."""
    fields = 0.02 * torch.randn(4, 2, *GRID, generator=torch.Generator().manual_seed(2)) ** 3
    on_face = face_oval().flatten().numpy() > 0
    x, y = grid_places().flatten(1).double().numpy()[:, on_face]
    terms = np.stack([np.ones_like(x), x, y], 1)
    for index, field in enumerate(fields.flatten(2).double().numpy()[:, :, on_face]):
        weights = np.ones(len(x))
        for _ in range(FIT_STEPS):
            root = np.sqrt(weights)[:, None]
            fit = np.stack([np.linalg.lstsq(root * terms, root[:, 0] * part, rcond=None)[0] for part in field])
            left = field - fit @ terms.T
            squared = (left**2).sum(0)
            weights = 1 / (1 + squared / max((weights * squared).sum() / weights.sum(), FIT_SCALE**2))
        found = residual_motion(fields[index]).field.flatten(1)[:, on_face]
        np.testing.assert_allclose(found, left, atol=1e-5)


def test_leading_axes_are_kept():
    fields = torch.randn(3, 5, 2, *GRID)
    motion = residual_motion(fields)
    assert motion.field.shape == fields.shape and motion.head.shape == motion.fit.shape == (3, 5)
    torch.testing.assert_close(motion.field[1, 2], residual_motion(fields[1, 2]).field)
