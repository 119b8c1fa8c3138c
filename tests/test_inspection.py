"""The page that shows what a model sees."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from mer_hf import RcnConfig, RcnForVideoClassification, RcnVideoProcessor, open_model
from mer_hf.commands import main
from mer_hf.drawn.embedded import write_example
from mer_hf.drawn.rendering import render_clip
from mer_hf.inspection import (
    answer_line,
    draw,
    draw_curve,
    draw_flow,
    evidence_of,
    examine,
    explain,
    flow_colours,
)
from tiny import CLASSES


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
    assert seen.energy.shape == (128, 128)


def test_a_part_of_a_video_is_examined_as_if_it_were_cut_out(clip):
    seen = examine(clip.frames, RcnVideoProcessor(), fps=100.0, start=0.02)
    expected = examine(clip.frames[2:], RcnVideoProcessor(), fps=100.0)
    np.testing.assert_array_equal(seen.onset, clip.frames[2])
    np.testing.assert_array_equal(seen.clip.frames, expected.clip.frames)
    assert seen.apex == expected.apex


def test_the_evidence_of_a_smile_lies_where_cheeks_and_mouth_move(tmp_path):
    write_example(tmp_path / "example.mp4")  # of which the README's first command draws a page
    told = explain(tmp_path / "example.mp4", *open_model("default"))
    assert told.label == "positive" and {"AU6", "AU12"} <= set(told.action_units)
    rows = told.evidence.clip(0).sum(1)
    brows, mouth = rows[: len(rows) // 3].sum(), rows[len(rows) // 2 :].sum()
    assert told.evidence.max() > 0.5 and mouth > 3 * brows
    assert told.doubt == ""


def test_evidence_is_what_the_log_odds_lose_where_a_patch_is_at_rest():
    """Against each place of the patch in turn, one clip at a time."""
    torch.manual_seed(0)
    config = RcnConfig(backbone_kwargs={"width": 4}, image_size=[12, 12], grid_size=2, mirror_averaging=True)
    config.id2label = dict(enumerate(CLASSES))
    model = RcnForVideoClassification(config).eval()
    inputs = torch.randn(1, 1, 3, 12, 12)

    @torch.no_grad()
    def log_odds(clip):
        scores = model(clip).logits.double().softmax(1)[0, 1]
        return float((scores / (1 - scores)).log())

    lost = [[[] for _ in range(12)] for _ in range(12)]
    for top in range(-1, 12):
        for left in range(-1, 12):
            stilled = inputs.clone()
            rows, columns = slice(max(0, top), top + 2), slice(max(0, left), left + 2)
            stilled[..., rows, columns] = 0
            for row in range(12)[rows]:
                for column in range(12)[columns]:
                    lost[row][column].append(log_odds(inputs) - log_odds(stilled))
    expected = [[np.mean(each) for each in row] for row in lost]
    np.testing.assert_allclose(evidence_of(model, inputs, 1), expected, atol=1e-5)


def test_a_clip_that_rests_from_the_first_frame_on_has_no_evidence():
    config = RcnConfig.preset("strcn-a", backbone_kwargs={"width": 4}, num_frames=20, image_size=[16, 12])
    config.id2label = dict(enumerate(CLASSES))
    still = torch.rand(1, 1, 1, 16, 12).expand(1, 20, 1, 16, 12)
    assert np.abs(evidence_of(RcnForVideoClassification(config).eval(), still, 0)).max() < 1e-6


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
    model, processor = open_model("default")
    for name, frames in (("clip", clip.frames), ("still", np.repeat(clip.frames[:1], 9, axis=0))):
        seen = examine(frames, processor, fps=100.0)
        told = explain(frames, model, processor, fps=100.0)
        assert ("not confident" in answer_line(told)) == (name == "still")
        draw(seen, told, tmp_path / f"{name}.png", name)
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
    assert "default 1: surprise " in said
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
