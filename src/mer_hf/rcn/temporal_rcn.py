"""Time as matrices: every change of a clip's time axis is one linear operator, built and applied in batches.

A clip is a sequence of S frames. Putting it on an even clock, resampling it to T frames, dropping frames, or keeping a
band of frequencies multiplies it from the left by a T x S matrix; a batch of clips of different lengths is padded to
the longest, and its operators are zero on the padding. So 96 jittered variants of a clip (Xia et al., IPTA 2018) cost
one batched matrix product on the device of the batch, and nothing is stored 96 times.

    times -> retime_operator -> (T, S): one clip, before everything that takes its frames for evenly spaced
    lengths -> resize_operator | linear_operator | tim_operator | TemporalJitter -> (B, T, S) -> apply_operator
    lengths, fps -> band_pass_operator -> (B, S, S) -> apply_operator

Operators of a training batch are made on its device, in float32: positions are ratios of whole numbers, kept whole
until the last division, so that nothing falls to another side by rounding. Apple's GPUs have no float64. Those of
seconds and hertz, of one clip before training, are made in float64 on the CPU.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors_rcn import MerHfError

KERNELS = ("nearest", "bilinear", "bicubic", "box", "triangle", "cubic", "lanczos2", "lanczos3")
"""The eight interpolation methods of the authors' release; as in MATLAB's imresize, where the list comes from,
`bilinear` and `triangle` name one kernel, and so do `bicubic` and `cubic`."""

DROP_RATIOS = tuple(round(0.05 * step, 2) for step in range(12))
"""Shares of dropped frames of the authors' release, 0 to .55: with the eight kernels, 96 variants of a clip."""

_BOX, _TRIANGLE = (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, -1.0, 1.0)
_CUBIC, _CUBIC_BEYOND = (1.5, -2.5, 0.0, 1.0), (-0.5, 2.5, -4.0, 2.0)  # Keys (1981) with a = -1/2, as in MATLAB, Pillow
_NONE = (0.0, 0.0, 0.0, 0.0)
_KERNELS = {
    "nearest": (*_BOX, *_NONE, 0.5, 0.0, 0.0),
    "bilinear": (*_TRIANGLE, *_NONE, 1.0, 0.0, 1.0),
    "bicubic": (*_CUBIC, *_CUBIC_BEYOND, 2.0, 0.0, 1.0),
    "box": (*_BOX, *_NONE, 0.5, 0.0, 1.0),
    "triangle": (*_TRIANGLE, *_NONE, 1.0, 0.0, 1.0),
    "cubic": (*_CUBIC, *_CUBIC_BEYOND, 2.0, 0.0, 1.0),
    "lanczos2": (*_NONE, *_NONE, 2.0, 1.0, 1.0),
    "lanczos3": (*_NONE, *_NONE, 3.0, 1.0, 1.0),
}
"""Coefficients of |x|^3, |x|^2, |x| and 1, where |x| is below 1 and where it is not; how far the kernel reaches;
whether it is Lanczos', which is no polynomial; whether it is widened where a clip shrinks. It is a table, since a
device computes every kernel at every place, and each of them by itself would be launches."""


def _check_lengths(lengths: Tensor, num_frames: int, max_length: int | None) -> int:
    if lengths.device.type == "cuda" and max_length is not None and num_frames >= 1:
        return max_length  # to look at the lengths would be to wait for the device, in every step of a training
    if lengths.ndim != 1 or lengths.numel() == 0 or int(lengths.min()) < 1:
        raise MerHfError(f"lengths must be a non-empty vector of frame counts >= 1, got {lengths.tolist()}")
    if num_frames < 1:
        raise MerHfError(f"num_frames must be >= 1, got {num_frames}")
    longest = int(lengths.max())
    if max_length is not None and max_length < longest:
        raise MerHfError(f"max_length is {max_length}, but the longest clip has {longest} frames")
    return max_length or longest


