"""Trainings that are made as one are those that are made one after the other, and none sees what another holds."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset

from mer_hf.rcn.tuning_rcn import kept_by_bits
from mer_hf.training import batched
from mer_hf.training.batched import Together, Training, apart, fold_batch, kept_for_backward, train_all
from mer_hf.training.plan import RunError
from mer_hf.training.recipe import RecipeError
from mer_hf.training.stacking import hashed_words
from mer_hf.training.trainer import begin, train
from tiny import APPEARANCE, DRAWN, OPTIONS, SCORES, SEQUENCE, plan_of, planned, recipe_of, run_in, states, with_labels

MODEL = OPTIONS["model"]
EVEN = {"bf16": False, "num_train_epochs": 3, "per_device_train_batch_size": 4, "learning_rate": 3e-3}
# Adam makes a step of a gradient that is rounding alone, such as that of a bias before batch normalisation
EVEN |= {"adam_epsilon": 1e-3}


def uneven(clips):
    """The training sides of folds whose held-out subjects have 1, 3 and 6 of 18 clips: 4 or 5 steps an epoch."""
    return [
        Training(clips[1:], 11, "fold a"),
        Training(clips[:12], 12, "fold b"),
        Training([*clips[:2], *clips[5:]], 13, "fold c"),
    ]


def assert_as_alone(plan, trainings, size=3):
    """Each model, and what was logged of it, is that of a training of its own by the Trainer."""
    together = list(train_all(plan, trainings, size))
    for one, training in zip(together, trainings, strict=True):
        alone = train(plan, *training)
        begun = begin(plan, *training).model.state_dict()
        expected = alone.model.state_dict()
        for name, value in one.model.state_dict().items():
            torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=2e-4, msg=f"{training.name}: {name}")
        assert not torch.allclose(begun["classifier.weight"], expected["classifier.weight"], atol=1e-3)
        assert one.model.config.to_dict() == alone.model.config.to_dict()
        assert not one.model.training
        logged = [entry for entry in alone.curve if "loss" in entry]
        assert len(one.curve) == len(logged)
        for entry, expected_entry in zip(one.curve, logged, strict=True):
            assert entry == pytest.approx(expected_entry, rel=1e-3)


@pytest.mark.parametrize("preset", ["rcn", "rcn-w", "rcn-s", "rcn-a", "rcn-c", "rcn-f"])
def test_the_presets_of_2020_have_the_weights_of_separate_trainings(make_clips, tmp_path, preset):
    model = {**MODEL, "loss": "class_balanced", "logit_adjustment": 0.5, "label_smoothing": 0.1}
    plan, clips = planned(tmp_path, make_clips("flow", repeats=2), preset=preset, model=model, **EVEN)
    trainings = uneven(clips)
    assert len({tuple(Counter(clip.label for clip in each.clips).values()) for each in trainings}) == 3
    assert_as_alone(plan, trainings)


@pytest.mark.parametrize(
    "options",
    [
        {"optim": "sgd", "optim_args": "momentum=0.9", "weight_decay": 0.01, "lr_step_epochs": 1},
        {"max_grad_norm": 0.3, "model": {**MODEL, "loss": "focal"}},
        {"max_grad_norm": 0, "optim": "sgd", "learning_rate": 0.03},
        {"ema_decay": 0.9, "lr_scheduler_type": "cosine", "weight_decay": 0.05},
        {"max_steps": 7, "warmup_steps": 2},
        {"num_train_epochs": 1.5, "mirror": False},
        {"model": {**MODEL, "dropout": 0.3, "backbone_kwargs": {"width": 4, "drop_rate": 0.0}}},
        {"per_device_train_batch_size": 64},
        {"per_device_train_batch_size": 16},  # fold a leaves out a last batch of one clip, the others have one of 12
        {"drawn_per_clip": 2},
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_what_a_recipe_says_of_optimisation_holds_for_each(make_clips, tmp_path, options):
    plan, clips = planned(tmp_path, make_clips("flow", repeats=2), **{**EVEN, **options})
    assert_as_alone(plan, uneven(clips))


def test_jittered_clips_are_jittered_as_in_separate_trainings(make_clips, tmp_path):
    plan, clips = planned(tmp_path, make_clips("frames", repeats=2), **{**EVEN, "num_train_epochs": 2})
    assert "clips" in begin(plan, clips, 1).source.__getitems__([0, 1])
    assert_as_alone(plan, uneven(clips))


def test_drawn_trainings_of_several_seeds_are_made_as_one(tmp_path):
    plan = plan_of(tmp_path, None, **{**DRAWN, "bf16": False, "adam_epsilon": 1e-3})
    assert_as_alone(plan, [Training([], 3, "seed 3"), Training([], 4, "seed 4")])


def test_bf16_goes_through_as_well(make_clips, tmp_path):
    plan, clips = planned(tmp_path, make_clips("flow", repeats=2), **EVEN)
    exact = train(plan, *uneven(clips)[0])
    plan = plan_of(tmp_path, make_clips("flow", repeats=2), **{**EVEN, "bf16": True})
    rough = next(train_all(plan, uneven(clips), 3))
    weights = [trained.model.classifier.weight for trained in (exact, rough)]
    assert not torch.equal(*weights)
    torch.testing.assert_close(*weights, atol=0.02, rtol=0.1)
    assert weights[1].dtype == torch.float32


def test_a_fold_has_the_same_weights_whoever_is_trained_with_it(make_clips, tmp_path):
    plan, clips = planned(tmp_path, make_clips("flow", repeats=2), **EVEN)
    trainings = uneven(clips)
    for on_device in (False, True):
        whole = [each.model.state_dict() for each in made(plan, trainings, on_device)]
        for fold, parts in enumerate(([trainings[0]], [trainings[1], trainings[0]], [trainings[2]])):
            again = next(iter(made(plan, parts, on_device))).model.state_dict()
            for name, value in again.items():
                torch.testing.assert_close(value, whole[(0, 1, 2)[fold]][name], atol=2e-5, rtol=2e-4)


def made(plan, trainings, on_device):
    """Train as one; with the dropout that devices other than CPUs have, where asked for."""
    together = Together([begin(plan, *training) for training in trainings])
    if on_device:
        together.masks = lambda inputs: together.hashed_masks(inputs)
    return together.train()


def test_clips_of_a_held_out_subject_leave_its_fold_as_it_is_to_the_bit(make_clips, tmp_path):
    dataset = make_clips("flow", repeats=2)
    rows = dataset.to_list()
    for row in rows[:6]:
        row["flow"] = np.random.default_rng(0).normal(0, 9, (2, 12, 12)).tolist()
    spoilt = Dataset.from_list(rows, features=dataset.features)
    spoilt = with_labels(spoilt, [(label + (row < 6)) % 3 for row, label in enumerate(dataset["label"])])
    found = []
    for clips_of in (dataset, spoilt):
        plan, clips = planned(tmp_path, clips_of, **{**EVEN, "model": {**MODEL, "logit_adjustment": 0.5}})
        trainings = [Training(clips[6:], 1, "without s1"), Training([*clips[:6], *clips[13:]], 2, "without s2")]
        found.append([each.model.state_dict() for each in train_all(plan, trainings, 2)])
    before, after = found
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert not torch.allclose(before[1]["classifier.weight"], after[1]["classifier.weight"])


def test_a_fold_that_goes_astray_is_named(make_clips, tmp_path):
    plan, clips = planned(tmp_path, make_clips("flow"), num_train_epochs=4)
    content = clips[0].content
    spoilt = type(clips[0])(type(content)(content.motion + np.float32(np.inf), 0, content.onsets), clips[0].label)
    trainings = [Training(clips[1:], 1, "fold s1"), Training([spoilt, *clips[1:]], 2, "fold s2")]
    with pytest.raises(RunError, match="fold s2 went astray in epoch 1: its weights are no longer finite"):
        list(train_all(plan, trainings, 2))


# --- random numbers of a device ---


def test_hashed_words_follow_from_key_step_and_layer_and_look_random():
    keys, steps = torch.tensor([1, 2, 2**32 - 1]), torch.tensor([0, 0, 5])
    words = hashed_words(keys, steps, 1, 4096)
    assert torch.equal(words[:, :100], hashed_words(keys, steps, 1, 100))
    assert torch.equal(words[1], hashed_words(keys[1:2], steps[1:2], 1, 4096)[0])
    others = [hashed_words(keys + 1, steps, 1, 4096), hashed_words(keys, steps + 1, 1, 4096)]
    others += [hashed_words(keys, steps, 2, 4096), words.flip(0)[:, :1].expand(-1, 4096), words.roll(1, 1)]
    bits = words[..., None] >> torch.arange(64) & 1
    assert len(set(words.flatten().tolist())) == words.numel()
    assert (bits.double().mean((0, 1)) - 0.5).abs().max() < 5 * 0.5 / np.sqrt(3 * 4096)
    for other in others:
        apart_bits = ((words ^ other)[..., None] >> torch.arange(64) & 1).double().mean((0, 1))
        assert (apart_bits - 0.5).abs().max() < 6 * 0.5 / np.sqrt(3 * 4096)


def test_the_words_are_those_of_splitmix64():
    def mixed(word):
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        return word ^ word >> 31

    stream = mixed((mixed(77) + 3 * 2**16 + 2) % 2**64)
    expected = [mixed((stream + place * 0x9E3779B97F4A7C15) % 2**64) for place in range(5)]
    found = hashed_words(torch.tensor([77]), torch.tensor([3]), 2, 5)[0].tolist()
    assert [word % 2**64 for word in found] == expected


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_a_part_p_of_the_elements_is_dropped_and_the_mean_is_kept(p):
    kept = kept_by_bits(hashed_words(torch.tensor([5]), torch.tensor([9]), 0, 20_000), 40_000, p, torch.float32)
    assert kept.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-4)
    assert float((kept == 0).float().mean()) == pytest.approx(p, abs=0.012)


# --- how many at once ---


def test_a_cpu_trains_one_after_the_other_unless_the_recipe_says_otherwise(make_clips, tmp_path):
    for given, size in {"auto": 1, "1": 1, "3": 3}.items():
        plan, clips = planned(tmp_path, make_clips("flow"), fold_batch=given)
        assert fold_batch(plan, Training(clips, 1, "")) == size


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5", "", "99999999"])
def test_another_fold_batch_is_refused(tmp_path, given):
    with pytest.raises(RecipeError, match="fold_batch must be auto, or a number from 1 to 10000, got"):
        recipe_of(tmp_path, fold_batch=given)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (APPEARANCE, "every fold has a mask of its own"),
        (SEQUENCE, "the last steps keep their batch statistics"),
        (
            {"model": {"section_pools": [1], "backbone": "resnet10t", "backbone_kwargs": {}}},
            "backbone resnet10t may hold",
        ),
        ({"optim": "adafactor"}, "optim is adafactor"),
        ({"optim": "sgd", "optim_args": "momentum=0.9,nesterov=true"}, "optim_args asks for nesterov"),
        ({"gradient_accumulation_steps": 2}, "a step is accumulated from parts"),
        ({"report_to": "tensorboard"}, r"\['tensorboard'\] track one training"),
        ({"logging_strategy": "steps"}, "logging_strategy is steps, not epoch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_what_cannot_be_made_as_one_is_refused_by_name_and_trained_apart_otherwise(
    make_clips, tmp_path, options, reason
):
    dataset = make_clips("frames" if options in (APPEARANCE, SEQUENCE) else "flow")
    plan = plan_of(tmp_path, dataset, **options)
    with pytest.raises(RunError, match=f"fold_batch is 2, but .*{reason}.*; say --fold-batch 1"):
        fold_batch(plan_of(tmp_path, dataset, fold_batch="2", **options), Training([], 1, ""))
    assert apart(plan) is not None
    assert fold_batch(plan, Training([], 1, "")) == 1


def test_what_a_step_keeps_grows_with_pictures_maps_and_batch(make_clips, tmp_path):
    def kept(**options):
        plan, clips = planned(tmp_path, make_clips("flow", repeats=2), **options)
        return kept_for_backward(begin(plan, clips, 1))

    least = kept()
    wide = {**MODEL, "backbone_kwargs": {"width": 16}}
    assert least > 4 * 4 * 4 * 8 * 8  # the maps of the stem's convolution alone, 4 clips of 4 maps, fp32
    assert kept(per_device_train_batch_size=8) == 2 * least
    assert kept(model=wide) > 3 * least


# --- whole runs ---


@pytest.mark.parametrize("size", ["2", "8"])
def test_a_run_in_batches_of_folds_predicts_as_one_after_the_other(make_clips, tmp_path, size):
    dataset, options = make_clips("flow", repeats=2), {**EVEN, "seeds": 2, "average_seeds": True}
    outcomes = [run_in(tmp_path / given, dataset, fold_batch=given, **options) for given in ("1", size)]
    tables = [outcome.predictions.set_index(["fold", "seed", "clip_id"]) for outcome in outcomes]
    np.testing.assert_allclose(tables[0][SCORES], tables[1][SCORES], atol=1e-4)
    assert tables[0].index.equals(tables[1].index)
    weights = [outcome.model.state_dict() for outcome in outcomes]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=2e-5, rtol=2e-4)
    curves = [json.loads((tmp_path / given / "folds/s1/seed-42.json").read_text())["curve"] for given in ("1", size)]
    assert [entry["loss"] for entry in curves[1]] == pytest.approx([e["loss"] for e in curves[0] if "loss" in e], 1e-3)


def test_finished_folds_stay_and_a_chunk_that_was_cut_off_is_trained_again(make_clips, tmp_path, monkeypatch):
    dataset, options = make_clips("flow", repeats=2), {**EVEN, "seeds": 2, "fold_batch": "4"}
    whole = run_in(tmp_path / "whole", dataset, **options).predictions
    real, begun = Together.train, []

    def cut_off(self):
        begun.append([trainer.name for trainer in self.trainers])
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(batched.Together, "train", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path / "cut", dataset, **options)
    kept = states(tmp_path / "cut")
    assert len(kept) == 4
    again = run_in(tmp_path / "cut", dataset, **options).predictions
    assert [len(names) for names in begun] == [4, 2, 2, 1]  # the last is the model of all clips
    assert begun[1] == begun[2]
    assert {path: states(tmp_path / "cut")[path] for path in kept} == kept
    columns = ["fold", "seed", "clip_id"]
    np.testing.assert_array_equal(again.sort_values(columns)[SCORES], whole.sort_values(columns)[SCORES])
