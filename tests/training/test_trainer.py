"""One training: what is random in it and when, how it is optimised, how it ends, and what its model says."""

import gc
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from mer_hf.action_units import ACTION_UNITS
from mer_hf.hub.models import Recogniser
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.motion_rcn import motion_energy, moving_pixels
from mer_hf.training import trainer as training
from mer_hf.training.batches import DrawnFields, JointClips, ResidentClips
from mer_hf.training.clips import Clip, load_clips
from mer_hf.training.plan import RunError, drawn_config
from mer_hf.training.trainer import CALIBRATION_SEED, calibrate_units, many_small_steps, predict, train, training_source
from tiny import (
    APPEARANCE,
    CLASSES,
    CPU,
    DRAWN,
    OPTIONS,
    SEQUENCE,
    folder_of,
    naive_logits,
    plan_of,
    planned,
    recipe_of,
    saved_model,
    weights_of,
)

# --- what is random, and when ---


@pytest.fixture(scope="module")
def train_once(make_clips, tmp_path_factory):
    """Train on frames with the options given -> what came out, the plan, and the clips."""
    dataset = make_clips("frames")

    def train_once(**options):
        plan, clips = planned(tmp_path_factory.mktemp("one"), dataset, **SEQUENCE, **options)
        return train(plan, clips, 5), plan, clips

    return train_once


def test_jitter_and_mirror_change_training_and_nothing_else_does(train_once):
    still = {"jitter": False, "mirror": False}
    plain, again, jittered, single, mirrored = (
        weights_of(train_once(**options)[0].model)
        for options in (
            still,
            still,
            {**still, "jitter": True},
            {**still, "jitter": True, "drop": "single"},
            {**still, "mirror": True},
        )
    )
    assert torch.equal(plain, again)
    assert not torch.equal(plain, jittered)
    assert not torch.equal(plain, mirrored)
    assert not torch.equal(jittered, single)


def test_a_prediction_is_neither_jittered_nor_mirrored(train_once):
    trained, plan, clips = train_once(jitter=True, mirror=True)
    first, second = (predict(trained.model, clips, plan.processor).logits for _ in range(2))
    assert torch.equal(first, second)
    expected = torch.stack([naive_logits(trained.model, plan.processor, clip) for clip in clips])
    np.testing.assert_allclose(first, expected, atol=1e-5)


def test_predictions_do_not_depend_on_how_many_clips_go_through_at_once(train_once):
    trained, plan, clips = train_once(jitter=False)
    torch.testing.assert_close(
        predict(trained.model, clips, plan.processor, 2).logits, predict(trained.model, clips, plan.processor).logits
    )


def test_a_trained_model_is_in_evaluation_mode_and_knows_how_many_clips_of_each_class_it_saw(train_once):
    trained, _, clips = train_once()
    counts = Counter(clip.label for clip in clips)
    assert trained.model.config.class_counts == [counts[label] for label in range(3)]
    assert not trained.model.training
    assert {value.dtype for value in trained.model.state_dict().values() if value.is_floating_point()} == {
        torch.float32
    }


def test_the_numbers_of_the_process_are_not_those_of_a_training(train_once):
    """Whatever was drawn before, a seed trains the same."""
    torch.manual_seed(1)
    first = weights_of(train_once()[0].model)
    torch.manual_seed(2)
    torch.rand(3)
    assert torch.equal(weights_of(train_once()[0].model), first)


# --- the pixels that move ---


@pytest.mark.parametrize("kind", ["video", "frames"])
def test_the_mask_of_moving_pixels_is_that_of_the_clips_that_are_trained_on(make_clips, tmp_path, kind):
    plan, clips = planned(tmp_path, make_clips(kind, repeats=2), **APPEARANCE)
    for part in (clips[:9], clips):
        model = train(plan, part, 5).model
        pixels = moving_pixels(np.stack([motion_energy(clip.frames[:, 0]) for clip in part])).T.flatten().nonzero()[0]
        assert model.rcn.pixel_index.tolist() == pixels.tolist()
        assert model.config.num_pixels == len(pixels) < 144


