"""The operators over time against Pillow, a literal transcription of TIM, hand-worked values and their definitions."""

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from mer_hf.rcn import temporal_rcn
from mer_hf.rcn.temporal_rcn import (
    DROP_RATIOS,
    KERNELS,
    TemporalJitter,
    apply_operator,
    band_pass_operator,
    linear_operator,
    resize_operator,
    retime_operator,
    tim_operator,
)

PILLOW_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "triangle": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "cubic": Image.Resampling.BICUBIC,
    "lanczos3": Image.Resampling.LANCZOS,
}


def all_kept(length: int) -> torch.Tensor:
    return torch.ones(1, length, dtype=torch.bool)


@pytest.mark.parametrize("kernel", PILLOW_FILTERS)
@pytest.mark.parametrize(("length", "num_frames"), [(70, 30), (30, 70), (11, 30), (30, 30), (58, 1), (1, 5), (7, 3)])
def test_a_kernel_resamples_time_as_pillow_resizes_one_axis(kernel, length, num_frames):
    clip = np.random.default_rng(0).normal(size=(length, 6)).astype(np.float32)
    expected = np.asarray(Image.fromarray(clip).resize((6, num_frames), PILLOW_FILTERS[kernel]))
    operator = resize_operator(all_kept(length), num_frames, [kernel])
    np.testing.assert_allclose((operator[0] @ torch.from_numpy(clip)).numpy(), expected, atol=2e-5)


def test_the_triangle_kernel_widens_when_it_shrinks_as_worked_by_hand():
    # 4 frames to 2: centres at 1 and 3, the kernel twice as wide; offsets of the frames -0.5, 0.5, 1.5 over 2
    expected = torch.tensor([[3 / 7, 3 / 7, 1 / 7, 0], [0, 1 / 7, 3 / 7, 3 / 7]])
    torch.testing.assert_close(resize_operator(all_kept(4), 2, ["triangle"])[0], expected)


def test_lanczos2_has_the_values_worked_by_hand():
    # 2 frames to 4: the second output lies a quarter frame beyond the first frame; L2(x) = sinc(x) sinc(x / 2)
    near, far = (np.sinc(x) * np.sinc(x / 2) for x in (0.25, 0.75))
    row = resize_operator(all_kept(2), 4, ["lanczos2"])[0, 1]
    np.testing.assert_allclose(row.numpy(), np.array([near, far]) / (near + far), atol=1e-6)


def test_dropped_frames_have_no_weight_and_the_rest_close_ranks():
    keep = torch.tensor([[True, False, True, True, False]])
    operator = resize_operator(keep, 3, ["bicubic"])[0]
    torch.testing.assert_close(operator, torch.eye(5)[[0, 2, 3]])