def retime_operator(times: Tensor, num_frames: int | None = None) -> Tensor:
    """The operator that puts the frames of one clip on an even clock: for videos of variable frame rate.

    The T output frames are spread evenly from the first to the last time (the middle, where T is 1), each interpolated
    linearly between the two frames around it; a frame within a thousandth of its interval is taken as it is. So even
    times with as many frames give the exact identity.

    Args:
        times: (S,) strictly increasing times of the frames, in seconds.
        num_frames: T (default: S).

    Returns:
        (T, S) operator, float32, on the device of `times`; rows sum to 1.
    """
    device, times = times.device, times.cpu().double()
    if times.ndim != 1 or times.numel() == 0 or not times.isfinite().all() or not (times.diff() > 0).all():
        raise MerHfError(f"times must be a non-empty vector of strictly increasing seconds, got {times.tolist()}")
    num_frames = len(times) if num_frames is None else num_frames
    if num_frames < 1:
        raise MerHfError(f"num_frames must be >= 1, got {num_frames}")
    steps = torch.arange(num_frames).double() / (num_frames - 1) if num_frames > 1 else torch.tensor([0.5]).double()
    wanted = times[0] + steps * (times[-1] - times[0])
    after = torch.searchsorted(times, wanted, right=True).clamp(max=len(times) - 1)
    before = (after - 1).clamp(min=0)
    share = ((wanted - times[before]) / (times[after] - times[before]).clamp(min=1e-12)).clamp(0, 1)
    share = torch.where((share - share.round()).abs() < 1e-3, share.round(), share)
    operator = torch.zeros(num_frames, len(times), dtype=torch.float64)
    rows = torch.arange(num_frames)
    operator[rows, before] += 1 - share
    operator[rows, after] += share
    return operator.float().to(device)


def resize_operator(keep: Tensor, num_frames: int, kernels: list[str], dtype: torch.dtype = torch.float32) -> Tensor:
    """Operators that resample the kept frames of each clip to `num_frames`, as an image is resized along one axis.

    Frame centres lie at i + 1/2. When shrinking, the kernel is widened by the ratio of the lengths, so that it
    antialiases, as MATLAB's imresize and Pillow's `Image.resize` do (`nearest` never is). At the ends the kernel is
    cut off and the weights are normalised again (Pillow's way; MATLAB mirrors the clip there).

    Args:
        keep: (B, S) bool, which frames of the padded batch take part; at least one a clip.
        num_frames: T.
        kernels: B names out of `KERNELS`.

    Returns:
        (B, T, S) operators on `keep`'s device; rows sum to 1, columns of frames that are not kept are 0.
    """
    unknown = sorted(set(kernels) - set(KERNELS))
    if unknown:
        raise MerHfError(f"unknown kernels {unknown}; choose from {', '.join(KERNELS)}")
    counts = keep.sum(1)
    _check_lengths(counts, num_frames, keep.shape[1])
    # offsets from the centres in units of 1 / (2 T) frames: whole numbers
    centres = (2 * torch.arange(num_frames, device=keep.device) + 1) * counts[:, None]
    offsets = ((2 * keep.cumsum(1) - 1) * num_frames)[:, None] - centres[:, :, None]
    kernel = to_device(torch.tensor([_KERNELS[kernel] for kernel in kernels]), keep.device)[:, None, None]
    *_, reach, _, widened = kernel.unbind(-1)
    places = offsets / (2 * torch.where(widened > 0, counts.clamp(min=num_frames)[:, None, None], num_frames))
    inside = (places > -reach) & (places <= reach) & keep[:, None]
    # a resampled frame is made of a few frames around it: on a CPU, the kernels are asked about no other
    weights = (_weights_inside if keep.device.type == "cpu" else _weights_everywhere)(places, kernel, inside)
    return (weights / weights.sum(2, keepdim=True)).to(dtype)


def _weights_inside(places: Tensor, kernel: Tensor, inside: Tensor) -> Tensor:
    """Kernels (B, 1, 1, 11) at places (B, T, S), looked up where they reach."""
    weights, where = torch.zeros(inside.shape), inside.nonzero(as_tuple=True)
    weights[where] = _kernel_values(places[where], kernel[where[0], 0, 0])
    return weights


