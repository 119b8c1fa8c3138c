"""Rendered long video: its expressions are where it says, and something else moves as well."""

import itertools

import numpy as np
import pytest

from mer_hf.drawn.videos import RenderedVideo
from mer_hf.errors import MerHfError


def test_a_seed_gives_the_same_video_and_another_does_not():
    def frames(seed):
        return np.stack([frame for frame, _ in RenderedVideo(0, 2, 1, fps=5, size=64, seed=seed).frames()])

    first = frames(0)
    assert first.shape == (10, 64, 64, 3) and first.dtype == np.uint8
    assert (first == frames(0)).all() and (first != frames(1)).any()


def test_times_are_even_and_events_lie_within():
    video = RenderedVideo(3, 12, 4, fps=10, size=64)
    assert len(video.events) == 4
    assert all(0 < event.onset < event.apex < event.offset < 12 for event in video.events)
    assert all(b.onset - a.offset > 0.3 for a, b in itertools.pairwise(video.events))
    assert [seconds for _, (_, seconds) in zip(range(4), video.frames(), strict=False)] == [0, 0.1, 0.2, 0.3]


def test_frames_differ_where_an_expression_is_and_hardly_elsewhere(monkeypatch):
    """With blinks, glances and shifts of the head off, what moves most is the expression."""
    from mer_hf.drawn import videos

    for name in ("BLINKS", "GLANCES", "SHIFTS"):
        monkeypatch.setattr(videos, name, 0.0)
    video = RenderedVideo(1, 4, 1, fps=25, size=96, seed=2)
    monkeypatch.setattr(video, "_scene", videos.replace(video._scene, waves=0 * video._scene.waves))
    frames = np.stack([frame.mean(2) for frame, _ in video.frames()])
    (event,) = video.events
    rest, apex = round(event.onset * 25) - 2, round(event.apex * 25)

    def change(first, second):  # of small neighbourhoods, in which noise averages out
        return np.abs(frames[first] - frames[second]).reshape(24, 4, 24, 4).mean((1, 3)).max()

    assert change(apex, rest) > 1.3 * change(rest, rest - 8)


@pytest.mark.parametrize(
    ("arguments", "words"), [((0, 1, 0), "seconds"), ((0, 6, 4), "expression"), ((0, 6, 1, 0.0), "fps")]
)
def test_what_cannot_be_rendered_is_refused(arguments, words):
    with pytest.raises(MerHfError, match=words):
        RenderedVideo(*arguments)