@given(length=st.integers(1, 40), num_frames=st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_linear_interpolation_is_numpys(length, num_frames):
    clip = np.random.default_rng(length).normal(size=length)
    at = np.linspace(0, length - 1, num_frames) if num_frames > 1 else [(length - 1) / 2]
    operator = linear_operator(torch.tensor([length]), num_frames)[0]
    np.testing.assert_allclose(operator.numpy() @ clip, np.interp(at, np.arange(length), clip), atol=1e-5)


def literal_tim(clip: np.ndarray, num_frames: int) -> np.ndarray:
    """The published formulas step by step: frames as columns, SVD, graph embedding, curve, and the way back."""
    n = clip.shape[1]
    mean = clip.mean(1, keepdims=True)
    u, s, vt = np.linalg.svd(clip - mean, full_matrices=False)
    u, q = u[:, : n - 1], (np.diag(s) @ vt)[: n - 1]
    weights = np.eye(n, k=1) + np.eye(n, k=-1)
    laplacian = np.diag(weights.sum(0)) - weights
    # eigenvectors of the graph embedding, in ascending order of eigenvalue as the orders k = 1 .. n - 1
    _, w = scipy.linalg.eigh(q @ laplacian @ q.T, q @ q.T)
    k = np.arange(1, n)

    def curve(t: float) -> np.ndarray:
        return np.sin(np.pi * k * t + np.pi * (n - k) / (2 * n))

    m = (w.T @ q[:, 0]) / curve(1 / n)
    times = np.linspace(1 / n, 1, num_frames)
    return np.stack([(u @ np.linalg.inv(w.T) @ (m * curve(t)))[:, None] + mean for t in times], 1)[..., 0]


@pytest.mark.parametrize(("length", "num_frames"), [(12, 30), (20, 10), (7, 7), (2, 5)])
def test_tim_is_its_published_formulas(length, num_frames):
    clip = np.random.default_rng(1).normal(size=(50, length))
    operator = tim_operator(torch.tensor([length]), num_frames)[0].double().numpy()
    np.testing.assert_allclose(clip @ operator.T, literal_tim(clip, num_frames), atol=1e-5)


def test_tim_goes_through_the_frames_themselves():
    torch.testing.assert_close(tim_operator(torch.tensor([9]), 9)[0], torch.eye(9), atol=1e-5, rtol=0)


def test_tim_of_one_frame_repeats_it():
    torch.testing.assert_close(tim_operator(torch.tensor([1]), 4)[0], torch.ones(4, 1))


def moved_pattern(times: np.ndarray) -> torch.Tensor:
    """A pattern that moves there and back within .4 s, seen at given times: (T, 50) brightness of its pixels."""
    motion = 2.0 * np.sin(np.pi * times / 0.4) ** 2
    return torch.from_numpy(np.sin((np.arange(50) - motion[:, None]) / 3)).float()


@pytest.mark.parametrize("operator", [linear_operator, tim_operator])
def test_two_cameras_show_one_motion_alike_once_resampled(operator):
    slow, fast = (moved_pattern(np.arange(0, 0.4 + 1e-6, 1 / fps)) for fps in (30, 200))
    assert len(slow) == 13  # fewer than asked for
    assert len(fast) == 81
    from_slow, from_fast = (operator(torch.tensor([len(clip)]), 30)[0] @ clip for clip in (slow, fast))
    truth = moved_pattern(np.linspace(0, 0.4, 30))
    assert (from_slow - from_fast).abs().max() < 0.015  # of a pattern whose brightness changes by .65
    assert (from_fast - truth).abs().max() < 0.015


@given(length=st.integers(2, 30), num_frames=st.integers(1, 40), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_an_uneven_clock_is_interpolated_as_numpy_does(length, num_frames, seed):
    rng = np.random.default_rng(seed)
    times, clip = 5 + rng.uniform(0.002, 0.1, length).cumsum(), rng.normal(size=length)
    at = np.linspace(times[0], times[-1], num_frames) if num_frames > 1 else [(times[0] + times[-1]) / 2]
    operator = retime_operator(torch.from_numpy(times), num_frames).double()
    np.testing.assert_allclose(operator.numpy() @ clip, np.interp(at, times, clip), atol=5e-3)
    torch.testing.assert_close(operator.sum(1), torch.ones(num_frames, dtype=torch.float64))


@pytest.mark.parametrize("length", [1, 2, 13, 120])
@pytest.mark.parametrize("fps", [25.0, 30000 / 1001, 30.0, 200.0])
def test_an_even_clock_is_left_exactly_as_it_is(fps, length):
    times = 3600 + torch.arange(length, dtype=torch.float64) / fps
    assert torch.equal(retime_operator(times), torch.eye(length))


def test_frames_of_an_uneven_clock_show_the_motion_at_even_times():
    times = np.concatenate([np.arange(0, 40) / 200, np.arange(10, 21) / 50])  # the second half at a quarter of the rate
    truth = moved_pattern(np.linspace(0, 0.4, 30))
    retimed = retime_operator(torch.from_numpy(times), 30) @ moved_pattern(times)
    taken_for_even = linear_operator(torch.tensor([len(times)]), 30)[0] @ moved_pattern(times)
    torch.testing.assert_close(retimed, truth, atol=0.02, rtol=0)
    assert (taken_for_even - truth).abs().max() > 0.3


@given(length=st.integers(2, 40), fps=st.floats(10, 250), low=st.floats(0, 8), width=st.floats(2, 20))
@settings(deadline=None, max_examples=40)
def test_a_band_is_that_of_scipys_cosine_transform(length, fps, low, width):
    frequencies = np.arange(length) * fps / (2 * length)
    outside = (frequencies < low) | (frequencies > low + width) | (np.arange(length) == 0)
    if outside.all():
        with pytest.raises(ValueError, match="none of which lies in"):
            band_pass_operator(torch.tensor([length]), fps, low, low + width)
        return
    clip = np.random.default_rng(length).normal(size=(length, 3))
    spectrum = scipy.fft.dct(clip, axis=0, norm="ortho")
    spectrum[outside] = 0
    operator = band_pass_operator(torch.tensor([length]), fps, low, low + width)[0].numpy()
    np.testing.assert_allclose(operator @ clip, scipy.fft.idct(spectrum, axis=0, norm="ortho"), atol=1e-5)


def test_a_swing_passes_its_band_whole_and_no_other():
    time = (torch.arange(40) + 0.5) / 100
    swing = torch.cos(2 * torch.pi * 5 * time)  # 5 Hz over .4 s: order 4
    in_band, above = (band_pass_operator(torch.tensor([40]), 100.0, *band)[0] @ swing for band in ((4, 6), (6, 20)))
    torch.testing.assert_close(in_band, swing)
    torch.testing.assert_close(above, torch.zeros(40))


def test_what_stands_still_and_what_is_padding_pass_no_band():
    operator = band_pass_operator(torch.tensor([12, 30]), torch.tensor([30.0, 100.0]), 1, 10, max_length=32)
    still = torch.full((2, 32, 2), 200.0)
    torch.testing.assert_close(apply_operator(operator, still), torch.zeros(2, 32, 2), atol=1e-4, rtol=0)
    for row, length, fps in zip(operator, (12, 30), (30, 100), strict=True):
        torch.testing.assert_close(row[:length, :length], band_pass_operator(torch.tensor([length]), fps, 1, 10)[0])
        assert not row[length:].any()
        assert not row[:, length:].any()


def test_an_end_of_a_clip_is_not_pulled_to_the_other_end():
    ramp = torch.linspace(0, 1, 40)
    response = band_pass_operator(torch.tensor([40]), 100.0, 6, 50)[0] @ ramp
    spectrum = np.fft.rfft(ramp.numpy())
    spectrum[np.fft.rfftfreq(40, 0.01) < 6] = 0
    assert response.abs().max() < 0.2 * np.abs(np.fft.irfft(spectrum, 40)).max()


@pytest.mark.parametrize("operator", [linear_operator, tim_operator])
def test_a_padded_batch_is_its_clips_one_by_one(operator):
    lengths = torch.tensor([5, 9, 1])
    batch = operator(lengths, 6, max_length=12)
    for row, length in zip(batch, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:, :length], operator(torch.tensor([length]), 6)[0])
        assert not row[:, length:].any()


def test_a_jittered_batch_is_its_variants_one_by_one():
    lengths = torch.tensor([5, 40, 17])
    jitter = TemporalJitter()
    keep = jitter.kept_frames(lengths, torch.Generator().manual_seed(3))
    kernels = ["lanczos2", "nearest", "cubic"]
    batch = resize_operator(keep, 8, kernels)
    for row, kept, kernel in zip(batch, keep, kernels, strict=True):
        alone = resize_operator(torch.ones(1, int(kept.sum()), dtype=torch.bool), 8, [kernel])[0]
        torch.testing.assert_close(row[:, kept], alone)
        assert not row[:, ~kept].any()


def test_devices_that_wait_for_no_lookup_have_the_same_weights(monkeypatch):
    lengths = torch.tensor([1, 2, 7, 30, 31, 90, 4, 64])
    keep = TemporalJitter().kept_frames(lengths, torch.Generator().manual_seed(0))
    for turn in range(8):
        kernels = [KERNELS[(turn + clip) % 8] for clip in range(8)]
        for num_frames in (1, 9, 30):
            looked_up = resize_operator(keep, num_frames, kernels)
            with monkeypatch.context() as patched:
                patched.setattr(temporal_rcn, "_weights_inside", temporal_rcn._weights_everywhere)
                assert torch.equal(resize_operator(keep, num_frames, kernels), looked_up)


def test_jitter_repeats_from_its_seed_and_varies_within_it():
    lengths = torch.tensor([30, 30])
    first, again = (TemporalJitter()(lengths, 10, torch.Generator().manual_seed(5)) for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first[0], first[1])


def test_drops_follow_their_definition():
    length, draws = 40, 6000
    keep = TemporalJitter().kept_frames(torch.full((draws,), length), torch.Generator().manual_seed(0))
    dropped = length - keep.sum(1)
    expected = torch.tensor([round(ratio * length) for ratio in DROP_RATIOS])
    counts = (dropped[:, None] == expected).sum(0)
    assert counts.sum() == draws  # nothing but the twelve ratios
    assert ((counts - draws / 12).abs() < 5 * (draws / 12) ** 0.5).all()  # each as often as the others
    rate = 1 - keep.double().mean(0)
    spread = (rate.mean() * (1 - rate.mean()) / draws).sqrt()
    assert ((rate - rate.mean()).abs() < 5 * spread).all()  # each frame as often as the others


def test_kernels_are_drawn_evenly():
    lengths = torch.full((4000,), 9)
    operators = TemporalJitter(ratios=(0.0,))(lengths, 4, torch.Generator().manual_seed(0))
    for kernel in KERNELS:
        twins = [k for k in KERNELS if torch.equal(*(resize_operator(all_kept(9), 4, [name]) for name in (k, kernel)))]
        share = (operators == resize_operator(all_kept(9), 4, [kernel])).all(2).all(1).double().mean()
        assert abs(float(share) - len(twins) / 8) < 0.03


def test_single_drop_removes_one_frame_as_the_release_does():
    jitter = TemporalJitter(drop="single")
    keep = jitter.kept_frames(torch.full((500,), 20), torch.Generator().manual_seed(0))
    assert set((20 - keep.sum(1)).tolist()) == {0, 1}


def test_a_clip_of_one_frame_survives_jitter():
    operator = TemporalJitter(ratios=(0.55,))(torch.tensor([1, 2]), 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(operator.sum(2), torch.ones(2, 3))


@pytest.mark.parametrize("operator", [linear_operator, tim_operator])
@pytest.mark.parametrize("clips", [torch.randn(2, 40, 3, 4, 4), torch.randint(256, (2, 40, 3, 4, 4)).byte()])
def test_operators_of_few_weights_and_of_many_apply_to_whole_frames(operator, clips):
    operators = operator(torch.tensor([40, 25]), 7, max_length=40)
    expected = torch.einsum("bts,bschw->btchw", operators, clips.float())
    torch.testing.assert_close(apply_operator(operators, clips), expected, atol=1e-5, rtol=1e-5)


def test_an_operator_without_a_weight_gives_nothing():
    operators = torch.zeros(2, 3, 20)
    operators[0, 1, 4] = 2
    clips = torch.randn(2, 20, 5)
    expected = torch.zeros(2, 3, 5)
    expected[0, 1] = 2 * clips[0, 4]
    assert torch.equal(apply_operator(operators, clips), expected)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: linear_operator(torch.tensor([0, 3]), 4), "frame counts >= 1"),
        (lambda: linear_operator(torch.tensor([3]), 0), "num_frames must be >= 1, got 0"),
        (lambda: tim_operator(torch.tensor([9]), 4, max_length=5), "longest clip has 9"),
        (lambda: band_pass_operator(torch.tensor([9]), 30, 5, 5), r"low < high Hz and fps > 0, got 5..5 Hz"),
        (lambda: band_pass_operator(torch.tensor([9]), 0, 1, 5), "fps > 0"),
        (
            lambda: band_pass_operator(torch.tensor([40, 3]), 30, 1, 4),
            "clip 1 has 3 frames at 30 fps.*multiples of 5 Hz",
        ),
        (lambda: retime_operator(torch.tensor([])), "strictly increasing seconds, got"),
        (lambda: retime_operator(torch.tensor([0.0, 0.1, 0.1])), "strictly increasing"),
        (lambda: retime_operator(torch.tensor([0.0, torch.nan])), "strictly increasing"),
        (lambda: retime_operator(torch.tensor([0.0, 1.0]), 0), "num_frames must be >= 1, got 0"),
        (lambda: resize_operator(all_kept(3), 2, ["hermite"]), "unknown kernels.*hermite.*lanczos3"),
        (lambda: TemporalJitter(ratios=(1.0,)), r"in \[0, 1\)"),
        (lambda: TemporalJitter(kernels=("sinc",)), "must come from nearest"),
        (lambda: TemporalJitter(drop="all"), "'ratio' or 'single', got 'all'"),
    ],
)
def test_what_cannot_be_resampled_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