def _weights_everywhere(places: Tensor, kernel: Tensor, inside: Tensor) -> Tensor:
    """The same for devices that wait where the number of places is asked for, and have work to spare."""
    return _kernel_values(places, kernel) * inside


def _kernel_values(x: Tensor, kernel: Tensor) -> Tensor:
    """Kernels (..., 11), see `_KERNELS`, at places (...)."""
    *powers, reach, lanczos, _ = kernel.unbind(-1)
    distance = x.abs()
    near, beyond = (
        torch.addcmul(one, distance, torch.addcmul(first, distance, torch.addcmul(second, distance, third)))
        for third, second, first, one in (powers[:4], powers[4:])
    )
    return torch.where(lanczos > 0, torch.sinc(x) * torch.sinc(x / reach), torch.where(distance < 1, near, beyond))


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Values of the CPU on a device, without waiting for what the device is at."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def linear_operator(lengths: Tensor, num_frames: int, max_length: int | None = None) -> Tensor:
    """Operators of linear interpolation from the first to the last frame of each clip.

    The T output frames are spread evenly over [0, S - 1] of a clip of S frames (the middle, where T is 1). This is
    plain resampling, which some papers call TIM; TIM itself is `tim_operator`.

    Args:
        lengths: (B,) frame counts.
        num_frames: T.
        max_length: S of the padded batch (default: the longest clip).

    Returns:
        (B, T, S) operators.
    """
    max_length = _check_lengths(lengths, num_frames, max_length)
    positions, parts = _even_positions(lengths, num_frames)
    frames = torch.arange(max_length, device=lengths.device) * parts
    return (parts - (positions[:, :, None] - frames).abs()).clamp(min=0).float() / parts


def tim_operator(lengths: Tensor, num_frames: int, max_length: int | None = None) -> Tensor:
    """Operators of the temporal interpolation model (TIM; Zhou, Zhao, Pietikainen, CVPR 2011).

    TIM embeds the frames of a clip as the eigenvectors of a path graph, y_k(t) = sin(pi k t + pi (n - k) / (2 n)) for
    k = 1 .. n - 1, fits the frames as a linear function of them (plus the mean frame) and reads the curve off at new
    points t in [1/n, 1]. For a clip whose n frames are linearly independent after the mean is taken off (rank n - 1, as
    those of real video are) the fit is exact, and because the y_k at t = i/n are the cosine basis, the whole model is
    the operator (1 + 2 sum_k y_k(t_out) y_k(i/n)) / n: no decomposition of the clip is needed.

    Args:
        lengths: (B,) frame counts.
        num_frames: T.
        max_length: S of the padded batch (default: the longest clip).

    Returns:
        (B, T, S) operators.
    """
    max_length = _check_lengths(lengths, num_frames, max_length)
    # y_k(t), rewritten with sin(a + pi / 2) = cos(a), is the cosine of order k at frame n t - 1
    at_out = _cosines(lengths, *_even_positions(lengths, num_frames), max_length)
    at_frames = _cosines(lengths, torch.arange(max_length, device=lengths.device)[None], 1, max_length)
    weights = (1 + 2 * at_out @ at_frames.transpose(1, 2)) / lengths[:, None, None]
    inside = torch.arange(max_length, device=lengths.device) < lengths[:, None, None]
    return weights * inside


