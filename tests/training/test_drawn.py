"""Training on drawn motion: what a batch holds, what is refused, and the model that comes out."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from transformers import pipeline

from mer_hf.action_units import ACTION_UNITS
from mer_hf.commands import main
from mer_hf.drawn.fields import DrawingSettings, as_published_picture, draw_fields
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.motion_rcn import flow_picture, optical_strain
from mer_hf.rcn.pipeline_rcn import TASK
from mer_hf.training.batches import REST, DrawnClips
from mer_hf.training.drawn import drawn_config, score_drawn
from mer_hf.training.recipe import parse_recipe
from mer_hf.training.trainer import CALIBRATION_SEED, RunError, calibrate_units

TINY = '{"image_size": [16, 16], "backbone_kwargs": {"width": 4}}'
OPTIONS = ["--dataset", "action-units", "--protocol", "none", "--model", TINY, "--drawn_fields", "64", "--use_cpu"]


def config_of(*options):
    recipe, _ = parse_recipe([*OPTIONS, *options])
    return drawn_config(recipe)


def test_half_of_a_batch_is_signed_flow_and_half_has_the_form_of_published_pictures():
    config = config_of()
    batch = DrawnClips(100, config, 5, torch.device("cpu")).__getitems__(list(range(8)))
    drawn = draw_fields(8, (16, 16), torch.Generator().manual_seed(5), DrawingSettings(rest=REST))
    for row, pixels in enumerate(batch["pixel_values_videos"]):
        flow = drawn.flow[row]
        if row < 4:
            flow = as_published_picture(torch.cat([flow, optical_strain(flow)]))
        torch.testing.assert_close(pixels[0], flow_picture(flow, 3))
    assert torch.equal(batch["labels"], drawn.label)
    assert torch.equal(batch["action_units"], (drawn.units > 0).float())
    assert batch["action_units"].shape == (8, len(ACTION_UNITS))


def test_no_field_is_drawn_twice_and_a_seed_draws_the_same():
    def batches(seed):
        clips = DrawnClips(8, config_of(), seed, torch.device("cpu"))
        return [clips.__getitems__([0, 1])["pixel_values_videos"] for _ in range(2)]

    (first, second), (again, _), (other, _) = batches(1), batches(1), batches(2)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--protocol", "loso"], "no subjects to hold out; say --protocol none"),
        (["--preset", "strcn-a"], "preset strcn-a is appearance"),
        (["--model", '{"width": 4}'], "no fields"),
        (["--model", '{"image_size": "x"}'], "preset rcn with model .*: Field 'image_size'"),
    ],
)
def test_what_cannot_be_trained_on_drawn_motion_is_refused(options, says):
    with pytest.raises(RunError, match=says):
        config_of(*options)


def test_a_model_of_drawn_motion_is_trained_scored_and_saved_whole(tmp_path, capsys):
    options = [
        *OPTIONS,
        "--output_dir",
        str(tmp_path),
        "--per_device_train_batch_size",
        "16",
        "--num_train_epochs",
        "1",
    ]
    assert main(["train", *options, "--seeds", "2", "--average_seeds", "true"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())["drawn_motion"]
    assert {"as trained, flow", "all, picture"} <= set(results)
    assert all(0 <= scored["uf1"] <= 1 for scored in results.values())
    assert "all, picture" in capsys.readouterr().out
    model = RcnForVideoClassification.from_pretrained(tmp_path / "model")
    assert len(model.members) == 2
    assert list(model.config.action_units) == list(ACTION_UNITS)
    classify = pipeline(TASK, model=str(tmp_path / "model"), device="cpu", align="none")
    clip = np.random.default_rng(0).integers(0, 256, (5, 64, 64), dtype=np.uint8)
    (best, *_) = classify(clip, return_action_units=True)
    assert set(best["action_units"]) == {f"AU{unit}" for unit in ACTION_UNITS}


def test_scores_are_of_fields_that_training_has_not_seen():
    torch.manual_seed(0)
    model = RcnForVideoClassification(config_of()).eval()
    first, second = dict(score_drawn(model, 60)), dict(score_drawn(model, 60))
    assert first == second
    assert all(np.sum(scored["confusion"]) == 60 for scored in first.values())


def test_action_units_are_parted_at_a_half_with_the_best_f1():
    torch.manual_seed(0)
    model = RcnForVideoClassification(config_of()).eval()
    model.unit_classifier.weight.data.mul_(1000)
    batch = DrawnClips(300, model.config, CALIBRATION_SEED, torch.device("cpu")).draw(300)
    with torch.no_grad():
        before = model(batch["pixel_values_videos"]).action_unit_logits.numpy()
        calibrate_units(model, 300)
        after = model(batch["pixel_values_videos"]).action_unit_logits.numpy()
    for unit, moved in enumerate(batch["action_units"].numpy().T):
        possible = [f1_score(moved, before[:, unit] >= threshold) for threshold in before[:, unit]]
        assert f1_score(moved, after[:, unit] >= -1e-5) == pytest.approx(max(possible))


@pytest.mark.slow
def test_drawn_motion_teaches_what_moves(tmp_path):
    model = '{"image_size": [28, 28], "label_smoothing": 0.1}'
    options = [*OPTIONS, "--model", model, "--drawn_fields", "12800", "--learning_rate", "3e-3", "--output_dir"]
    options += [str(tmp_path), "--per_device_train_batch_size", "128", "--num_train_epochs", "1"]
    assert main(["train", *options, "--weight_decay", "0.05", "--lr_scheduler_type", "cosine"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())["drawn_motion"]
    assert min(scored["uf1"] for scored in results.values()) > 0.75  # a twentieth of the recipe's fields
