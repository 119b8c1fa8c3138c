"""The page that shows what a model sees."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mer_hf import RcnVideoProcessor
from mer_hf.commands import main
from mer_hf.drawn.embedded import write_example
from mer_hf.drawn.rendering import render_clip
from mer_hf.inspection import draw, draw_curve, draw_flow, examine, flow_colours


@pytest.fixture(scope="module")
def clip():
    return render_clip(subject=3, clip=0, emotion_class="surprise", size=128, fps=100.0)


def test_a_clip_is_examined_as_it_is_prepared(clip):
    processor = RcnVideoProcessor()
    seen = examine(clip.frames, processor, apex=clip.apex, fps=100.0)
    expected = processor.aligned_clip(clip.frames, clip.apex, 100.0)
    np.testing.assert_array_equal(seen.onset, clip.frames[0])
    np.testing.assert_array_equal(seen.clip.frames, expected.frames)
    assert (seen.apex, seen.spotted) == (clip.apex, False)
    assert len(seen.curve) == len(clip.frames)
    assert seen.flow.shape == (2, 128, 128)
    assert seen.energy.shape == seen.mask.shape == (128, 128)
    assert 0 < seen.mask.mean() < 0.5


def test_of_the_example_of_a_run_the_quarter_that_moves_most_is_shown(tmp_path):
    """The mask of a model is that of many clips, opened by a disk, which leaves nothing of this one."""
    write_example(tmp_path / "example.mp4")
    seen = examine(tmp_path / "example.mp4", RcnVideoProcessor())
    assert seen.mask.mean() == pytest.approx(0.25, abs=0.01)


def test_a_processor_of_any_connectivity_shows_the_face_as_it_aligns_it(clip):
    processor = RcnVideoProcessor(connectivity="appearance", num_channels=1, num_frames=9, margin=0.3)
    seen = examine(clip.frames, processor, fps=100.0)
    assert seen.spotted
    expected = RcnVideoProcessor(margin=0.3).aligned_clip(clip.frames, fps=100.0)
    np.testing.assert_array_equal(seen.clip.frames, expected.frames)


def test_the_colour_of_flow_tells_direction_and_length():
    flow = np.zeros((2, 1, 5), np.float32)
    flow[:, 0] = [(1, 0, -1, 0.5, 0), (0, 1, 0, 0, 0)]
    right, down, left, half, still = flow_colours(flow, largest=1.0)[0].astype(int)
    assert right.tolist() == [255, 0, 0]
    assert left.tolist() == [0, 255, 255]
    assert half.tolist() == [255, 128, 128]
    assert still.tolist() == [255, 255, 255]
    assert down.argmin() == 2
    np.testing.assert_array_equal(flow_colours(flow * 9, largest=1.0)[0, :3], flow_colours(flow, largest=1.0)[0, :3])


def test_the_curve_is_marked_at_onset_apex_and_offset_in_seconds(clip):
    seen = examine(clip.frames, RcnVideoProcessor(), apex=clip.apex, fps=100.0)
    axes = Figure().subplots()
    draw_curve(axes, seen)
    curve, *marks = axes.lines
    last = len(clip.frames) - 1
    np.testing.assert_allclose(curve.get_xdata(), np.arange(last + 1) / 100)
    np.testing.assert_array_equal(curve.get_ydata(), seen.curve)
    assert [mark.get_xdata()[0] for mark in marks] == pytest.approx([0, clip.apex / 100, last / 100])
    named = {text.get_text().split(",")[0].strip(): text.get_text() for text in axes.texts}
    assert set(named) == {"onset", "apex", "offset"}
    assert f"frame {clip.apex}, {clip.apex / 100:.3f} s" in named["apex"]


def test_the_flow_is_drawn_without_the_motion_of_the_head(clip):
    seen = examine(clip.frames, RcnVideoProcessor(), fps=100.0)
    moved = replace(seen, flow=seen.flow + np.float32([[[3]], [[-2]]]))
    pictures = []
    for page in (seen, moved):
        axes = Figure().subplots()
        draw_flow(axes, page)
        pictures.append(axes.images[0].get_array().astype(int))
    assert pictures[0].std() > 10
    np.testing.assert_allclose(pictures[1], pictures[0], atol=1)


def picture_of(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_the_page_shows_the_clip(clip, tmp_path):
    seen = examine(clip.frames, RcnVideoProcessor(), fps=100.0)
    still = examine(np.repeat(clip.frames[:1], 9, axis=0), RcnVideoProcessor(), fps=100.0)
    for name, page in (("clip", seen), ("still", still)):
        draw(page, tmp_path / f"{name}.png", name)
    pages = [picture_of(tmp_path / f"{name}.png") for name in ("clip", "still")]
    assert pages[0].shape[0] > 600
    assert pages[0].std() > 40
    flow = [page[680:, :300] for page in pages]
    coloured, white = ((part.max(2) - part.min(2) > 60).mean() for part in flow)
    assert coloured > 4 * white  # where nothing moves, the wheel of colours is all there is


def test_inspect_draws_a_video_and_says_what_is_wrong_with_it(clip, tmp_path, capsys):
    video = tmp_path / "clip.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=100, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        for frame in clip.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert main(["inspect", str(video), "--out", str(tmp_path / "reports" / "page.png"), "--apex", "5"]) == 0
    said = capsys.readouterr().out
    assert f"{len(clip.frames)} frames at 100.0 a second, apex given at frame 5" in said
    assert "nothing is wrong with the clip" in said
    assert picture_of(tmp_path / "reports" / "page.png").std() > 40

    noise = [str(tmp_path / f"img{index}.png") for index in range(4)]
    for index, path in enumerate(noise):
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    assert main(["inspect", *noise, "--out", str(tmp_path / "page.png")]) == 0
    assert "no face" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "none.mp4")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_without_matplotlib_the_extra_is_named(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None; from mer_hf.commands import main; "
        "sys.exit(main(['inspect', '-']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert 'pip install "mer-hf[inspect]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(Path(tmp_path).iterdir())