def band_pass_operator(
    lengths: Tensor, fps: float | Tensor, low: float, high: float, max_length: int | None = None
) -> Tensor:
    """Operators that keep a band of temporal frequencies: the filter of Eulerian magnification.

    Ideal on the cosine basis of the path graph, in which TIM also works: order k = 1 .. n - 1 of a clip of n frames
    swings at k fps / (2 n) Hz, and is kept or removed as a whole. Order 0, the mean frame, is always removed, so a
    still clip becomes exactly nothing. The basis takes a clip for mirrored at both ends, half a frame outside: neither
    end is pulled to the other, as in a Fourier filter, nor to rest, as in a recursive one. A clip of s seconds resolves
    steps of 1 / (2 s) Hz: 1 Hz for half a second.

    Args:
        lengths: (B,) frame counts.
        fps: frames per second, of all clips or (B,) of each.
        low, high: the band in Hz, both ends included; what lies above fps / 2 does not exist in the clip.
        max_length: S of the padded batch (default: the longest clip).

    Returns:
        (B, S, S) operators: symmetric projections whose rows sum to 0.

    Raises:
        MerHfError: for a band or rate out of range, or a clip too short to have any frequency in the band.
    """
    max_length = _check_lengths(lengths, 1, max_length)
    device, lengths = lengths.device, lengths.cpu()
    fps = torch.as_tensor(fps).cpu().double().expand(lengths.shape)
    if not (0 <= low < high) or not ((fps > 0) & fps.isfinite()).all():
        raise MerHfError(f"expected a band of 0 <= low < high Hz and fps > 0, got {low}..{high} Hz, fps {fps.tolist()}")
    orders = torch.arange(1, max_length)
    frequencies = orders * (fps / (2 * lengths))[:, None]
    # an order that lies on an end of the band must not fall out of it by rounding
    kept = (frequencies > low - 1e-9) & (frequencies < high + 1e-9) & (orders < lengths[:, None])
    if not kept.any(1).all():
        clip = int((~kept.any(1)).nonzero()[0])
        raise MerHfError(
            f"clip {clip} has {int(lengths[clip])} frames at {float(fps[clip]):g} fps: it resolves multiples of "
            f"{float(fps[clip] / (2 * lengths[clip])):.3g} Hz, none of which lies in {low:g}..{high:g} Hz; "
            "widen the band or take a longer clip"
        )
    basis = _cosines(lengths, torch.arange(max_length)[None], 1, max_length)
    basis = (basis * (torch.arange(max_length) < lengths[:, None])[:, :, None]).double()
    return (2 * (basis * kept[:, None]) @ basis.transpose(1, 2) / lengths[:, None, None]).float().to(device)


def _cosines(lengths: Tensor, positions: Tensor, parts: int, max_length: int) -> Tensor:
    """The cosine basis of the path graph at positions: (B, P) -> (B, P, max_length - 1), orders from 1.

    Orders k >= n, which do not exist in a clip of n frames, are 0. The angle, a whole number of pi / (2 n parts), is
    taken within one turn before it is rounded.

    Args:
        lengths: (B,) frame counts n.
        positions: (B or 1, P) whole numbers, positions in `parts` of a frame.
        parts: of a frame.
        max_length: S of the padded batch.
    """
    half_turn = 2 * parts * lengths[:, None, None]
    orders = torch.arange(1, max_length, device=lengths.device)
    angles = orders * (2 * positions + parts)[:, :, None] % (2 * half_turn)
    return torch.cos(math.pi * (angles.float() / half_turn)) * (orders < lengths[:, None, None])


def _even_positions(lengths: Tensor, num_frames: int) -> tuple[Tensor, int]:
    """(B, T) positions spread evenly from the first to the last frame, whole numbers in parts of a frame; the parts."""
    if num_frames == 1:
        return lengths[:, None] - 1, 2
    return torch.arange(num_frames, device=lengths.device) * (lengths[:, None] - 1), num_frames - 1


