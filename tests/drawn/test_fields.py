import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from mer_hf.action_units import ACTION_UNITS, UNIT_SHARES, displacement
from mer_hf.drawn import rendering
from mer_hf.drawn.fields import (
    PUBLISHED_CROP,
    CropGeometry,
    DrawingSettings,
    aligned_crop,
    as_published_picture,
    draw_fields,
    held_back_settings,
)
from mer_hf.drawn.portraits import STORED_SCALE
from mer_hf.rcn.motion_rcn import optical_flow

NONE = (0.0, 0.0)
BARE = replace(  # the table alone
    DrawingSettings(),
    crops=(PUBLISHED_CROP,),
    extra_unit=0.0,
    asymmetry=0.0,
    one_sided=0.0,
    place_jitter=0.0,
    direction_jitter=0.0,
    bump_size=(1.0, 1.0),
    spatial_exponents=(1.0,),
    face_shift=0.0,
    face_scale=0.0,
    blink=0.0,
    gaze=0.0,
    head_shift=NONE,
    head_turn=NONE,
    head_growth=NONE,
    head_relief=NONE,
    oval=0.0,
    smoothing=(1e-3, 1e-3),  # narrower than a pixel: none
    shrinkage=NONE,
    outliers=0.0,
    noise=NONE,
    edge_noise=NONE,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pixel_places(crop, size):
    """Face coordinates (H, W, 2) of the pixels of a crop, one at a time."""
    height, width = size
    places = np.zeros((height, width, 2))
    for row in range(height):
        for column in range(width):
            places[row, column, 0] = ((column + 0.5) / width - crop.eyes[0]) * crop.width
            places[row, column, 1] = ((row + 0.5) / height - crop.eyes[1]) * crop.height
    return places


def only(units, **changes):
    """The table alone, with one set of units that is all there is."""
    return replace(BARE, unit_shares={"only": {units: 1.0}}, **changes)


def test_a_bare_field_is_the_displacement_of_its_units():
    crop = CropGeometry((0.45, 0.3), 2.0, 2.4)
    drawn = draw_fields(40, (20, 16), generator(), replace(BARE, crops=(crop,), extra_unit=1.0))
    places = pixel_places(crop, (20, 16))
    for flow, units in zip(drawn.flow.numpy(), drawn.units.numpy(), strict=True):
        expected = 0.05 * displacement(places, dict(zip(ACTION_UNITS, units.tolist(), strict=True)))
        np.testing.assert_allclose(flow, np.moveaxis(expected, 2, 0), atol=1e-6)


def test_a_profile_exponent_bends_the_length_and_keeps_direction_and_strength():
    drawn = draw_fields(20, (12, 12), generator(), BARE)
    strength = 0.05 * drawn.units.amax(1)[:, None, None, None]
    plain = drawn.flow / strength
    bent = draw_fields(20, (12, 12), generator(), replace(BARE, spatial_exponents=(1.5,))).flow / strength
    torch.testing.assert_close(bent, plain * plain.norm(dim=1, keepdim=True) ** 0.5, atol=1e-5, rtol=1e-4)


def test_a_turned_bump_is_as_long_as_before():
    unit = replace(ACTION_UNITS[12], bumps=ACTION_UNITS[12].bumps[:1])
    settings = only((12,), action_units={12: unit}, unit_gain=(1.0, 1.0), intensity=(1.0, 1.0))
    straight = draw_fields(300, (28, 28), generator(), settings).flow
    turned = draw_fields(300, (28, 28), generator(), replace(settings, direction_jitter=0.3)).flow
    straight, turned = straight[..., 18:], turned[..., 18:]  # the other side's bump does not reach there
    torch.testing.assert_close(turned.norm(dim=1), straight.norm(dim=1), atol=1e-4, rtol=0)
    u, v = turned[..., 20, 1].T
    right = torch.atan2(v, u) - math.atan2(-0.8, 0.6)
    assert right.std() == pytest.approx(0.3, rel=0.15) and abs(right.mean()) < 0.06


def test_flow_spreads_a_motion_over_its_surroundings():
    wide = only((5,), crops=(CropGeometry((0.5, 0.5), 4.0, 4.0),), skin=(1e3, 0.0))  # nothing is lost at its rim
    sharp, smooth = (
        draw_fields(1, (80, 80), generator(), replace(wide, smoothing=(width, width))).flow[0, 1]
        for width in (1e-3, 0.15)
    )
    assert smooth.sum().item() == pytest.approx(sharp.sum().item(), rel=0.03)
    assert 0.2 < smooth.abs().max() / sharp.abs().max() < 0.5


def test_a_seed_gives_the_same_fields_and_another_gives_others():
    first, second = (draw_fields(8, (16, 16), generator(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.allclose(first.flow, draw_fields(8, (16, 16), generator(4)).flow)


def test_a_generator_goes_on_where_it_was():
    stream = generator()
    assert not torch.allclose(draw_fields(4, (8, 8), stream).flow, draw_fields(4, (8, 8), stream).flow)


def test_sizes_show_the_same_fields():
    coarse, fine = (draw_fields(30, size, generator(), DrawingSettings()) for size in ((28, 28), (84, 84)))
    assert torch.equal(coarse.label, fine.label) and torch.equal(coarse.units, fine.units)
    middle = fine.flow[..., 1::3, 1::3]  # of three pixels the middle one lies where the coarse one does
    error = (middle - coarse.flow).square().mean((1, 2, 3)).sqrt() / coarse.flow.square().mean((1, 2, 3)).sqrt()
    assert error.median() < 0.02 and error.max() < 0.15


@pytest.mark.parametrize("settings", [DrawingSettings(), *held_back_settings().values()])
def test_fields_are_finite_and_move(settings):
    drawn = draw_fields(200, (28, 28), generator(), settings)
    assert drawn.flow.shape == (200, 2, 28, 28) and drawn.flow.dtype == torch.float32
    assert drawn.flow.isfinite().all()
    assert (drawn.flow.std((2, 3)) > 0).all()
    assert 0.003 < drawn.flow.std() < 0.1  # eye distances


def test_classes_are_equally_likely_and_sets_have_their_shares():
    count = 6000
    drawn = draw_fields(count, (1, 1), generator(), replace(BARE, unit_gain=(1.0, 1.0)))
    numbers = list(ACTION_UNITS)
    for index, shares in enumerate(UNIT_SHARES.values()):
        chosen = drawn.units[drawn.label == index] > 0
        assert abs(len(chosen) / count - 1 / 3) < 0.03
        sets = [tuple(number for number, moves in zip(numbers, row, strict=True) if moves) for row in chosen.tolist()]
        assert set(sets) == set(shares)
        for units, share in shares.items():
            # five deviations of a binomial share
            assert abs(sets.count(units) / len(sets) - share) < 5 * math.sqrt(share * (1 - share) / len(sets))


def test_intensities_and_companions_stay_within_the_settings():
    drawn = draw_fields(4000, (1, 1), generator())
    assert drawn.units.min() == 0 and drawn.units[drawn.units > 0].min() > 0.25 * 0.15 and drawn.units.max() < 1.2
    numbers = list(ACTION_UNITS)
    surprise = drawn.units[drawn.label == 2]
    outside = [numbers.index(number) for number in (4, 6, 7, 9, 10, 12, 14, 15, 17, 24)]  # in no set of surprise
    joined = (surprise[:, outside] > 0).sum(1)
    assert joined.max() == 1
    # a companion is any unit outside of the set; sets of surprise have one to three of 15 units
    assert abs(joined.float().mean() - 0.25 * 10 / 13) < 0.04


def test_a_face_at_rest_shows_what_is_around_and_no_unit():
    drawn = draw_fields(2000, (4, 4), generator(), DrawingSettings(rest=0.25))
    rests = drawn.label == -1
    assert abs(rests.float().mean() - 0.25) < 0.05
    assert (drawn.units[rests] == 0).all() and (drawn.units[~rests].amax(1) > 0).all()
    assert (drawn.flow[rests].std((1, 2, 3)) > 0).all()
    assert (draw_fields(50, (4, 4), generator(), replace(BARE, rest=1.0)).flow == 0).all()


def test_one_side_of_some_faces_stays_still_and_neither_side_is_preferred():
    settings = only((12,), one_sided=0.5, asymmetry=0.5)
    flow = draw_fields(800, (28, 28), generator(), replace(settings, crops=(aligned_crop(),))).flow
    left, right = (half.square().sum((1, 2, 3)).sqrt() for half in flow.tensor_split(2, 3))
    still = torch.stack([left < 0.05 * right, right < 0.05 * left]).float().mean(1)
    assert ((still - 0.25).abs() < 0.08).all()
    both = ((left > 0.05 * right) & (right > 0.05 * left)).nonzero()[:, 0]
    ratio = (left[both] / right[both]).log()
    assert abs(ratio.mean()) < 0.1 and abs(ratio.std() - 0.5) < 0.1


def test_mirrored_fields_are_drawn_as_often():
    settings = replace(DrawingSettings(), crops=(aligned_crop(),))
    drawn = draw_fields(3000, (10, 10), generator(), settings)
    mirrored = drawn.flow.flip(3) * torch.tensor([-1.0, 1.0])[:, None, None]
    for label in range(3):
        seen, twin = drawn.flow[drawn.label == label], mirrored[drawn.label == label]
        error = (seen.std(0) + twin.std(0)) / math.sqrt(len(seen))
        assert ((seen.mean(0) - twin.mean(0)).abs() < 4 * error).all()
        for part in (0.1, 0.9):
            difference = (seen.quantile(part, 0) - twin.quantile(part, 0)).abs()
            assert (difference < 0.35 * seen.std(0)).all()


@pytest.mark.parametrize(
    ("crop", "corner"),
    [
        (PUBLISHED_CROP, (0.48 + 0.37 * 0.54, 0.23 + 0.94 * 0.54)),
        (aligned_crop(), (0.5 + 0.37 / 2.22, 0.275 + 0.94 / 2.22)),
        (aligned_crop(0.0), (0.5 + 0.37 / 1.85, 0.23 + 0.94 / 1.85)),
        (CropGeometry((0.4, 0.2), 2.0, 3.0), (0.4 + 0.37 / 2, 0.2 + 0.94 / 3)),
    ],
)
def test_a_pulled_lip_corner_moves_the_corner_of_the_mouth(crop, corner):
    corner_only = replace(ACTION_UNITS[12], bumps=ACTION_UNITS[12].bumps[:1])  # its others move the cheek
    settings = only((12,), action_units={12: corner_only}, crops=(crop,))
    right = draw_fields(1, (120, 100), generator(), settings).flow[0, :, :, 50:]
    row, column = divmod(right.norm(dim=0).argmax().item(), 50)
    assert abs((column + 50.5) / 100 - corner[0]) < 0.012 and abs((row + 0.5) / 120 - corner[1]) < 0.012
    u, v = right[:, row, column]
    assert u > 0 > v  # out and up


def test_the_crops_of_the_settings_are_all_used():
    far = CropGeometry((0.5, -9.0), 1.0, 1.0)  # below every face
    moved = (
        draw_fields(400, (8, 8), generator(), replace(BARE, crops=(PUBLISHED_CROP, far))).flow.norm(dim=1).amax((1, 2))
    )
    assert abs((moved > 1e-4).float().mean() - 0.5) < 0.1


def test_the_wall_behind_the_face_stays_still():
    settings = only((25,), oval=1.0, head_shift=(0.05, 0.0), crops=(CropGeometry((0.5, 0.4), 4.0, 4.0),))
    flow = draw_fields(20, (40, 40), generator(), settings).flow
    assert flow[..., :3, :].abs().max() < 1e-3  # above the face
    assert flow[..., :6].abs().max() < 1e-3  # beside it
    assert (flow[..., 15:17, 20].norm(dim=1) > 0.06).all()  # 0.05 in x and in y


def test_head_motion_is_a_similarity():
    settings = only((25,), intensity=NONE, head_turn=(0.02, 0.0), head_growth=(0.01, 0.0), head_shift=(0.03, 0.0))
    flow = draw_fields(6, (9, 9), generator(), settings).flow.double().numpy()
    x, y = np.moveaxis(pixel_places(PUBLISHED_CROP, (9, 9)), 2, 0)
    basis = np.stack([np.stack([x, y]), np.stack([-y, x]), np.stack([x**0, 0 * x]), np.stack([0 * x, x**0])])
    for field in flow:
        fit, *_ = np.linalg.lstsq(basis.reshape(4, -1).T, field.ravel(), rcond=None)
        np.testing.assert_allclose((fit[:, None, None, None] * basis).sum(0), field, atol=1e-5)
        np.testing.assert_allclose(np.abs(fit[:2]), [0.01, 0.02], rtol=1e-3)


def test_noise_has_its_strength_and_its_spectrum():
    settings = replace(BARE, intensity=NONE, noise=(0.003, 0.0), noise_exponent=(1.6, 1.6))
    flow = draw_fields(600, (32, 32), generator(), settings).flow
    assert flow.square().mean().sqrt() == pytest.approx(0.003, rel=0.03)
    half = torch.arange(32) + 0.5
    cosine = torch.cos(math.pi / 32 * half[:, None] * torch.arange(13))  # amplitudes of half waves along one axis
    amplitude = (cosine.T @ flow.mean(3)[..., None]).square().mean((0, 1)).sqrt()[:, 0]
    slope = np.polyfit(np.log(np.arange(1, 13)), np.log(amplitude[1:].numpy()), 1)[0]
    assert slope == pytest.approx(-1.6, abs=0.1)


def test_flow_shows_less_of_a_motion_along_an_edge_than_of_one_across():
    shown = {}
    for name, motion in {"along": (1.0, 0.0), "across": (0.0, 1.0)}.items():
        unit = replace(
            ACTION_UNITS[26],
            bumps=(replace(ACTION_UNITS[26].bumps[0], x=0.45, y=-0.22, dx=motion[0], dy=motion[1], mid=False),),
        )
        settings = replace(only((26,)), action_units={26: unit}, smoothing=(0.1, 0.1), shrinkage=(0.1, 0.0))
        shown[name] = draw_fields(200, (28, 28), generator(), settings).flow.norm(dim=1).amax((1, 2)).mean()
    assert shown["along"] < 0.8 * shown["across"]


def test_outliers_are_as_many_as_the_settings_say():
    settings = replace(
        BARE, intensity=NONE, outliers=2.0, outlier_shift=(1.0, 0.0), crops=(CropGeometry((0.5, 0.3), 5.0, 5.0),)
    )
    flow = draw_fields(500, (32, 32), generator(), settings).flow
    assert (flow.norm(dim=1).amax((1, 2)) < 0.05).float().mean() == pytest.approx(math.exp(-2), abs=0.06)


def test_a_published_picture_has_each_channel_stretched_to_the_whole_of_a_byte():
    flow = draw_fields(5, (28, 28), generator()).flow
    picture = as_published_picture(flow)
    assert torch.equal(picture, picture.byte().float())
    assert (picture.amin((2, 3)) == 0).all() and (picture.amax((2, 3)) == 255).all()
    for channel, stretched in zip(flow.flatten(0, 1), picture.flatten(0, 1), strict=True):
        expected = [
            round(255 * float((value - channel.min()) / (channel.max() - channel.min()))) for value in channel.flatten()
        ]
        assert (stretched.flatten() - torch.tensor(expected)).abs().max() <= 1
    assert (as_published_picture(torch.full((1, 3, 4, 4), 7.0)) == 0).all()


def drawn_into_clip(clip, emotion_class, size):
    """What the units move (2, H, W), in pixels, at the apex of a clip of subject 0; and what is head (H, W)."""
    stream = rendering.random_stream
    expression = rendering._draw_expression(stream(0, rendering._CLIP_STREAM, 0, clip), emotion_class)
    scene = rendering._draw_scene(stream(0, rendering._SCENE_STREAM, 0, clip), expression.duration)
    portrait, recording = rendering._portrait(0, size, 0), rendering.draw_recording(0, 0)
    view = rendering._draw_view(portrait, expression, scene, recording, size)
    return np.moveaxis(view.units / STORED_SCALE, 2, 0), view.follows[..., 0] > 0.99


def test_flow_measured_on_rendered_clips_agrees_with_the_table_in_direction_and_place():
    size, eye_distance, errors = 256, 76, []
    for clip in range(9):
        rendered = rendering.render_clip(subject=0, clip=clip, fps=50, size=size)
        expected, head = drawn_into_clip(clip, rendered.emotion_class, size)
        onset, apex = (cv2.cvtColor(rendered.frames[i], cv2.COLOR_RGB2GRAY) for i in (rendered.onset, rendered.apex))
        flow = optical_flow(onset, apex)
        flow = (flow - np.median(flow[:, head], 1)[:, None, None]) * head  # the head drifts
        length = np.hypot(*expected)
        moving = length > 0.5 * length.max()
        cosine = (flow * expected).sum(0)[moving] / np.maximum(np.hypot(*flow) * length, 1e-9)[moving]
        # where the field that was drawn fits best, if it may be shifted by half of the face
        product = (np.fft.rfft2(flow) * np.fft.rfft2(expected * head).conj()).sum(0)
        offset = np.fft.fftfreq(size, 1 / size)
        shift = np.hypot(offset[:, None], offset) / eye_distance
        fit = np.where(shift < 1, np.fft.irfft2(product, (size, size)), -np.inf)
        errors.append((np.rad2deg(np.arccos(np.median(cosine))), shift.flat[fit.argmax()]))
    degrees, shift = np.median(errors, 0)
    assert degrees < 20 and shift < 0.12


def test_errors_name_what_was_given():
    with pytest.raises(ValueError, match=r"units \[99\]"):
        DrawingSettings(unit_shares={"negative": {(4, 99): 1.0}})
    with pytest.raises(ValueError, match="crops is empty"):
        DrawingSettings(crops=())
    with pytest.raises(ValueError, match="0 fields of 8 x 9"):
        draw_fields(0, (8, 9), generator())