class NoDouble(TorchDispatchMode):
    """Fails where a tensor of float64 is made, as on a device that has none."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        assert getattr(out, "dtype", None) != torch.float64, func
        return out


@pytest.mark.parametrize(
    "make",
    [
        lambda lengths: linear_operator(lengths, 30),
        lambda lengths: linear_operator(lengths, 1),
        lambda lengths: tim_operator(lengths, 30),
        lambda lengths: tim_operator(lengths, 1),
        lambda lengths: TemporalJitter()(lengths, 30, torch.Generator().manual_seed(0)),
    ],
)
def test_operators_of_a_training_batch_need_no_float64_which_apple_s_gpus_lack(make):
    with NoDouble():
        assert make(torch.tensor([1, 2, 31, 77])).dtype == torch.float32


class Launches(TorchDispatchMode):
    """Counts what a device would be asked to compute: all but views of what there is."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not any(value.alias_info is not None for value in func._schema.returns)
        return func(*args, **(kwargs or {}))


def test_jitter_asks_a_device_for_little_however_many_kernels_are_drawn(monkeypatch):
    monkeypatch.setattr(temporal_rcn, "_weights_inside", temporal_rcn._weights_everywhere)
    with Launches() as launches:
        TemporalJitter()(torch.randint(60, 101, (64,)), 30, torch.Generator().manual_seed(0), 100)
    assert launches.count <= 70  # draws and checks on the CPU are counted too


