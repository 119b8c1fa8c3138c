"""The model in the package: it answers without a name or a network, and knows motion that it has not been shown."""

import functools
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from sklearn.metrics import f1_score
from transformers import pipeline

from mer_hf.drawn.embedded import write_example
from mer_hf.drawn.rendering import render_clip
from mer_hf.hub.cards import write_card
from mer_hf.hub.packaged import PACKAGED
from mer_hf.rcn.configuration_rcn import rule_of_confidence
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.pipeline_rcn import TASK
from mer_hf.training.drawn import drawn_confidence, score_drawn

DEFAULT_MODEL = PACKAGED["default"]
CLASSES = ("negative", "positive", "surprise")


@pytest.fixture(scope="module")
def classify():
    return pipeline(TASK, model=str(DEFAULT_MODEL), device="cpu", fps=100.0, return_action_units=True)


@functools.lru_cache(maxsize=16)
def clip_of(subject, shown):
    """A rendered clip, not to be changed."""
    return render_clip(subject=subject, clip=subject, emotion_class=shown, fps=100.0)


def test_a_pipeline_without_a_model_answers_offline_and_says_what_it_was_trained_on(tmp_path):
    program = (
        "import mer_hf; from transformers import pipeline; from mer_hf.drawn.rendering import render_clip\n"
        f"classify = pipeline({TASK!r}, device='cpu')\n"
        "clip = render_clip(subject=50, clip=0, emotion_class='positive', fps=50.0)\n"
        "print(classify(clip.frames, top_k=1)[0]['label'])\n"
        "pipeline('micro-expression-classification', device='cpu')\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in CLASSES
    assert done.stderr.count("trained on motion drawn from facial action units") == 1
    named = json.loads((DEFAULT_MODEL / "config.json").read_text())["name_and_version"]
    assert f"{named}: It was trained on" in done.stderr


def test_predict_says_what_the_model_was_trained_on_and_nothing_else_beside_the_answer(tmp_path):
    write_example(tmp_path / "example.mp4")
    command = [sys.executable, "-m", "mer_hf.commands", "predict", str(tmp_path / "example.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[1].split()[0] == "positive"
    (line,) = done.stderr.splitlines()
    assert "trained on motion drawn" in line


def test_it_is_small_and_has_a_card():
    sizes = {path.name: path.stat().st_size for path in DEFAULT_MODEL.iterdir()}
    model = {"config.json", "model.safetensors", "video_preprocessor_config.json"}
    assert set(sizes) == {"README.md", "notes.md", "results.json"} | model
    assert sum(sizes.values()) < 2**20


def test_its_card_is_the_one_that_its_results_give(tmp_path):
    folder = Path(shutil.copytree(DEFAULT_MODEL, tmp_path / "model"))
    assert write_card(folder).read_text() == (DEFAULT_MODEL / "README.md").read_text()


def test_the_sequence_model_is_small_and_has_the_card_that_its_results_give(tmp_path):
    folder = Path(shutil.copytree(PACKAGED["default-sequence"], tmp_path / "model"))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2**20
    card = (folder / "README.md").read_text()
    assert write_card(folder).read_text() == card
    assert "sequence: optical flow from the onset to each of 8 frames, 28 x 28 pixels" in card


def test_the_sequence_model_names_what_rendered_faces_show_and_sees_no_apex():
    classify = pipeline(TASK, model=str(PACKAGED["default-sequence"]), device="cpu", fps=100.0)
    assert classify.model.config.connectivity == "sequence"
    right = [classify(clip_of(subject, shown).frames)[0]["label"] == shown for subject in (62, 63) for shown in CLASSES]
    assert sum(right) >= 5


@pytest.mark.slow
def test_it_scores_on_drawn_motion_what_its_results_say():
    """The settings of its training: those that are shifted take minutes."""
    model = RcnForVideoClassification.from_pretrained(DEFAULT_MODEL).eval()
    told = json.loads((DEFAULT_MODEL / "results.json").read_text())["drawn_motion"]
    assert min(scored["uf1"] for scored in told.values()) >= 0.9
    for name, scored in itertools.islice(score_drawn(model), 2):
        assert scored["uf1"] == pytest.approx(told[name]["uf1"], abs=0.005), name


def test_a_still_face_gets_no_confident_answer(classify):
    frames = clip_of(60, "positive").frames
    still = np.repeat(frames[:1], 12, axis=0)
    assert all(label["confident"] is False for label in classify(still))
    noisy = (still + np.random.default_rng(0).normal(0, 4, still.shape)).clip(0, 255).astype(np.uint8)
    answer = classify(noisy)[0]
    assert answer["confident"] is False
    config = classify.model.config
    assert rule_of_confidence(config.abstain_below, config.abstain_because) in answer["problems"][-1]
    assert f"Below {config.abstain_below:.2f}, an answer is not confident" in answer["problems"][-1]


def test_most_clips_in_which_something_moves_get_a_confident_answer(classify):
    answers = [classify(clip_of(subject, shown).frames)[0] for subject in (60, 61) for shown in CLASSES]
    assert sum("confident" not in answer for answer in answers) >= 4


def test_its_temperature_and_threshold_are_those_of_its_results():
    config, results = (json.loads((DEFAULT_MODEL / f"{name}.json").read_text()) for name in ("config", "results"))
    found = results["confidence"]
    assert config["temperature"] == pytest.approx(found["temperature"], abs=1e-4)
    assert found["abstain_below"] <= config["abstain_below"] < found["abstain_below"] + 1e-4
    assert f"at most {found['risk']:.0%} of the answers" in config["abstain_because"]


@pytest.mark.slow
def test_its_temperature_and_threshold_can_be_had_again():
    model = RcnForVideoClassification.from_pretrained(DEFAULT_MODEL).eval()
    model.config.temperature = 1.0
    told = json.loads((DEFAULT_MODEL / "results.json").read_text())["confidence"]
    assert drawn_confidence(model) == pytest.approx(told, abs=0.02)


def test_an_interlaced_smile_is_a_smile_and_told_to_be_interlaced(classify):
    """50 half pictures a second in 25 pictures: the odd rows are those of the next moment."""
    frames = render_clip(subject=4, clip=1, emotion_class="positive", size=320, fps=50.0).frames
    woven = frames[: len(frames) // 2 * 2 : 2].copy()
    woven[:, 1::2] = frames[1::2, 1::2]
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "x264-params": "tff=1"})
        stream.height, stream.width, stream.pix_fmt = 320, 320, "yuv420p"
        for frame in woven:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    answer = classify(file.getvalue(), fps=25.0)[0]
    assert answer["label"] == "positive"
    assert answer["score"] > 0.7  # .84; of the even frames in full .93
    assert [problem for problem in answer["problems"] if "are interlaced" in problem]


def test_a_mirrored_clip_has_the_same_answer(classify):
    frames = clip_of(61, "positive").frames
    first, mirrored = classify([frames, frames[:, :, ::-1].copy()])
    assert first[0]["label"] == mirrored[0]["label"]
    assert first[0]["score"] == pytest.approx(mirrored[0]["score"], abs=0.1)


@pytest.mark.slow
def test_it_recognises_rendered_clips_of_unseen_identities_and_the_units_that_move(classify):
    labels, predicted, moved, told = [], [], [], []
    units = classify.model.config.action_units
    for subject in (*range(60, 70), *range(50, 60)):  # those that other tests have rendered come first
        for shown in CLASSES:
            clip = clip_of(subject, shown)
            best = classify(clip.frames)[0]
            labels.append(shown)
            predicted.append(best["label"])
            moved.append([unit in clip.action_units for unit in units])
            told.append([best["action_units"][f"AU{unit}"] > 0.5 for unit in units])
    assert f1_score(labels, predicted, average="macro") >= 0.75
    shown = np.any(moved, axis=0)
    assert f1_score(np.array(moved)[:, shown], np.array(told)[:, shown], average="macro", zero_division=0) >= 0.6
