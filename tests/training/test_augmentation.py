import math

import numpy as np
import pytest
import torch

from mer_hf.training.augmentation import Augmentation, mirror_at_random, mix, transform


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clips_of(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


@pytest.mark.parametrize("connectivity", ["geometric", "sequence"])
def test_a_mirrored_clip_has_its_columns_reversed_and_its_horizontal_motion_inverted(connectivity):
    clips = clips_of(64, 2, 3, 4, 5)
    given = clips.clone()
    mirrored = mirror_at_random(clips, generator(1), connectivity)
    assert torch.equal(clips, given)
    turned = 0
    for clip, result in zip(clips.numpy(), mirrored.numpy(), strict=True):
        expected = np.zeros_like(clip)
        for column in range(5):
            expected[..., column] = clip[..., 4 - column]
        if connectivity == "geometric":
            expected[:, 0] = -expected[:, 0]
        turned += np.array_equal(result, expected)
        assert np.array_equal(result, expected) or np.array_equal(result, clip)
    assert 16 < turned < 48
    assert torch.equal(mirrored, mirror_at_random(clips, generator(1), connectivity))


def naive_transform(clip, angle, scale, shift, connectivity):
    """One clip (T, C, H, W): every pixel asks where it comes from, and reads bilinearly between the four around."""
    height, width = clip.shape[2:]
    cosine, sine = math.cos(angle), math.sin(angle)
    result = np.zeros_like(clip)
    for row in range(height):
        for column in range(width):
            x = (column + 0.5 - width / 2 - shift[0] * width) / scale
            y = (row + 0.5 - height / 2 - shift[1] * height) / scale
            x, y = cosine * x + sine * y + width / 2 - 0.5, -sine * x + cosine * y + height / 2 - 0.5
            x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
            left, top = min(int(x), width - 2), min(int(y), height - 2)
            across, down = x - left, y - top
            upper = (1 - across) * clip[:, :, top, left] + across * clip[:, :, top, left + 1]
            lower = (1 - across) * clip[:, :, top + 1, left] + across * clip[:, :, top + 1, left + 1]
            value = (1 - down) * upper + down * lower
            if connectivity == "geometric":
                u, v = value[:, 0].copy(), value[:, 1].copy()
                value[:, 0], value[:, 1] = cosine * u - sine * v, sine * u + cosine * v
            result[:, :, row, column] = value
    return result


@pytest.mark.parametrize("connectivity", ["geometric", "sequence"])
def test_a_transform_is_what_each_pixel_reads_where_it_comes_from_and_vectors_turn(connectivity):
    clips = clips_of(4, 2, 3, 6, 9)
    angles, scales = torch.tensor([0.0, 0.4, -1.0, 2.5]), torch.tensor([1.0, 1.2, 0.7, 1.0])
    shifts = torch.tensor([[0.0, 0.0], [0.1, -0.2], [0.0, 0.3], [-0.1, 0.0]])
    result = transform(clips, angles, scales, shifts, connectivity)
    torch.testing.assert_close(result[0], clips[0])
    for clip, angle, scale, shift, found in zip(clips, angles, scales, shifts, result, strict=True):
        expected = naive_transform(clip.numpy(), float(angle), float(scale), shift.tolist(), connectivity)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_spot_that_moves_right_lies_below_and_moves_down_after_a_quarter_turn():
    clip = torch.zeros(1, 1, 2, 5, 5)
    clip[0, 0, 0, 2, 4] = 1  # in the middle of the right edge, u = 1
    turned = transform(clip, torch.tensor([math.pi / 2]), torch.ones(1), torch.zeros(1, 2), "geometric")
    expected = torch.zeros_like(clip)
    expected[0, 0, 1, 4, 2] = 1  # in the middle of the bottom, v = 1
    torch.testing.assert_close(turned, expected, atol=1e-6, rtol=0)


def test_what_is_drawn_stays_in_its_range_and_follows_the_seed():
    gradient = torch.arange(20.0).expand(500, 1, 1, 20, 20)
    shifted = Augmentation(shift=0.1)(gradient, generator(), "sequence")
    moved = (gradient - shifted)[:, 0, 0, 10, 10] / 20
    assert -0.1 <= moved.min() < -0.09
    assert 0.09 < moved.max() <= 0.1
    noisy = Augmentation(noise=0.3)(torch.zeros(100, 1, 1, 20, 20), generator(), "sequence")
    assert noisy.std() == pytest.approx(0.3, rel=0.02)
    everything = Augmentation(mirror=True, rotation=10, scale=0.1, shift=0.1, noise=0.1)
    clips = clips_of(8, 1, 3, 6, 6)
    given = clips.clone()
    drawn = everything(clips, generator(), "geometric")
    assert torch.equal(clips, given)
    assert torch.equal(drawn, everything(clips, generator(), "geometric"))
    assert not torch.equal(drawn, everything(clips, generator(1), "geometric"))


def test_nothing_is_changed_where_nothing_is_asked_for():
    clips = clips_of(8, 1, 3, 6, 6)
    assert Augmentation()(clips, generator(), "geometric") is clips


def test_mixing_takes_a_share_of_each_clip_and_the_rest_of_its_partner():
    clips = clips_of(5, 1, 2, 3, 3)
    order, share = Augmentation(mixup=0.4).draw_mix(5, generator())
    assert sorted(order.tolist()) == list(range(5))
    mixed = mix(clips, order, share)
    for row in range(5):
        torch.testing.assert_close(mixed[row], share * clips[row] + (1 - share) * clips[int(order[row])])
    shares = [Augmentation(mixup=0.4).draw_mix(5, generator(seed))[1] for seed in range(400)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.15)  # of Beta(a, a)


@pytest.mark.parametrize("wrong", [{"rotation": 200}, {"scale": 1}, {"noise": -1}, {"mixup": "much"}, {"shift": None}])
def test_a_number_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augmentation(**wrong)