@pytest.mark.parametrize("num_frames", [1, 2, 30, 150])
@pytest.mark.parametrize("length", [1, 2, 29, 200])
def test_float32_costs_no_more_than_its_last_bits(length, num_frames):
    n = length
    out = np.linspace(0, n - 1, num_frames) if num_frames > 1 else np.array([(n - 1) / 2])
    linear = np.clip(1 - np.abs(out[:, None] - np.arange(n)), 0, None)
    np.testing.assert_allclose(linear_operator(torch.tensor([n]), num_frames)[0], linear, atol=3e-7)
    orders = np.arange(1, n)
    at_out, at_frames = (np.cos(np.pi * orders * (at[:, None] + 0.5) / n) for at in (out, np.arange(n)))
    tim = (1 + 2 * at_out @ at_frames.T) / n
    np.testing.assert_allclose(tim_operator(torch.tensor([n]), num_frames)[0], tim, atol=1e-6)


@pytest.mark.parametrize("num_frames", [2, 3, 10, 30])
def test_a_frame_on_the_edge_of_a_box_belongs_to_one_side_at_every_length(num_frames):
    for length in range(1, 120):
        operator = resize_operator(all_kept(length), num_frames, ["box"])[0]
        if length >= num_frames:
            assert ((operator > 0).sum(0) == 1).all(), length  # each frame goes to one resampled frame
        torch.testing.assert_close(operator.sum(1), torch.ones(num_frames))
