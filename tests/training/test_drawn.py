"""Scores on drawn motion, and the trainings and scorings that it stands in for clips of."""

import numpy as np
import pytest
import torch
from transformers import pipeline

from mer_hf.action_units import ACTION_UNITS
from mer_hf.commands import main
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.pipeline_rcn import TASK
from mer_hf.training import runs
from mer_hf.training.drawn import score_drawn
from mer_hf.training.plan import RunError, drawn_config
from mer_hf.training.runs import run, score
from mer_hf.training.trainer import calibrate_units
from tiny import CLASSES, DRAWN, argv_of, frames_of_a_video, plan_of, recipe_of, results_of, saved_model


@pytest.fixture
def few_fields(monkeypatch):
    """Part units and score on few fields, for many take long."""
    monkeypatch.setattr(runs, "score_drawn", lambda model: score_drawn(model, 30))
    monkeypatch.setattr(runs, "calibrate_units", lambda model: calibrate_units(model, 100))


def test_scores_are_of_fields_that_training_has_not_seen():
    torch.manual_seed(0)
    model = RcnForVideoClassification(drawn_config(recipe_of("nowhere", **DRAWN)[0])).eval()
    first, second = dict(score_drawn(model, 60)), dict(score_drawn(model, 60))
    assert first == second
    assert all(np.sum(scored["confusion"]) == 60 for scored in first.values())


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        (["a", "b", "c"], {}, "this model is geometric of 3 channels, and names a, b, c"),
        (
            CLASSES,
            {"connectivity": "sequence", "num_channels": 3, "num_frames": 4, "action_units": None},
            "is sequence of 3 channels",
        ),
    ],
)
def test_a_model_that_drawn_motion_says_nothing_about_is_refused(classes, options, message):
    saved = saved_model(classes, **options)
    with pytest.raises(RunError, match=f"motion is drawn of negative, positive, surprise.*{message}"):
        score(saved, "action-units")


def test_a_model_of_drawn_motion_is_trained_scored_and_saved_whole(tmp_path, capsys, few_fields):
    assert main(["train", *argv_of(tmp_path, **DRAWN, seeds=2, average_seeds=True)]) == 0
    results = results_of(tmp_path)["drawn_motion"]
    assert {"as trained, flow", "all, picture"} <= set(results)
    assert all(0 <= scored["uf1"] <= 1 for scored in results.values())
    assert "all, picture" in capsys.readouterr().out
    assert not (tmp_path / "predictions.csv").exists()
    model = RcnForVideoClassification.from_pretrained(tmp_path / "model")
    assert len(model.members) == 2
    assert list(model.config.action_units) == list(ACTION_UNITS)
    assert "no recording of a face" in model.config.trained_on
    assert "no recording of a face" in (tmp_path / "model" / "README.md").read_text()
    classify = pipeline(TASK, model=str(tmp_path / "model"), device="cpu", align="none")
    (best, *_) = classify(frames_of_a_video(), return_action_units=True)
    assert set(best["action_units"]) == {f"AU{unit}" for unit in ACTION_UNITS}


def test_drawn_runs_and_scorings_claim_their_folder_as_others_do(make_clips, tmp_path, few_fields):
    """None writes over the results of another."""
    drawn = run(plan_of(tmp_path, None, **DRAWN))
    again = run(plan_of(tmp_path, None, **DRAWN, disable_tqdm=False))
    of_drawn, of_clips = score("default", "action-units"), score("default", make_clips("flow"))
    for first, others in [(drawn, [of_drawn, of_clips]), (of_drawn, [drawn, of_clips]), (of_clips, [drawn, of_drawn])]:
        folder = tmp_path / f"{id(first)}"
        first.save(folder)
        before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        for other in others:
            with pytest.raises(RunError, match="holds another run"):
                other.save(folder)
        assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
        first.save(folder)
    again.save(tmp_path / f"{id(drawn)}")
    with pytest.raises(RunError, match="drawn_fields was 64, is 80"):
        run(plan_of(tmp_path, None, **{**DRAWN, "drawn_fields": 80}))


def test_a_drawn_run_says_nothing_of_clips(tmp_path, few_fields):
    outcome = run(plan_of(tmp_path, None, **DRAWN))
    assert outcome.predictions is None
    assert set(outcome.scores) == {"classes", "confidence", "drawn_motion"}
    assert "counts" not in outcome.record
    assert outcome.record["data"]["description"].startswith("Motion drawn from facial action units")
    assert (outcome.record["folds"], outcome.record["recipe"]["dataset"]) == (0, "action-units")


FACES = torch.randint(0, 256, (5, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "model",
    [
        {"connectivity": "sequence", "num_channels": 2, "num_frames": 4},
        {"connectivity": "sequence", "num_channels": 1, "num_frames": 4, "changes": True},
        {"connectivity": "appearance", "num_channels": 1, "num_frames": 8, "changes": True, "ceil_mode": True},
    ],
)
def test_drawn_sequences_are_trained_on_scored_and_saved(tmp_path, few_fields, monkeypatch, model):
    monkeypatch.setattr("mer_hf.training.batches.drawn_faces", lambda *size: FACES)
    outcome = run(plan_of(tmp_path, None, **{**DRAWN, "model": {**DRAWN["model"], **model}}))
    assert {"as trained, sequence", "all, sequence"} <= set(outcome.scores["drawn_motion"])
    folder = outcome.save(tmp_path / "saved")
    loaded = RcnForVideoClassification.from_pretrained(folder / "model")
    assert loaded.config.changes == model.get("changes", False)
    if model["connectivity"] == "appearance":
        assert 0 < len(loaded.rcn.pixel_index) < 256
    classify = pipeline(TASK, model=str(folder / "model"), device="cpu", align="none")
    assert len(classify(frames_of_a_video())) == 3


@pytest.mark.slow
def test_drawn_motion_teaches_what_moves(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "score_drawn", lambda model: score_drawn(model, 300))
    model = {"image_size": [28, 28], "label_smoothing": 0.1}
    options = {**DRAWN, "model": model, "drawn_fields": 12800, "learning_rate": 3e-3, "weight_decay": 0.05}
    options |= {"per_device_train_batch_size": 128, "lr_scheduler_type": "cosine"}
    outcome = run(plan_of(tmp_path, None, **options))
    scored = outcome.scores["drawn_motion"].values()
    assert min(each["uf1"] for each in scored) > 0.75  # a twentieth of the recipe's fields