def test_the_mask_of_a_model_that_is_started_from_comes_with_it(make_clips, tmp_path):
    dataset = make_clips("frames")
    plan, clips = planned(tmp_path / "first", dataset, **APPEARANCE)
    first = train(plan, clips[:3], 5).model
    start = folder_of(tmp_path / "start", Recogniser(first, plan.processor))
    again, clips = planned(tmp_path / "again", dataset, start=start, model=None)
    model = train(again, clips, 5).model
    assert model.rcn.pixel_index.tolist() == first.rcn.pixel_index.tolist()


# --- how it is optimised ---


@pytest.mark.parametrize("recurs", [True, False])
def test_over_frames_batch_normalisation_keeps_its_statistics_after_half_of_the_steps(make_clips, tmp_path, recurs):
    """Those of training are then those of predictions, so the loss of a step is that of the model in evaluation."""
    options = {**(SEQUENCE if recurs else APPEARANCE), "num_train_epochs": 4, "per_device_train_batch_size": 9}
    plan, clips = planned(tmp_path, make_clips("frames"), **options)
    norms, seen = [], []

    def watch(module, inputs, output):
        seen.append(module.training)

    real = training.RcnForVideoClassification

    def watched(config):
        model = real(config)
        norms.append(model.rcn.sections[0].layer.feed_forward_norm)
        norms[0].register_forward_hook(watch)
        return model

    training.RcnForVideoClassification = watched
    try:
        train(plan, clips, 5)
    finally:
        training.RcnForVideoClassification = real
    assert seen == ([True, True, False, False] if recurs else [True] * 4)


def trained_on_flow(make_clips, tmp_path, **options):
    """Train on flow, one step an epoch and nothing drawn, unless the options say otherwise."""
    model = {**OPTIONS["model"], "backbone_kwargs": {"width": 4, "drop_rate": 0.0}, "dropout": 0.0}
    still = {"mirror": False, "per_device_train_batch_size": 9, "model": model, "bf16": False, "num_train_epochs": 3}
    return train(*planned(tmp_path / "out", make_clips("flow"), **{**still, **options}), 5)


def test_the_learning_rate_falls_in_steps(make_clips, tmp_path):
    options = {"num_train_epochs": 6, "lr_step_epochs": 2, "lr_step_factor": 0.1}
    for batch in (9, 3):
        trained = trained_on_flow(make_clips, tmp_path, per_device_train_batch_size=batch, **options)
        rates = [entry["learning_rate"] for entry in trained.curve if "learning_rate" in entry]
        # logged after the last step of an epoch, before the scheduler's
        assert rates == pytest.approx([0.03, 0.03, 0.003, 0.003, 0.0003, 0.0003])


def test_the_curve_has_the_loss_of_each_epoch(make_clips, tmp_path):
    curve = trained_on_flow(make_clips, tmp_path, num_train_epochs=4).curve
    epochs = [entry for entry in curve if "loss" in entry]
    assert [entry["epoch"] for entry in epochs] == [1, 2, 3, 4]
    assert [entry["step"] for entry in epochs] == [1, 2, 3, 4]
    assert all(np.isfinite(entry["loss"]) and entry["grad_norm"] > 0 for entry in epochs)
    assert epochs[-1]["loss"] < epochs[0]["loss"]


def test_momentum_is_that_of_the_recipe(make_clips, tmp_path):
    options = {"optim": "sgd", "optim_args": "momentum=0.9", "weight_decay": 0.1}
    optimizer = trained_on_flow(make_clips, tmp_path, **options).trainer.optimizer.optimizer
    assert isinstance(optimizer, torch.optim.SGD)
    assert {group["momentum"] for group in optimizer.param_groups} == {0.9}
    assert sorted(group["weight_decay"] for group in optimizer.param_groups) == [0, 0.1]
    assert all(parameter.ndim > 1 for parameter in optimizer.param_groups[0]["params"])  # weights alone decay


def test_the_model_has_the_moving_average_of_its_weights_in_the_end(make_clips, tmp_path, monkeypatch):
    seen = []
    real = training.AverageWeights.on_step_end

    def on_step_end(self, *args, model, **kwargs):
        seen.append({name: value.detach().clone() for name, value in model.state_dict().items()})
        real(self, *args, model=model, **kwargs)

    monkeypatch.setattr(training.AverageWeights, "on_step_end", on_step_end)
    found = trained_on_flow(make_clips, tmp_path, ema_decay=0.5, num_train_epochs=4).model.state_dict()
    torch.manual_seed(0)
    average = None
    for step, state in enumerate(seen, start=1):
        decay = min(0.5, 1 - step ** (-2 / 3))  # timm's warm-up: nothing is kept of the initial weights
        average = {
            name: value if average is None or not value.is_floating_point() else value.lerp(average[name], decay)
            for name, value in state.items()
        }
    assert len(seen) == 4
    for name, value in found.items():
        torch.testing.assert_close(value, average[name], msg=name)
    assert not torch.equal(found["classifier.weight"], seen[-1]["classifier.weight"])