@dataclass(frozen=True)
class TemporalJitter:
    """Temporal jittering (Xia et al., IPTA 2018): some frames dropped, the rest resampled to T, both at random.

    For each clip of a batch a drop ratio and a kernel are drawn, each evenly from its list; then frames are dropped
    without replacement and the kept ones resampled by `resize_operator`.

    Args:
        ratios: drop ratios to draw from, each in [0, 1); r drops round(r * S) of S frames, but never all.
        kernels: kernel names to draw from.
        drop: `"ratio"` drops as the ratio says; `"single"` drops one frame at any ratio above 0, which is what the
            authors' released script does (it indexes the permutation with `rmN` where `1:rmN` is meant).

    Raises:
        MerHfError: for a ratio, kernel or drop mode outside the above.
    """

    ratios: tuple[float, ...] = DROP_RATIOS
    kernels: tuple[str, ...] = KERNELS
    drop: str = "ratio"

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn from."""
        if not self.ratios or not all(0 <= ratio < 1 for ratio in self.ratios):
            raise MerHfError(f"jitter ratios must lie in [0, 1) and be at least one, got {self.ratios}")
        if not self.kernels or not set(self.kernels) <= set(KERNELS):
            raise MerHfError(f"jitter kernels must come from {', '.join(KERNELS)}, got {self.kernels}")
        if self.drop not in ("ratio", "single"):
            raise MerHfError(f"jitter drop mode must be 'ratio' or 'single', got {self.drop!r}")

    def kept_frames(self, lengths: Tensor, generator: torch.Generator | None, max_length: int | None = None) -> Tensor:
        """Draw the frames that stay: (B, S) bool for (B,) lengths, on the device of `lengths`."""
        max_length = _check_lengths(lengths, 1, max_length)
        # drawn on the generator's device (the CPU, for one stream of numbers whatever the batch is on)
        choice = torch.randint(len(self.ratios), lengths.shape, generator=generator)
        order = to_device(torch.rand(len(lengths), max_length, generator=generator), lengths.device)
        ratio = to_device(torch.tensor(self.ratios)[choice], lengths.device)
        dropped = (ratio * lengths).round().long() if self.drop == "ratio" else (ratio > 0).long()
        dropped = torch.minimum(dropped, lengths - 1)
        padding = torch.arange(max_length, device=lengths.device) >= lengths[:, None]
        ranks = order.masked_fill(padding, 2.0).argsort(1).argsort(1)
        return (ranks >= dropped[:, None]) & ~padding

    def __call__(
        self, lengths: Tensor, num_frames: int, generator: torch.Generator | None, max_length: int | None = None
    ) -> Tensor:
        """Draw one jittered operator for each clip.

        Args:
            lengths: (B,) frame counts, on the device where the operators are wanted.
            num_frames: T.
            generator: a CPU generator, whose state gives the same operators on every device; None: that of torch.
            max_length: S of the padded batch (default: the longest clip).

        Returns:
            (B, T, S) operators.
        """
        keep = self.kept_frames(lengths, generator, max_length)
        drawn = torch.randint(len(self.kernels), lengths.shape, generator=generator).tolist()
        return resize_operator(keep, num_frames, [self.kernels[index] for index in drawn])


def apply_operator(operator: Tensor, clips: Tensor) -> Tensor:
    """(B, T, S) operators on (B, S, ...) clips -> (B, T, ...), of floats, also where the clips are of bytes.

    It is one batched matrix product. On a CPU, operators of few weights add up the frames that have one, clip by clip,
    since the frames of a batch as floats would leave its cache: 64 clips of 60 to 100 frames of 64 x 48 bytes jittered
    to 30 take 15 ms in place of 86.
    """
    kind, shape, clips = torch.result_type(operator, clips), clips.shape[2:], clips.flatten(2)
    if clips.device.type != "cpu" or 8 * (taps := operator != 0).sum() > taps.numel():
        return torch.bmm(operator.to(kind), clips.to(kind)).unflatten(2, shape)
    taps_of_rows = taps.sum(2)
    taps_of_clips = taps_of_rows.sum(1).tolist()
    frames = taps.nonzero()[:, 2].split(taps_of_clips)
    weights = operator[taps].to(kind).split(taps_of_clips)
    starts = taps_of_rows.cumsum(1) - taps_of_rows
    parts = [
        F.embedding_bag(index, clip.to(kind), start, mode="sum", per_sample_weights=weight)
        for index, clip, start, weight in zip(frames, clips, starts, weights, strict=True)
    ]
    return torch.stack(parts).unflatten(2, shape)
