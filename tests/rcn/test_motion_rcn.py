"""Motion against known warps, naive twins, and the invariances that the network counts on."""

import sys
import time
import tracemalloc

import cv2
import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import skimage.data
import torch

from mer_hf.rcn.motion_rcn import (
    FLOW_METHODS,
    apex_of,
    doubts,
    flow_picture,
    magnify,
    motion_curve,
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
    """The picture whose every point p has moved to p + flow(p)."""
    y, x = np.mgrid[: len(picture), : len(picture)].astype(np.float32)
    u, v = flow = flow.astype(np.float32)
    for _ in range(8):  # what is at q came from q - flow(p): found by going back and forth
        u, v = (cv2.remap(part, x - u, y - v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in flow)
    return cv2.remap(picture.astype(np.float32), x - u, y - v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def film(pictures, rng: np.random.Generator, noise: float = 2.0) -> np.ndarray:
    """What a camera makes of pictures: sensor noise, in levels of 255, and rounding."""
    pictures = np.asarray(pictures, np.float32)
    return np.clip(np.rint(pictures + rng.normal(0, noise, pictures.shape)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("brightness", [1.02, 1.05])
@pytest.mark.parametrize("size", [128, 256])
@pytest.mark.parametrize(("method", "limit"), [("dis", 0.12), ("farneback", 0.18), ("tvl1", 0.14)])
def test_flow_finds_a_sub_pixel_motion_of_a_real_face_in_noise_and_brighter_light(method, limit, size, brightness):
    y, x = np.mgrid[:size, :size] / size
    cheek = 0.7 * np.exp(-((x - 0.42) ** 2 + (y - 0.62) ** 2) / (2 * 0.1**2))
    truth = raised_brow(size, 1.5 * size / 256) + 1.5 * size / 256 * np.stack([cheek, -cheek])
    face = real_face(size)
    flow = optical_flow(*film([face, brightness * warp(face, truth)], np.random.default_rng(0)), method=method)
    moving = np.linalg.norm(truth, axis=0) > 0.15 * size / 256
    assert flow.dtype == np.float32
    assert flow.shape == (2, size, size)
    assert np.linalg.norm(flow - truth, axis=0)[moving].mean() < limit  # pixels


@pytest.mark.parametrize("method", FLOW_METHODS)
def test_flow_points_right_and_down(method):
    face = real_face()
    flow = optical_flow(face, np.roll(np.roll(face, 2, 1), 1, 0), method)
    assert np.median(flow[0]) == pytest.approx(2, abs=0.1)
    assert np.median(flow[1]) == pytest.approx(1, abs=0.1)


def test_tvl1_without_scikit_image_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.registration", None)
    with pytest.raises(ImportError, match=r"pip install mer_hf\[tvl1\], or choose another"):
        optical_flow(real_face(32), real_face(32), "tvl1")


@pytest.mark.parametrize("shapes", [((32, 32), (32, 31)), ((32, 32, 3), (32, 32, 3)), ((11, 32), (11, 32))])
def test_pictures_between_which_there_is_no_flow_are_refused(shapes):
    first, second = (np.zeros(shape, np.uint8) for shape in shapes)
    for method in FLOW_METHODS:
        with pytest.raises(ValueError, match=r"one size, at least 12 pixels a side, got uint8 \(.*\) and uint8 \("):
            optical_flow(first, second, method)


@pytest.mark.parametrize("method", FLOW_METHODS)
def test_pictures_on_another_scale_are_refused(method):
    with pytest.raises(ValueError, match=r"two grey uint8 pictures.*got float32"):
        optical_flow(*(real_face(32).astype(np.float32) / 255,) * 2, method)


def test_an_unknown_flow_is_refused():
    with pytest.raises(ValueError, match="dis, farneback, tvl1, got 'horn-schunck'"):
        optical_flow(real_face(32), real_face(32), "horn-schunck")


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


def naive_energy(clip: np.ndarray, interval: int | None) -> np.ndarray:
    last = len(clip) - 1
    pairs = [(0, t) for t in range(last + 1)]
    if interval is not None:
        pairs = [(t, t + interval) for t in range(len(clip) - interval)] or [(0, last)]
    energy = sum(np.abs(clip[later].astype(float) - clip[earlier]) for earlier, later in pairs)
    return energy / energy.max()


@pytest.mark.parametrize("interval", [None, 1, 4, 10])
@pytest.mark.parametrize("length", [2, 10, 11, 25])
def test_energy_is_the_summed_difference_of_its_pairs_of_frames(length, interval):
    clip = np.random.default_rng(0).integers(0, 256, (length, 4, 3), dtype=np.uint8)
    energy = motion_energy(clip, interval)
    np.testing.assert_allclose(energy, naive_energy(clip, interval), rtol=1e-5)
    assert energy.dtype == np.float32


@pytest.mark.parametrize("interval", [None, 10])
@pytest.mark.parametrize("length", [1, 5, 20])
def test_a_still_clip_has_no_energy(length, interval):
    assert not motion_energy(np.full((length, 4, 3), 9, np.uint8), interval).any()


def test_an_interval_of_no_frames_is_refused():
    with pytest.raises(ValueError, match="at least 1 frame, got 0"):
        motion_energy(np.zeros((5, 4, 3), np.uint8), 0)


def naive_moving_pixels(energies: np.ndarray) -> np.ndarray:
    """Quartile by sorting, opening by asking every pixel for its neighbours."""
    clips, height, width = energies.shape
    mean = [[sum(energies[c, y, x] for c in range(clips)) / clips for x in range(width)] for y in range(height)]
    ranked = sorted(value for row in mean for value in row)
    place = 0.75 * (len(ranked) - 1)
    below = int(place)
    quartile = ranked[below] + (place - below) * (ranked[min(below + 1, len(ranked) - 1)] - ranked[below])
    radius = 1 if height < 100 else 3 if height < 200 else 5
    reach = range(-radius, radius + 1)
    disk = [(dy, dx) for dy in reach for dx in reach if dy * dy + dx * dx <= radius * radius]
    pixels = {(y, x) for y in range(height) for x in range(width)}
    above = {(y, x) for y, x in pixels if mean[y][x] > quartile}
    # outside of the picture there is nothing to keep a disk from fitting
    centres = {
        (y, x) for y, x in pixels if all((y + j, x + i) in above or (y + j, x + i) not in pixels for j, i in disk)
    }
    opened = {(y + j, x + i) for y, x in centres for j, i in disk} & pixels
    mask = np.zeros((height, width), bool)
    for y, x in opened:
        mask[y, x] = True
    return mask


@pytest.mark.parametrize("height", [24, 64, 110, 210])
def test_moving_pixels_are_those_of_the_naive_twin(height):
    energies = np.random.default_rng(height).random((3, height, 40))
    energies = np.stack([cv2.GaussianBlur(energy, (0, 0), height / 16) for energy in energies])
    mask = moving_pixels(energies)
    assert mask.any()
    np.testing.assert_array_equal(mask, naive_moving_pixels(energies))


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


def bump(length: int, apex: int) -> np.ndarray:
    """The level of an expression over a clip: half a cosine up to the apex, another one down."""
    t = np.arange(length)
    return 0.5 - 0.5 * np.cos(np.pi * np.where(t <= apex, t / apex, (length - 1 - t) / (length - 1 - apex)))


def recorded(length: int, apex: int, pixels: float, drift: float, flicker: float, seed: int = 0) -> np.ndarray:
    """A brow that rises by `pixels` of 128 and falls, as a clip shows it: drifting head, flickering light, noise."""
    rng, time = np.random.default_rng(seed), np.linspace(0, 1, length)
    y, x = np.mgrid[:128, :128] / 128 - 0.5
    head = np.stack([1 - 0.3 * y, -0.6 + 0.3 * x])  # a shift and a turn
    steps = zip(bump(length, apex), time**1.5, 1 + flicker * np.sin(9 * time), strict=True)
    return film(
        [gain * warp(real_face(), b * raised_brow(128, pixels) + d * drift * head) for b, d, gain in steps], rng
    )


def naive_curve(clip: np.ndarray) -> np.ndarray:
    small = [cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA).astype(float) for frame in clip]
    small = np.stack([scipy.ndimage.gaussian_filter(frame, 1.5, mode="mirror") for frame in small])
    small = scipy.ndimage.gaussian_filter1d(
        small, len(clip) / 16, axis=0, mode="reflect", radius=int(np.ceil(3 * len(clip) / 16))
    )
    y, x = np.mgrid[:31, :31] / 30 - 0.5
    weight = np.exp(-(x**2 + y**2) / (2 * 0.25**2))
    inner = np.s_[1:-1:2, 1:-1:2]

    def residual(frame):
        middle = (frame + small[0]) / 2
        gy, gx = (gradient[inner] for gradient in np.gradient(middle))
        columns = [gx, gy, x * gx, y * gx, x * gy, y * gy, middle[inner], np.ones((31, 31))]
        rows = np.stack([(np.sqrt(weight) * column).ravel() for column in columns], 1)
        change = (np.sqrt(weight) * (frame - small[0])[inner]).ravel()
        return change - rows @ np.linalg.lstsq(rows, change, rcond=None)[0]

    changes = [residual(frame) for frame in small]
    last = len(clip) - 1
    bent = [change - t / last * changes[-1] for t, change in enumerate(changes)]
    return np.array([np.sqrt((change**2).sum() / weight.sum()) for change in bent])


@pytest.mark.parametrize("length", [6, 20])
def test_the_motion_curve_is_its_naive_twin(length):
    clip = recorded(length, length // 2, 1.0, drift=1.0, flicker=0.02)
    curve = motion_curve(clip)
    assert curve.dtype == np.float32
    np.testing.assert_allclose(curve, naive_curve(clip), atol=0.01 * curve.max())


def test_a_long_clip_has_the_curve_of_its_stretches():
    """Each frame shown four times: the curve of the frames, at a quarter of its pace."""
    clip = recorded(300, 120, 1.0, drift=0.5, flicker=0.01)
    curve, slow = motion_curve(clip), motion_curve(np.repeat(clip, 4, axis=0))
    assert slow.shape == (1200,)
    np.testing.assert_allclose(slow[2::4], curve, atol=0.03 * curve.max())
    assert abs(spot_apex(np.repeat(clip, 4, axis=0)) - 4 * spot_apex(clip)) < 12


def test_time_grows_with_the_clip_and_memory_does_not():
    class Clip:
        """Frames that are made when they are asked for."""

        ndim = 3
        still = real_face(64)

        def __init__(self, length):
            self.length = length

        def __len__(self):
            return self.length

        def __getitem__(self, part):
            return [self.still] * (part.stop - part.start)

    def cost(length):
        tracemalloc.start()
        started = time.process_time()
        motion_curve(Clip(length))
        seconds = time.process_time() - started
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return seconds, peak

    (short, little), (long, much) = cost(2000), cost(16000)
    assert much < little + 3 * 2**20  # of which a number for each frame
    assert long < 24 * short  # eight times the frames; the square would be 64 times


def test_a_clip_that_shows_one_expression_is_not_doubtful():
    clip = recorded(40, 16, 1.0, drift=0, flicker=0)
    curve = motion_curve(clip)
    assert doubts(clip, 80.0, apex_of(curve), curve) == []
    assert doubts(clip, 80.0, 16) == []


@pytest.mark.parametrize(
    ("fps", "apex", "says"),
    [(15.0, 16, "the clip lasts 2.6 s"), (80.0, 0, "nothing moves"), (12.0, 30, "the motion takes")],
)
def test_what_does_not_look_like_one_expression_is_told(fps, apex, says):
    clip = recorded(40, apex or 16, 1.5, drift=0, flicker=0)
    curve = motion_curve(clip)
    found = doubts(clip, fps, 0 if apex == 0 else apex_of(curve), curve)
    assert any(problem.startswith(says) for problem in found)


def test_a_cut_is_told_and_a_change_of_light_is_not():
    clip = recorded(20, 8, 1.0, drift=0, flicker=0)
    brighter = np.concatenate([clip[:10], np.clip(clip[10:].astype(int) + 20, 0, 255).astype(np.uint8)])
    assert doubts(brighter, 40.0, 8) == []
    assert "jumps at 0.25 s (frame 10)" in doubts(np.concatenate([clip[:10], clip[10:, ::-1]]), 40.0, 8)[0]


def test_drift_and_flicker_hardly_show_in_the_motion_curve():
    moving = motion_curve(recorded(40, 16, 1.0, drift=0, flicker=0)).max()
    distracted = motion_curve(recorded(40, 16, 0.0, drift=1.5, flicker=0.03)).max()
    assert distracted < moving / 3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("length", "apex"), [(10, 3), (10, 6), (30, 10), (30, 19), (70, 22), (70, 48)])
def test_the_apex_of_a_subtle_motion_is_found_in_drift_flicker_and_noise(length, apex, seed):
    clip = recorded(length, apex, 0.75, drift=1.0, flicker=0.02, seed=seed)
    assert abs(spot_apex(clip) - apex) <= max(1, round(0.07 * length))


def test_the_authors_apex_is_where_the_difference_from_the_onset_varies_most():
    levels = np.concatenate([np.linspace(0, 1, 12), np.linspace(1, 0, 18)[1:]])
    clip = film([warp(real_face(64), level * raised_brow(64, 3.0)) for level in levels], np.random.default_rng(0), 0)
    assert abs(spot_apex(clip, rule="authors") - 11) <= 1
    clip[22:] = 255 - clip[22:]  # beyond .7 of the clip nothing counts
    assert abs(spot_apex(clip, rule="authors") - 11) <= 1


@pytest.mark.parametrize("rule", ["motion", "authors"])
def test_the_apex_of_a_still_clip_is_its_middle(rule):
    for picture in (np.full((16, 16), 7, np.uint8), real_face(128)):
        assert spot_apex(np.stack([picture] * 9), rule) == 4
        assert spot_apex(picture[None], rule) == 0


def test_two_frames_have_an_apex():
    assert spot_apex(np.stack([real_face(32), real_face(32)[::-1]])) == 1


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="'motion' or 'authors', got 'peak'"):
        spot_apex(np.zeros((5, 16, 16), np.uint8), rule="peak")


@pytest.mark.parametrize("rule", ["motion", "authors"])
@pytest.mark.parametrize("shape", [(5, 16, 16, 3), (16, 16), (0, 16, 16)])
def test_what_is_no_grey_clip_has_no_apex(rule, shape):
    with pytest.raises(ValueError, match=r"grey frame, \(T, H, W\), got the shape \("):
        spot_apex(np.zeros(shape, np.uint8), rule)


def published_magnification(clip: np.ndarray, fps, alpha, band, wavelength) -> np.ndarray:
    """In the published order: split every frame into levels, filter each level over time, amplify, put together."""
    pyramids, size = [], clip.shape[1]
    for frame in clip.astype(np.float32):
        levels = []
        while size // 2 ** len(levels) > 8:
            coarse = cv2.pyrDown(frame)
            levels.append(frame - cv2.pyrUp(coarse))
            frame = coarse
        pyramids.append(levels)
    frequencies = np.arange(len(clip)) * fps / (2 * len(clip))
    magnified = clip.astype(float)
    for level, pictures in enumerate(zip(*pyramids, strict=True)):
        spectrum = scipy.fft.dct(np.stack(pictures), axis=0, norm="ortho")
        spectrum[(frequencies < band[0]) | (frequencies > band[1])] = 0
        amplification = (1 + alpha) * np.sqrt(32) * 2**level / wavelength - 1
        filtered = min(max(amplification, 0), alpha) * scipy.fft.idct(spectrum, axis=0, norm="ortho")
        for t, picture in enumerate(filtered):
            for _ in range(level):
                picture = cv2.pyrUp(picture)
            magnified[t] += picture
    return magnified


def test_magnification_is_that_of_the_published_order():
    clip = recorded(14, 6, 1.0, drift=0.5, flicker=0.01)
    options = {"fps": 40.0, "alpha": 6.0, "band": (2.0, 9.0), "wavelength": 16.0}
    expected = np.clip(published_magnification(clip, **options), 0, 255)
    assert np.abs(expected - clip).max() > 20
    np.testing.assert_allclose(magnify(clip, **options), expected, atol=0.51)


def phase_shift(rows: np.ndarray, wavelength: float) -> np.ndarray:
    """Motion of a sinusoid against the first frame, in pixels, (T, W) -> (T,)."""
    wave = np.exp(-2j * np.pi * np.arange(rows.shape[1]) / wavelength)
    phase = np.angle(rows @ wave)
    return -(phase - phase[0]) * wavelength / (2 * np.pi)


@pytest.mark.parametrize("alpha", [2.0, 5.0, 8.0])
def test_the_motion_of_a_sinusoid_is_magnified_by_one_plus_alpha(alpha):
    wavelength, length = 16, 40
    shift = wavelength / 8 / (1 + alpha) * bump(length, 18)  # at its largest what Eq. 14 still admits
    x = np.arange(128)
    waves = 128 + 50 * np.sin(2 * np.pi * (x - shift[:, None]) / wavelength)
    clip = np.rint(np.repeat(waves[:, None], 128, 1)).astype(np.uint8)
    magnified = magnify(clip, 100, alpha, (0.5, 50), wavelength=4)
    found = phase_shift(magnified[:, 64].astype(float), wavelength)
    # the wave grows a little higher with its motion, and its coarsest part stays
    assert found[18] == pytest.approx((1 + alpha) * shift[18], rel=0.12)
    assert np.corrcoef(found, shift)[0, 1] > 0.99


@pytest.mark.parametrize("wavelength", [8, 16, 32])
def test_waves_below_the_cut_off_are_magnified_in_proportion_to_their_length(wavelength):
    x, shift = np.arange(128), 0.1 * bump(40, 18)
    waves = 128 + 50 * np.sin(2 * np.pi * (x - shift[:, None]) / wavelength)
    clip = np.rint(np.repeat(waves[:, None], 128, 1)).astype(np.uint8)
    found = phase_shift(magnify(clip, 100, 8, (0.5, 50), wavelength=64)[:, 64].astype(float), wavelength)
    assert found[18] / shift[18] == pytest.approx(9 * wavelength / 64, rel=0.5)  # a level is an octave wide


def test_a_still_clip_and_no_amplification_change_nothing():
    still = np.stack([real_face()] * 12)
    np.testing.assert_array_equal(magnify(still, 30, 20, (1, 10), 16), still)
    moving = recorded(12, 5, 1.0, drift=1.0, flicker=0.02)
    np.testing.assert_array_equal(magnify(moving, 30, 0, (1, 10), 16), moving)


def test_light_is_not_magnified():
    levels = np.rint(120 + 10 * bump(20, 9)).astype(np.uint8)
    clip = np.repeat(levels, 64 * 64).reshape(20, 64, 64)
    np.testing.assert_array_equal(magnify(clip, 50, 8, (1, 10), 16), clip)


def test_colours_are_magnified_one_by_one():
    clip = np.random.default_rng(0).integers(90, 160, (10, 40, 32, 3), dtype=np.uint8)
    options = {"fps": 30, "alpha": 3, "band": (1, 10), "wavelength": 8}
    each = np.stack([magnify(np.ascontiguousarray(clip[..., c]), **options) for c in range(3)], -1)
    np.testing.assert_array_equal(magnify(clip, **options), each)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"alpha": -1}, "alpha >= 0 and wavelength > 0, got alpha -1"),
        ({"wavelength": 0}, "wavelength 0"),
        ({"band": (5, 2)}, r"band of 0 <= low < high Hz.*got 5..2 Hz"),
        ({"fps": 0}, "fps > 0"),
        ({"band": (0.1, 0.5)}, "10 frames at 30 fps: it resolves multiples of 1.5 Hz, none of which lies in 0.1..0.5"),
    ],
)
def test_what_cannot_be_magnified_is_refused(options, says):
    clip = np.zeros((10, 32, 32), np.uint8)
    with pytest.raises(ValueError, match=says):
        magnify(clip, **({"fps": 30, "alpha": 8, "band": (1, 10), "wavelength": 16} | options))