def test_a_step_in_parts_is_the_step_as_a_whole_though_the_last_part_is_smaller(make_clips, tmp_path, monkeypatch):
    """Batch statistics differ between parts, so the norms are fixed; what is left to differ is the loss."""
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", lambda self, maps: self.weight[:, None, None] * maps)
    options = {"num_train_epochs": 1, "optim": "sgd", "max_grad_norm": 0, "learning_rate": 1.0}
    whole = weights_of(trained_on_flow(make_clips, tmp_path, **options).model)
    parts = {"per_device_train_batch_size": 5, "gradient_accumulation_steps": 2}
    in_parts = weights_of(trained_on_flow(make_clips, tmp_path, **options, **parts).model)
    start = weights_of(trained_on_flow(make_clips, tmp_path, **{**options, "learning_rate": 0.0}).model)
    torch.testing.assert_close(in_parts, whole, atol=1e-6, rtol=1e-4)
    assert not torch.allclose(whole, start, atol=1e-4)


def test_training_in_bf16_is_close_to_fp32_and_predicts_in_fp32(make_clips, tmp_path):
    exact, rough = (trained_on_flow(make_clips, tmp_path, bf16=bf16, learning_rate=3e-3) for bf16 in (False, True))
    assert not torch.equal(weights_of(exact.model), weights_of(rough.model))
    processor = rough.trainer.processor
    clips = load_clips(make_clips("flow"), processor)
    logits = [predict(trained.model, clips, processor).logits for trained in (exact, rough)]
    torch.testing.assert_close(*logits, atol=0.1, rtol=0.1)
    opened = type(rough.model)(rough.model.config)
    opened.load_state_dict(rough.model.state_dict())
    assert torch.equal(predict(opened, clips, processor).logits, logits[1])


@pytest.mark.parametrize(("batch", "steps"), [(8, 1), (4, 2), (3, 3), (1, 9)])
def test_a_last_batch_of_one_clip_is_left_out_for_it_cannot_be_normalised(make_clips, tmp_path, batch, steps):
    options = {"num_train_epochs": 1, "per_device_train_batch_size": batch}
    assert trained_on_flow(make_clips, tmp_path, **options).trainer.state.global_step == steps


def test_the_arguments_of_the_plan_are_left_as_they_are(make_clips, tmp_path):
    plan, clips = planned(tmp_path, make_clips("flow"), per_device_train_batch_size=8)
    before, config = plan.arguments.to_dict(), plan.config.to_dict()
    train(plan, clips, 5, "a fold")
    assert plan.arguments.to_dict() == before
    assert plan.config.to_dict() == config


# --- trainings that go astray ---


@pytest.mark.parametrize("optimizer", ["adamw_torch", "sgd"])
def test_a_training_whose_weights_are_no_longer_finite_ends_with_its_name_and_epoch(make_clips, tmp_path, optimizer):
    plan, clips = planned(tmp_path, make_clips("flow"), learning_rate=1e30, optim=optimizer, num_train_epochs=4)
    says = r"fold s1, seed 42 went astray in epoch [12]: .*no longer finite numbers\. A learning rate below 1e\+30 may"
    with pytest.raises(RunError, match=says):
        train(plan, clips, 5, "fold s1, seed 42")


def test_a_training_whose_loss_is_not_finite_ends_too(make_clips, tmp_path):
    """Weights may stay finite where the gradient of what went astray is not."""
    plan, clips = planned(tmp_path, make_clips("flow"))
    content = clips[0].content
    spoilt = Clip(type(content)(content.motion + np.float32(np.inf), 0, content.onsets), clips[0].label)
    with pytest.raises(RunError, match="fold s1 went astray in epoch 1"):
        train(plan, [spoilt, *clips[1:]], 5, "fold s1")


