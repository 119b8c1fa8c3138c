"""An exported network answers as the model does, from numbers, in a program that has neither torch nor mer_hf."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from mer_hf import RcnConfig, RcnForVideoClassification, RcnVideoProcessor, open_model
from mer_hf.commands import main
from mer_hf.drawn.embedded import write_example
from mer_hf.hub.connection import HubError
from mer_hf.hub.export import ABOUT, export_model
from mer_hf.hub.folder import save_model_folder
from mer_hf.hub.packaged import SPOTTER
from mer_hf.rcn.motion_rcn import spot_apex
from mer_hf.rcn.spotting_rcn import OUTPUTS, RcnForSpotting

SCRIPT = Path(__file__).parents[2] / "scripts" / "answer_onnx.py"
KINDS = {
    "geometric, attention": RcnConfig.preset("rcn-a", image_size=[28, 28], backbone_kwargs={"width": 4}),
    "appearance, changes": RcnConfig.preset(
        "strcn-a", backbone_kwargs={"width": 4}, num_frames=20, image_size=[32, 24], num_pixels=300, changes=True
    ),
}


def opened(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def clips_for(config, count, seed=0):
    shape = (count, config.num_frames, config.num_channels, *config.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def answers(model, clips):
    with torch.no_grad():
        told = model(clips)
    units = told.action_unit_logits
    return [told.logits.softmax(1).numpy(), *([] if units is None else [units.sigmoid().numpy()])]


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    return export_model("default", tmp_path_factory.mktemp("onnx") / "default.onnx")


def assert_alike(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_the_averaged_networks_of_the_package_answer_as_pytorch_for_any_number_of_clips(default):
    model, session = open_model("default").model, opened(default)
    assert [output.name for output in session.get_outputs()] == ["scores", "action_units"]
    for count in (1, 3, 17):
        clips = clips_for(model.config, count)
        assert_alike(session.run(None, {"pixel_values_videos": clips.numpy()}), answers(model, clips))


def test_a_network_over_image_sequences_answers_as_pytorch_does(tmp_path):
    model = open_model("default-sequence").model
    session = opened(export_model("default-sequence", tmp_path / "sequence.onnx"))
    for count in (1, 5):
        clips = clips_for(model.config, count)
        assert_alike(session.run(None, {"pixel_values_videos": clips.numpy()}), answers(model, clips))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_other_kinds_can_be_exported(kind, tmp_path):
    torch.manual_seed(0)
    model = RcnForVideoClassification(KINDS[kind]).eval()
    config = model.config
    processor = RcnVideoProcessor(
        connectivity=config.connectivity,
        num_channels=config.num_channels,
        num_frames=config.num_frames,
        align="none",
        size=dict(zip(("height", "width"), config.image_size, strict=True)),
    )
    folder = save_model_folder(model, processor, tmp_path / "model")
    clips = clips_for(config, 3)
    found = opened(export_model(folder, tmp_path / "net.onnx")).run(None, {"pixel_values_videos": clips.numpy()})
    assert_alike(found, answers(model, clips))
    program = torch.export.load(export_model(folder, tmp_path / "net.pt2", to="pt2"))
    assert_alike([part.detach().numpy() for part in program.module()(clips)], answers(model, clips))


def test_a_file_says_what_it_is(default):
    about = json.loads(opened(default).get_modelmeta().custom_metadata_map[ABOUT])
    config = open_model("default").model.config
    assert about["name_and_version"] == config.name_and_version
    assert about["classes"] == config.class_names() and about["action_units"] == list(config.action_units)
    assert about["abstain_below"] == config.abstain_below and about["video_processor"]["crop_size"]["height"] == 128


def test_the_spotter_tells_moment_by_moment_what_it_tells_of_whole_videos(tmp_path):
    model = RcnForSpotting.from_pretrained(SPOTTER).eval()
    config = model.config
    session = opened(export_model("spotter", tmp_path / "spotter.onnx"))
    shapes = {each.name: each.shape[1:] for each in session.get_inputs()}
    motion = torch.randn(2, 40, config.num_channels, *config.image_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(motion).logits.sigmoid().numpy()
    maps, moments = (np.full((2, *shapes[name]), 7, np.float32) for name in ("maps", "moments"))
    told = []
    for at in range(40 + config.offsets[-1]):
        ends = np.full(2, at >= 40)
        given = {"motion": motion[:, min(at, 39)].numpy(), "maps": maps, "moments": moments}
        outputs, maps, moments = session.run(None, {**given, "begins": np.full(2, at == 0), "ends": ends})
        told.append(outputs)
    assert outputs.shape == (2, len(OUTPUTS))
    assert_alike([np.stack(told[config.offsets[-1] :], 1)], [expected])


def test_numpy_opencv_and_onnxruntime_alone_answer_from_two_crops_as_the_pipeline_does(default, tmp_path):
    write_example(tmp_path / "example.mp4")
    model, processor = open_model("default")
    crops = processor.aligned_clip(tmp_path / "example.mp4").frames
    apex = max(1, spot_apex(crops))
    for name, index in (("onset", 0), ("apex", apex)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), crops[index])
    clips = processor.clip_inputs([processor.clip_sequence(tmp_path / "example.mp4")])
    expected = dict(zip(model.config.class_names(), answers(model, clips)[0][0].tolist(), strict=True))

    spec = importlib.util.spec_from_file_location("answer_onnx", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    np.testing.assert_allclose(script.flow_input(crops[0], crops[apex]), clips.numpy(), rtol=0, atol=1e-3)

    program = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "assert not {'torch', 'transformers', 'mer_hf'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", program, SCRIPT, default, tmp_path / "onset.png", tmp_path / "apex.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == pytest.approx(expected, abs=1e-3)


def test_what_cannot_be_exported_is_explained(tmp_path, capsys):
    with pytest.raises(HubError, match="there are onnx, pt2"):
        export_model("default", tmp_path / "x", to="tflite")
    assert main(["export", str(tmp_path / "nothing")]) == 2
    assert "mer-hf: " in capsys.readouterr().err


def test_the_command_writes_a_file_named_as_the_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "default-sequence", "--to", "pt2"]) == 0
    assert "default-sequence.pt2" in capsys.readouterr().out
    extra = {ABOUT: ""}
    torch.export.load(tmp_path / "default-sequence.pt2", extra_files=extra)
    assert json.loads(extra[ABOUT])["name_and_version"].startswith("default-sequence ")
