"""`mer-hf train`: from the command line to files, to the pipeline, and to one line where something is wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields

import cv2
import numpy as np
import pytest
import torch
from datasets import DatasetDict
from PIL import Image
from transformers import pipeline

from mer_hf.action_units import ACTION_UNITS
from mer_hf.commands import main
from mer_hf.commands.train import recommendation
from mer_hf.rcn.pipeline_rcn import TASK
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.training import runs
from mer_hf.training.outcome import Outcome, data_record
from mer_hf.training.recipe import Recipe
from tiny import (
    APPEARANCE,
    CLASSES,
    SEQUENCE,
    argv_of,
    environment,
    frames_of_a_video,
    results_of,
    saved_model,
    weights_of,
)


@pytest.fixture(scope="module")
def video():
    """A patch slides over a blurred scene: something moves, and nothing is doubtful."""
    generator = np.random.default_rng(0)
    scene, patch = (cv2.GaussianBlur(generator.integers(0, 256, (72, 80, 3), np.uint8), (0, 0), 2) for _ in range(2))
    frames = np.stack([scene] * 6)
    for step, frame in enumerate(frames):
        moved = frame[20:50, 24 + step : 54 + step]
        moved[:] = (moved + patch[20:50, 24:54]) // 2
    return [Image.fromarray(frame) for frame in frames]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("picture", {}),
        ("video", APPEARANCE),
        ("video", SEQUENCE),
        ("frames", {}),
    ],
    ids=["flow pictures", "ready matrices", "ready sequences", "frames"],
)
def test_a_saved_dataset_trains_from_the_command_and_its_model_opens_as_a_pipeline(
    make_clips, tmp_path, capsys, video, kind, options
):
    make_clips(kind).save_to_disk(tmp_path / "clips")
    output_dir = tmp_path / "out"
    argv = argv_of(output_dir, dataset=tmp_path / "clips", folds="s1", **options)
    assert main(["train", *argv]) == 0
    assert "pooled" in capsys.readouterr().out
    labels = pipeline(TASK, model=str(output_dir / "model"))(video)
    assert sorted(label["label"] for label in labels) == CLASSES
    assert sum(label["score"] for label in labels) == pytest.approx(1)


def test_the_saved_model_is_the_one_trained_on_all_clips_with_its_processor(make_clips, tmp_path, monkeypatch, video):
    trained, real = [], runs.train_all
    monkeypatch.setattr(runs, "train_all", lambda *args: trained.extend(real(*args)) or trained)
    make_clips("frames").save_to_disk(tmp_path / "clips")
    argv = argv_of(tmp_path / "out", dataset=tmp_path / "clips", protocol="none", **APPEARANCE)
    assert main(["train", *argv]) == 0
    (each,) = trained
    opened = pipeline(TASK, model=str(tmp_path / "out" / "model"))
    assert torch.equal(weights_of(each.model), weights_of(opened.model))
    assert torch.equal(each.model.rcn.pixel_index, opened.model.rcn.pixel_index)
    pixels = each.trainer.processor(video, return_tensors="pt")["pixel_values_videos"]
    with torch.no_grad():
        scores = each.model.eval()(pixels).logits[0].softmax(0).tolist()
    expected = dict(zip(CLASSES, scores, strict=True))
    assert {label["label"]: label["score"] for label in opened(video)} == pytest.approx(expected, abs=1e-6)


def test_the_model_folder_is_whole_or_absent_and_an_older_one_stays_until_then(
    make_clips, tmp_path, capsys, monkeypatch
):
    make_clips("flow").save_to_disk(tmp_path / "clips")
    output_dir = tmp_path / "out"
    argv = argv_of(output_dir, dataset=tmp_path / "clips", protocol="none")

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    def contents():
        timed = ("README.md", "results.json")  # say how long it took
        return {path.name: path.read_bytes() for path in (output_dir / "model").iterdir() if path.name not in timed}

    with monkeypatch.context() as patch:
        patch.setattr(RcnVideoProcessor, "save_pretrained", full_disk)  # after the weights
        assert main(["train", *argv]) == 2
    assert "No space left on device" in capsys.readouterr().err
    left = [path.name for path in output_dir.iterdir()]
    assert not [name for name in left if "model" in name]
    assert main(["train", *argv]) == 0
    whole = contents()
    assert {"config.json", "model.safetensors", "video_preprocessor_config.json"} <= set(whole)
    with monkeypatch.context() as patch:
        patch.setattr(RcnVideoProcessor, "save_pretrained", full_disk)
        assert main(["train", *argv]) == 2
    assert contents() == whole
    (output_dir / "model" / "config.json").write_text("{}")
    assert main(["train", *argv]) == 0
    assert contents() == whole
    assert sorted(path.name for path in output_dir.iterdir()) == sorted([*left, "model"])


def test_the_command_averages_with_the_model_in_the_package_into_one_folder(make_clips, tmp_path):
    make_clips("picture").save_to_disk(tmp_path / "clips")
    options = {"average_with": "default", "protocol": "none", "per_device_train_batch_size": 9, "model": None}
    assert main(["train", *argv_of(tmp_path / "out", dataset=tmp_path / "clips", **options)]) == 0
    classify = pipeline(TASK, model=str(tmp_path / "out" / "model"), device="cpu", align="none")
    assert list(classify.model.config.image_size) == [28, 28]
    (best, *_) = classify(frames_of_a_video(), return_action_units=True)
    assert set(best["action_units"]) == {f"AU{unit}" for unit in ACTION_UNITS}


# --- one figure ---


@pytest.mark.parametrize("averaged", [True, False], ids=["one model of all seeds", "single networks"])
def test_what_is_printed_what_results_hold_and_what_the_card_shows_is_one_figure(
    make_clips, tmp_path, capsys, averaged
):
    make_clips("flow", subjects=("s1", "s2", "s3"), repeats=2).save_to_disk(tmp_path / "clips")
    options = {"seeds": 3, "average_seeds": averaged, "learning_rate": 1e-3}
    assert main(["train", *argv_of(tmp_path / "out", dataset=tmp_path / "clips", **options)]) == 0
    results = results_of(tmp_path / "out")
    headline = results["headline"]
    source = results["ensemble" if averaged else "mean"]
    assert {name: headline[name] for name in ("uf1", "uar", "accuracy")} == {
        name: pytest.approx(source[name]) for name in ("uf1", "uar", "accuracy")
    }
    assert results["ensemble"]["uf1"] != pytest.approx(results["mean"]["uf1"]), "so that the two can be told apart"
    assert results["pooled"]["uf1"] != pytest.approx(results["mean"]["uf1"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("headline")]
    assert f"UF1 {headline['uf1']:.4f}  UAR {headline['uar']:.4f}  accuracy {headline['accuracy']:.4f}" in line
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    (row,) = re.findall(r"^\| all .*$", card, re.MULTILINE)
    low, high = headline["interval"]["uf1"]
    assert f"{headline['uf1']:.3f} [{low:.3f}, {high:.3f}]" in row
    for corpus, scored in headline["per_corpus"].items():
        (row,) = re.findall(rf"^\| {corpus} .*$", card, re.MULTILINE)
        assert f"{scored['uf1']:.3f}" in row
    values = [float(value) for value in re.findall(r"value: ([0-9.e-]+)", card)]
    assert headline["uf1"] in [pytest.approx(value) for value in values]
    assert results["pooled"]["uf1"] not in [pytest.approx(value) for value in values]


# --- what is wrong ---


@pytest.mark.parametrize("found", ["nothing", "a folder of other things", "splits"])
def test_a_dataset_that_cannot_be_opened_is_explained_in_one_line(make_clips, tmp_path, capsys, found):
    folder = tmp_path / "clips"
    if found == "splits":
        DatasetDict({"first": make_clips("flow"), "second": make_clips("flow")}).save_to_disk(folder)
    elif found == "a folder of other things":
        folder.mkdir()
        (folder / "readme.txt").write_text("no dataset")
    capsys.readouterr()
    assert main(["train", *argv_of(tmp_path / "out", dataset=folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mer-hf: ")
    assert str(folder) in line
    expected = {
        "nothing": "no folder, and no user/name on the Hub",
        "a folder of other things": "holds neither metadata.csv nor a saved datasets.Dataset",
        "splits": "first, second",
    }
    assert expected[found] in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda clips: clips.remove_columns("subject"), {}, "'subject'"),
        (lambda clips: clips.select([]), {}, "empty or damaged"),
        (lambda clips: clips, {"model": {"grid_size": "five"}}, "grid_size"),
        (lambda clips: clips, {"folds": "s7"}, "no fold 's7'"),
        (lambda clips: clips, {"learning_rate": 1e30}, "went astray in epoch"),
        (lambda clips: clips, {"report_to": "wandb"}, "report_to names wandb, which is not installed"),
        (lambda clips: clips, {"eval_strategy": "epoch"}, "eval_strategy does not hold here"),
    ],
)
def test_what_a_run_refuses_is_explained_with_status_2(make_clips, tmp_path, capsys, change, options, message):
    change(make_clips("flow")).save_to_disk(tmp_path / "clips")
    capsys.readouterr()
    assert main(["train", *argv_of(tmp_path / "out", dataset=tmp_path / "clips", **options)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if line.strip() and not line.startswith("folds:")]
    assert line.startswith("mer-hf: ")
    assert message in line


def test_help_names_every_field_of_a_recipe_and_all_help_is_longer(capsys):
    for option in ("--help", "--help-all"):
        assert main(["train", option]) == 0
        words = capsys.readouterr().out.split()
        assert {f"--{entry.name.replace('_', '-')}" for entry in fields(Recipe)} <= set(words)


# --- Ctrl-C ---


def interrupted(command, output_dir, timeout=200):
    """Start a command in a session of its own, press Ctrl-C once its first fold is kept, and wait for its end."""
    process = subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # what runs behind ignores it
    )
    end = time.monotonic() + timeout
    while not list(output_dir.rglob("seed-*.json")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, error = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process, error


def assert_nothing_left(session):
    """No process of a session is still there."""
    end = time.monotonic() + 20
    while (left := processes_of(session)) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []


def processes_of(session):
    listed = subprocess.run(["ps", "-eo", "sess=,stat=,pid="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [pid for sess, stat, pid in rows if sess == str(session) and not stat.startswith("Z")]


STOPPED = "mer-hf: stopped; what was finished is kept, and the same command goes on from there"


@pytest.fixture
def long_training(make_clips, tmp_path):
    make_clips("flow").save_to_disk(tmp_path / "clips")
    return argv_of(tmp_path / "out", dataset=tmp_path / "clips", protocol="lovo", seeds=200, num_train_epochs=20)


@pytest.mark.slow
def test_ctrl_c_prints_one_line_and_leaves_no_process(tmp_path, long_training):
    process, error = interrupted([sys.executable, "-m", "mer_hf.commands", "train", *long_training], tmp_path / "out")
    assert process.returncode == 130, error
    lines = [line for line in error.replace("\r", "\n").splitlines() if line.strip() and not line.startswith("folds:")]
    assert lines == [STOPPED]
    assert_nothing_left(process.pid)
    for path in (tmp_path / "out").rglob("seed-*.json"):
        json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_leaves_no_process_of_a_launcher(tmp_path, long_training, processes):
    """The launcher itself ends with a traceback; of ours there is the line of each process."""
    script = ["-m", "mer_hf.commands", "train"]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", processes]
    options = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    process, error = interrupted([*launcher, *options, *script, *long_training], tmp_path / "out")
    assert process.returncode != 0
    assert error.count(STOPPED) >= 1
    assert "mer_hf/" not in error.replace(STOPPED, "")
    assert_nothing_left(process.pid)


# --- what is recommended ---


@pytest.mark.parametrize(
    ("subjects", "options", "says"),
    [
        (3, {}, "3 subjects are few: below about 30, the model in the package"),
        (40, {}, "40 subjects are enough to train on, and better still is the average"),
        (3, {"classes": ["calm", "tense", "glad"]}, None),
        (3, {"connectivity": "sequence", "num_channels": 1, "num_frames": 4}, None),
    ],
)
def test_what_is_recommended_depends_on_the_number_of_subjects(make_clips, subjects, options, says):
    dataset = make_clips("flow", subjects=tuple(f"s{number}" for number in range(subjects)))
    saved = saved_model(**{"action_units": None, **options})
    found = recommendation(Outcome(saved.model, saved.processor, None, {}, data_record(dataset), {}))
    assert found == "" if says is None else found.startswith(says)