def test_the_way_of_the_trainer_to_the_hub_is_closed(make_clips, tmp_path):
    trained = trained_on_flow(make_clips, tmp_path, num_train_epochs=1)
    assert trained.trainer.args.push_to_hub is False
    with pytest.raises(RunError, match=r"mer_hf\.push\(FOLDER"):
        trained.trainer.push_to_hub()


# --- starting from a saved model ---


@pytest.mark.parametrize(("classes", "kept"), [(CLASSES, True), (["calm", "tense", "glad"], False)])
def test_training_begins_with_the_saved_weights_and_keeps_the_layer_of_equal_classes(
    make_clips, tmp_path, classes, kept
):
    start = saved_model(classes)
    options = {"start": folder_of(tmp_path / "start", start), "learning_rate": 0, "model": None}
    model = train(*planned(tmp_path, make_clips("flow"), **options), 7).model
    assert list(model.config.id2label.values()) == CLASSES
    assert model.unit_classifier is None, "nothing here would keep it true"
    theirs, ours = dict(start.model.named_parameters()), dict(model.named_parameters())
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]) == (kept or not name.startswith("classifier.weight")), name


def test_of_a_saved_ensemble_training_begins_with_the_first(make_clips, tmp_path):
    first, other = saved_model(), saved_model()
    for parameter in other.model.parameters():
        parameter.data.add_(1)
    ensemble = RcnForVideoClassification.average([first.model, other.model])
    start = folder_of(tmp_path / "start", first._replace(model=ensemble))
    model = train(*planned(tmp_path, make_clips("flow"), start=start, learning_rate=0, model=None), 7).model
    assert not model.members
    assert torch.equal(model.classifier.weight, first.model.classifier.weight)


# --- clips, drawn motion, or both ---


def test_a_source_holds_clips_drawn_motion_or_both(make_clips, tmp_path):
    dataset = make_clips("frames")
    plan, clips = planned(tmp_path, dataset)
    assert isinstance(training_source(plan, clips, 1), ResidentClips)
    joint = training_source(plan_of(tmp_path, dataset, drawn_per_clip=3), clips, 1)
    assert isinstance(joint, JointClips)
    assert (len(joint), joint.per_clip) == (9, 3)
    drawn = training_source(plan_of(tmp_path, None, **DRAWN), [], 1)
    assert isinstance(drawn, DrawnFields)
    assert len(drawn) == 64


@pytest.mark.parametrize("kind", ["flow", "frames"])
def test_joint_training_tells_classes_of_clips_and_units_of_drawn_motion(make_clips, tmp_path, kind):
    plan, clips = planned(tmp_path, make_clips(kind), drawn_per_clip=3)
    model = train(plan, clips, 5).model
    assert list(model.config.action_units) == list(ACTION_UNITS)
    assert list(model.config.class_counts) == [3 + 9, 3 + 9, 3 + 9]
    told = predict(model, clips, plan.processor)
    assert told.logits.shape == (9, 3)
    assert told.action_unit_logits.shape == (9, len(ACTION_UNITS))
    assert told.action_unit_logits.isfinite().all()


def test_action_units_are_parted_at_a_half_with_the_best_f1():
    torch.manual_seed(0)
    model = RcnForVideoClassification(drawn_config(recipe_of("nowhere", **DRAWN)[0])).eval()
    model.unit_classifier.weight.data.mul_(1000)
    batch = DrawnFields(300, model.config, CALIBRATION_SEED, CPU).draw(300)
    with torch.no_grad():
        before = model(batch["pixel_values_videos"]).action_unit_logits.numpy()
        calibrate_units(model, 300)
        after = model(batch["pixel_values_videos"]).action_unit_logits.numpy()
    for unit, moved in enumerate(batch["action_units"].numpy().T > 0):
        called = before[:, unit] >= before[:, unit, None]  # a row for each threshold
        possible = 2 * (called & moved).sum(1) / (called.sum(1) + moved.sum())
        assert f1_score(moved, after[:, unit] >= -1e-5) == pytest.approx(possible.max())


def test_what_many_trainings_spare_is_given_back():
    frozen = gc.get_freeze_count()
    with many_small_steps():
        assert gc.get_freeze_count() > frozen
    assert gc.get_freeze_count() == 0
