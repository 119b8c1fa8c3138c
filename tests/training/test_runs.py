"""Whole runs: nothing is learnt from the held-out side, one that was stopped goes on, processes share the folds."""

import itertools
import json
import runpy
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import PartialState
from datasets import Dataset, Features, Value, load_from_disk
from filelock import FileLock
from PIL import Image as Picture
from safetensors.torch import load_file
from sklearn.metrics import f1_score

from mer_hf.commands import main
from mer_hf.evaluation.confidence import fitted
from mer_hf.hub.models import Recogniser
from mer_hf.rcn.motion_rcn import motion_energy, moving_pixels
from mer_hf.training import runs
from mer_hf.training.clips import DatasetError, load_clips
from mer_hf.training.plan import RunError
from mer_hf.training.processes import Share
from mer_hf.training.recipe import Recipe
from mer_hf.training.runs import MAY_DIFFER, run, score, train
from mer_hf.training.trainer import predict
from tiny import (
    APPEARANCE,
    CLASSES,
    OPTIONS,
    SCORES,
    assert_scored,
    environment,
    folder_of,
    naive_logits,
    plan_of,
    planned,
    results_of,
    run_in,
    saved_model,
    states,
    with_labels,
)

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"


# --- nothing is learnt from the held-out side, and clips are joined by their id ---


@pytest.mark.parametrize("kind", ["flow", "frames"])
def test_each_clip_is_judged_by_a_model_that_saw_the_other_subjects_only(make_clips, tmp_path, trained, kind):
    dataset = make_clips(kind, repeats=2).shuffle(seed=1).select(range(15))
    model = {**OPTIONS["model"], "loss": "class_balanced"}
    table = run_in(tmp_path / "out", dataset, model=model).predictions
    plan, clips = planned(tmp_path, dataset, model=model)
    folds = dict(zip(["s1", "s2", "s3"], trained, strict=False))
    assert len(trained) == 4  # the folds, and the model of all clips
    for subject, (fold, learnt) in folds.items():
        seen = [clip for clip, name in zip(clips, dataset["subject"], strict=True) if name != subject]
        assert len(seen) == len(learnt)
        for one, other in zip(seen, learnt, strict=True):
            assert one.label == other.label
            np.testing.assert_array_equal(one.content.motion, other.content.motion)
        counts = Counter(clip.label for clip in seen)
        assert fold.model.config.class_counts == [counts[label] for label in range(3)]
    assert len(trained[3][1]) == 15
    for clip, clip_id, subject in zip(clips, dataset["clip_id"], dataset["subject"], strict=True):
        scores = naive_logits(folds[subject][0].model, plan.processor, clip).softmax(0)
        row = table[table.clip_id == clip_id].iloc[0]
        np.testing.assert_allclose([row[name] for name in SCORES], scores, atol=1e-5)


def test_labels_of_the_held_out_side_do_not_change_its_scores(make_clips, tmp_path):
    dataset = make_clips("flow", repeats=2)
    labels = [
        (label + 1) % 3 if subject == "s1" else label
        for label, subject in zip(dataset["label"], dataset["subject"], strict=True)
    ]
    options = {"folds": "s1,s2", "num_train_epochs": 5}
    before, after = (
        run_in(tmp_path / name, clips, **options).predictions.set_index(["fold", "clip_id"])
        for name, clips in [("before", dataset), ("after", with_labels(dataset, labels))]
    )
    assert (before.loc["s1"].label != after.loc["s1"].label).all()
    pd.testing.assert_frame_equal(before.loc["s1"][SCORES], after.loc["s1"][SCORES])
    assert not np.allclose(before.loc["s2"][SCORES], after.loc["s2"][SCORES])  # where s1 is on the training side


def with_other_frames(dataset, clip_id, donor):
    """The dataset with the frames of another clip, and so other moving pixels, in one."""
    frames = {row["clip_id"]: row["frames"] for row in dataset}
    rows = [{**row, "frames": frames[donor]} if row["clip_id"] == clip_id else row for row in dataset]
    return Dataset.from_list(rows, features=dataset.features)


def test_held_out_clips_change_neither_the_mask_of_their_fold_nor_what_is_said_of_others(make_clips, tmp_path, trained):
    dataset = make_clips("frames", repeats=2)
    changed = "s1/negative@1"
    tables = [
        run_in(tmp_path / name, clips, folds="s1,s2", **APPEARANCE).predictions.set_index(["fold", "clip_id"])
        for name, clips in [("before", dataset), ("after", with_other_frames(dataset, changed, "s1/surprise@0"))]
    ]
    masks = [each.model.rcn.pixel_index for each, _ in trained]
    assert torch.equal(masks[0], masks[3])
    assert not torch.equal(masks[1], masks[4])  # fold s2 learns from the clip that changed
    before, after = (table.loc["s1"] for table in tables)
    pd.testing.assert_frame_equal(before.drop(index=changed), after.drop(index=changed))
    assert before.loc[changed, "score_negative"] != after.loc[changed, "score_negative"]
    for each, clips in trained:
        energies = [motion_energy(clip.frames[:, 0]) for clip in clips]
        pixels = moving_pixels(np.stack(energies)).T.flatten().nonzero()[0]
        assert each.model.rcn.pixel_index.tolist() == pixels.tolist()
        assert each.model.config.num_pixels == len(pixels) < 144


@pytest.mark.parametrize(
    "options",
    [
        {"ema_decay": 0.9, "model": {**OPTIONS["model"], "loss": "class_balanced"}},
        {"drawn_per_clip": 2},
        {"average_seeds": True, "seeds": 2},
        {"average_with": "default", "model": {"backbone_kwargs": {"width": 4}}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_clips_of_a_held_out_subject_change_nothing_that_its_fold_says_of_others(make_clips, tmp_path, options):
    """All of its clips but one are replaced by noise; what is said of that one stays, to the bit."""
    dataset = make_clips("flow")
    rows = dataset.to_list()
    for row in rows[:2]:
        row["flow"] = np.random.default_rng(0).normal(0, 9, (2, 12, 12)).tolist()
    spoilt = Dataset.from_list(rows, features=dataset.features)
    before, after = (
        run_in(tmp_path / name, clips, folds="s1,s2", **options).predictions.set_index(["fold", "seed", "clip_id"])
        for name, clips in [("before", dataset), ("after", spoilt)]
    )
    spared = [(*key,) for key in before.loc[["s1"]].index if key[2] == dataset["clip_id"][2]]
    pd.testing.assert_frame_equal(before.loc[spared], after.loc[spared])
    assert not np.allclose(before.loc["s2"][SCORES], after.loc["s2"][SCORES])


def test_equal_seeds_give_equal_predictions_whatever_else_is_run_and_other_seeds_others(
    flow_run, flow_folder, tmp_path
):
    rows = pd.read_csv(flow_run / "predictions.csv").set_index(["seed", "fold"])
    options = {"seed": 43, "folds": "s2", "num_train_epochs": 5}
    alone = run_in(tmp_path / "alone", load_from_disk(flow_folder), **options).predictions.set_index(["seed", "fold"])
    pd.testing.assert_frame_equal(alone, rows.loc[[(43, "s2")]])
    assert not np.allclose(rows.loc[(42, "s2")].score_negative, rows.loc[(43, "s2")].score_negative)


# --- protocols ---


def test_lovo_holds_out_clips_and_writes_none_of_their_names_outside_the_output(make_clips, tmp_path):
    dataset = make_clips("flow", subjects=("s1", "s2"))
    names = [str(tmp_path / "clips" / "one.avi"), "../../two", "three@1", "three_1", "..", "six"]
    dataset = dataset.remove_columns("clip_id").add_column("clip_id", names)
    table = run_in(tmp_path / "out", dataset, protocol="lovo").predictions
    assert list(table.clip_id) == list(table.fold) == names
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(list((tmp_path / "out" / "folds").rglob("seed-42.json"))) == 6


def test_kfold_holds_out_each_subject_once(make_clips, tmp_path):
    dataset = make_clips("flow", subjects=("s1", "s2", "s3", "s4", "s5"))
    table = run_in(tmp_path / "out", dataset, protocol="kfold", num_folds=2).predictions
    assert sorted(table.clip_id) == sorted(dataset["clip_id"])
    folds_of = table.groupby("subject").fold.unique()
    assert {subject: len(folds) for subject, folds in folds_of.items()} == dict.fromkeys(set(dataset["subject"]), 1)
    assert set(table.fold) == {"fold-0", "fold-1"}


def test_none_trains_on_all_clips_and_predicts_nothing(make_clips, tmp_path, trained):
    outcome = run_in(tmp_path / "out", make_clips("flow"), protocol="none")
    assert [len(clips) for _, clips in trained] == [9]
    assert outcome.model.config.id2label == dict(enumerate(CLASSES))
    assert (outcome.model.config.num_channels, outcome.processor.num_channels, outcome.model.training) == (2, 2, False)
    assert outcome.predictions is None
    assert outcome.results["counts"]["clips"] == 9
    assert not {"seeds", "pooled", "mean"} & set(outcome.results)
    assert list(outcome.model.config.training_subjects) == ["s1", "s2", "s3"]


def test_only_the_named_folds_are_run_each_once(make_clips, tmp_path, trained):
    table = run_in(tmp_path / "out", make_clips("flow"), folds="s3, s1,s3").predictions
    assert list(table.fold) == ["s3"] * 3 + ["s1"] * 3
    assert len(trained) == 3


def test_a_class_that_only_the_held_out_side_shows_is_refused_before_any_training(make_clips, tmp_path, trained):
    dataset = make_clips("flow").filter(lambda row: row["subject"] == "s2" or row["label"] != 1)
    with pytest.raises(RunError, match="fold s2: no training clip shows positive"):
        run_in(tmp_path / "out", dataset)
    assert trained == []
    assert not (tmp_path / "out").exists()
    assert set(run_in(tmp_path / "out", dataset, folds="s1").predictions.fold) == {"s1"}


def test_batches_that_training_leaves_out_are_predicted_all_the_same(make_clips, tmp_path):
    dataset = make_clips("flow")
    options = {"dataloader_drop_last": True, "per_device_eval_batch_size": 2}
    table = run_in(tmp_path / "out", dataset, folds="s1,s2", **options).predictions
    assert list(table.clip_id) == dataset["clip_id"][:6]


@pytest.mark.parametrize("feature", ["int64", "float64"])
def test_subjects_that_are_numbers_are_held_out_as_their_text_is(make_clips, tmp_path, feature):
    dataset = make_clips("flow")
    numbers = [int(subject[1:]) for subject in dataset["subject"]]
    as_numbers = dataset.remove_columns("subject").add_column("subject", numbers, feature=Value(feature))
    as_text = dataset.remove_columns("subject").add_column("subject", list(map(str, numbers)))
    first, second = (
        run_in(tmp_path / name, clips, folds="2") for name, clips in [("numbers", as_numbers), ("text", as_text)]
    )
    pd.testing.assert_frame_equal(first.predictions, second.predictions)
    assert list(first.model.config.training_subjects) == ["1", "2", "3"]
    first.save(tmp_path / "saved")
    known = {"average_with": tmp_path / "saved", "model": None}
    with pytest.raises(RunError, match="trained on 3 of the subjects that are held out here, such as 1"):
        run_in(tmp_path / "again", as_text, **known)


# --- ensembles and saved models ---


def test_the_saved_model_may_average_the_seeds_and_their_mean_is_scored(make_clips, tmp_path, trained):
    dataset = make_clips("flow", repeats=2)
    outcome = run_in(tmp_path / "out", dataset, seeds=2, average_seeds=True, bf16=False)
    assert len(trained) == 2 * 3 + 2
    outcome.model.config.temperature = 1.0  # which was fitted to the mean
    clips = load_clips(dataset, outcome.processor)
    members = [predict(each.model, clips, outcome.processor).logits.softmax(1) for each, _ in trained[-2:]]
    assert not torch.allclose(*members)
    torch.testing.assert_close(predict(outcome.model, clips, outcome.processor).logits.softmax(1), sum(members) / 2)
    table = outcome.predictions
    means = table.groupby("clip_id")[SCORES].mean()
    rows = table[table.seed == 42].set_index("clip_id").copy()
    rows["predicted"] = [CLASSES[means.loc[clip].to_numpy().argmax()] for clip in rows.index]
    assert_scored(outcome.scores["ensemble"], rows)


def test_folds_and_the_model_in_the_end_are_averages_with_the_saved_one(make_clips, tmp_path, trained):
    companion, dataset = saved_model(mirror_averaging=True), make_clips("flow", repeats=2)
    options = {"average_with": folder_of(tmp_path / "companion", companion), "seeds": 2, "average_seeds": True}
    outcome = run_in(tmp_path / "out", dataset, **options, bf16=False)
    outcome.model.config.temperature = 1.0  # which was fitted to the mean
    clips = load_clips(dataset, outcome.processor)

    def says(model):
        return predict(model, clips, outcome.processor).logits.softmax(1)

    *folds, first, second = [each.model for each, _ in trained]
    expected = says(first) / 4 + says(second) / 4 + says(companion.model) / 2
    torch.testing.assert_close(says(outcome.model), expected)
    table = outcome.predictions.set_index("clip_id")
    held_out = [row for row, subject in enumerate(dataset["subject"]) if subject == "s1"]
    told = (says(folds[0]) + says(companion.model))[held_out] / 2
    rows = table[(table.fold == "s1") & (table.seed == 42)].loc[[dataset["clip_id"][row] for row in held_out]]
    np.testing.assert_allclose(rows[SCORES], told, atol=1e-6)


@pytest.mark.parametrize("option", ["start", "average_with"])
def test_a_model_knows_the_subjects_of_what_it_began_with_or_is_averaged_with(make_clips, tmp_path, option):
    seen = folder_of(tmp_path / "seen", saved_model(training_subjects=["s2", "somebody"]))
    outcome = run_in(tmp_path / "out", make_clips("flow"), protocol="none", model=None, **{option: seen})
    assert list(outcome.model.config.training_subjects) == ["s1", "s2", "s3", "somebody"]


# --- from which score on it can be relied on ---


@pytest.mark.parametrize("averaged", [False, True])
def test_the_model_in_the_end_knows_from_which_score_on_it_can_be_relied_on(make_clips, tmp_path, averaged):
    outcome = run_in(tmp_path, make_clips("flow", repeats=2), seeds=2, average_seeds=averaged)
    rows, config = outcome.predictions, outcome.model.config
    if averaged:
        how = {**dict.fromkeys(SCORES, "mean"), "label": "first", "subject": "first"}
        rows = rows.groupby("clip_id", as_index=False).agg(how)
    logits, labels = np.log(rows[SCORES].to_numpy()), rows.label.map(CLASSES.index).to_numpy()
    found = fitted(logits, labels, rows.subject.tolist())
    assert outcome.scores["confidence"] == pytest.approx(found, abs=1e-4)
    assert config.temperature == pytest.approx(found["temperature"], abs=1e-3)
    assert 0 <= config.abstain_below - found["abstain_below"] < 2e-4
    assert config.abstain_because.startswith("of clips of people on whom it was not trained, at most 20% of")
    saved = folder_of(tmp_path / "saved", Recogniser(outcome.model, outcome.processor))
    other = make_clips("flow", subjects=("n1", "n2"))
    started = plan_of(tmp_path / "other", other, model=None, start=saved).config
    assert (started.temperature, started.abstain_below, started.abstain_because) == (1.0, None, None)


@pytest.mark.parametrize("options", [{"protocol": "lovo"}, {"protocol": "none"}, {"folds": "s2"}])
def test_nobody_says_so_where_no_clips_of_two_other_people_tell(make_clips, tmp_path, options):
    outcome = run_in(tmp_path, make_clips("flow", repeats=2), **options)
    assert "confidence" not in outcome.scores
    assert (outcome.model.config.temperature, outcome.model.config.abstain_below) == (1.0, None)


# --- scoring a saved model ---


@pytest.mark.parametrize("kind", ["flow", "picture", "frames"])
def test_a_saved_model_is_scored_on_all_clips_by_what_it_says_of_each(make_clips, kind):
    saved = saved_model(["surprise", "negative", "positive"])
    dataset = make_clips(kind)
    outcome = score(saved, dataset, batch_size=4, device="cpu")
    table = outcome.predictions
    clips = load_clips(dataset, saved.processor)
    scores = predict(saved.model, clips, saved.processor).logits.softmax(1)
    assert table.clip_id.tolist() == list(dataset["clip_id"])
    assert table.label.tolist() == [CLASSES[label] for label in dataset["label"]]
    for column, name in enumerate(["surprise", "negative", "positive"]):
        np.testing.assert_allclose(table[f"score_{name}"], scores[:, column], atol=1e-6)
    expected = f1_score(table.label, table.predicted, average="macro", zero_division=0)
    assert outcome.results["pooled"]["uf1"] == pytest.approx(expected)
    assert outcome.results["counts"]["clips"] == len(dataset)
    assert outcome.scores["clips_of_training_subjects"] == 0


def test_flow_of_every_size_is_brought_to_that_of_the_model(make_clips):
    saved, dataset = saved_model(), make_clips("picture")
    larger = dataset.map(lambda row: {"flow": row["flow"].resize((24, 36), Picture.Resampling.NEAREST)})
    first, second = (score(saved, clips).predictions for clips in (dataset, larger))
    pd.testing.assert_frame_equal(first, second, atol=1e-6)


@pytest.mark.parametrize("spelt", [["s2", "x"], ["s2", "s3"]])
def test_clips_of_people_whom_the_model_knows_are_counted(make_clips, spelt):
    outcome = score(saved_model(training_subjects=spelt), make_clips("flow"))
    assert outcome.scores["clips_of_training_subjects"] == 3 * len({"s2", "s3"} & set(spelt))


def test_what_cannot_be_scored_is_refused(make_clips):
    with pytest.raises(RunError, match=r"clips is 'casme2'; give what mer_hf\.load_dataset gives, or 'action-units'"):
        score(saved_model(), "casme2")
    with pytest.raises(DatasetError, match="the dataset shows surprise"):
        score(saved_model(["negative", "positive", "others"]), make_clips("flow"))


# --- from Python ---


def test_training_from_python_is_that_of_the_command_whatever_it_is_given(flow_folder, flow_recipe, flow_run, tmp_path):
    clips = load_from_disk(flow_folder)
    outcome = train(flow_recipe, clips, tmp_path / "run")
    outcome.save(tmp_path / "saved")
    for name in ("predictions.csv", "recipe.json"):
        assert (tmp_path / "saved" / name).read_bytes() == (flow_run / name).read_bytes()
    theirs, ours = results_of(flow_run), results_of(tmp_path / "saved")
    for results in (theirs, ours):
        results.pop("wall_time_s")
    assert ours == theirs
    for name in ("model.safetensors", "config.json", "video_preprocessor_config.json"):
        assert (tmp_path / "saved" / "model" / name).read_bytes() == (flow_run / "model" / name).read_bytes()
    options = {**OPTIONS, "num_train_epochs": 5, "dataset": str(flow_folder), "seeds": 2}
    recipe = Recipe(**{name: options.pop(name) for name in ("model", "processor", "dataset", "seeds")})
    again = train(recipe, output_dir=tmp_path / "run", **options)  # finished folds are found
    pd.testing.assert_frame_equal(again.predictions, outcome.predictions)


def test_without_a_folder_nothing_is_left_behind(make_clips, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    recipe = Recipe(model=OPTIONS["model"], protocol="none")
    assert train(recipe, make_clips("flow"), use_cpu=True, num_train_epochs=1).model.config.num_labels == 3
    assert list(tmp_path.iterdir()) == []


# --- going on where a run was stopped ---


def test_finished_folds_are_not_trained_again_and_further_folds_and_seeds_may_join(make_clips, tmp_path, trained):
    dataset = make_clips("flow")
    output_dir = tmp_path / "out"
    first = run_in(output_dir, dataset, folds="s1,s2").predictions
    before = states(output_dir)
    assert (len(before), len(trained)) == (2, 3)
    again = run_in(output_dir, dataset, folds="s1,s2").predictions
    pd.testing.assert_frame_equal(first, again)
    assert states(output_dir) == before
    assert len(trained) == 4  # the model of all clips alone
    more = run_in(output_dir, dataset, seeds=2).predictions
    assert len(trained) == 4 + 4 + 1
    assert len(more) == 2 * len(dataset)
    assert before.items() <= states(output_dir).items()


def test_a_fold_whose_file_does_not_hold_is_trained_again_to_the_same(make_clips, tmp_path, trained, caplog):
    dataset, output_dir = make_clips("flow"), tmp_path / "out"
    first = run_in(output_dir, dataset)
    paths = {path.parent.name: path for path in states(output_dir)}
    contents = {name: path.read_bytes() for name, path in paths.items()}
    paths["s1"].write_bytes(contents["s2"])
    paths["s3"].write_bytes(contents["s3"].replace(b"0.", b"1.", 1))
    again = run_in(output_dir, dataset)
    assert len(trained) == 4 + 2 + 1
    lines = [message for message in caplog.messages if "is trained again" in message]
    assert [line.split("; ")[1] for line in lines] == [f"fold {s}, seed 42 is trained again" for s in ("s1", "s3")]
    pd.testing.assert_frame_equal(first.predictions, again.predictions)
    assert paths["s2"].read_bytes() == contents["s2"]


def test_another_recipe_or_other_data_in_the_same_folder_is_refused_with_what_differs(make_clips, tmp_path, trained):
    dataset = make_clips("flow")
    output_dir = tmp_path / "out"
    run_in(output_dir, dataset, folds="s1", bf16=False)
    before, count = states(output_dir), len(trained)
    other_labels = with_labels(dataset, [*dataset["label"][:-1], 0])
    other_subjects = dataset.remove_columns("subject").add_column("subject", [*dataset["subject"][:-1], "s4"])
    for message, clips, changes in [
        ("learning_rate was 0.03, is 0.5", dataset, {"learning_rate": 0.5}),
        ("mirror was True, is False", dataset, {"mirror": False}),
        ("seed was 42, is 7", dataset, {"seed": 7}),
        ("model was .*'dropout': 0.1", dataset, {"model": {**OPTIONS["model"], "dropout": 0.1}}),
        ("precision was 'no', is 'bf16'", dataset, {"bf16": True}),
        ("data_sha256", make_clips("flow", seed=1), {}),
        ("data_sha256", other_labels, {}),
        ("data_sha256", other_subjects, {}),
        ("data_sha256", dataset.select(range(8)), {}),
    ]:
        with pytest.raises(RunError, match=message) as refused:
            run_in(output_dir, clips, **{"folds": "s1", "bf16": False, **changes})
        assert str(output_dir) in str(refused.value)
    assert (states(output_dir), len(trained)) == (before, count)


def test_folds_of_other_versions_are_not_pooled(make_clips, tmp_path, monkeypatch):
    plan = plan_of(tmp_path / "out", make_clips("flow"), folds="s1")
    outcome = run(plan)
    assert {"torch", "transformers", "timm", "mer-hf"} <= set(outcome.identity["versions"])
    monkeypatch.setattr(runs, "versions", lambda: {**outcome.identity["versions"], "torch": "1.0"})
    with pytest.raises(RunError, match=r"versions was .*, is .*'torch': '1\.0'"):
        run(plan)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_run_on_the_processor_stays_there_though_the_machine_shows_another_device(
    tmp_path, make_clips, monkeypatch, bf16
):
    """Training arguments that do not say use_cpu, as those that a run is compared with, give accelerate that device."""
    expected = run_in(tmp_path / "without", make_clips("flow"), folds="s1", bf16=bf16).predictions
    monkeypatch.setattr(PartialState, "default_device", property(lambda state: torch.device("meta")))
    outcome = run_in(tmp_path / "out", make_clips("flow"), folds="s1", bf16=bf16)
    pd.testing.assert_frame_equal(outcome.predictions, expected)
    assert {value.device.type for value in outcome.model.state_dict().values()} == {"cpu"}


def test_the_precision_of_a_launcher_is_part_of_what_a_run_is(make_clips, tmp_path, monkeypatch):
    run_in(tmp_path / "out", make_clips("flow"), folds="s1", bf16=False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(RunError, match="precision was 'no', is 'bf16'"):
        run_in(tmp_path / "out", make_clips("flow"), folds="s1")


def test_a_run_may_go_on_on_another_device_or_with_other_processes_or_logs(make_clips, tmp_path, trained):
    dataset = make_clips("flow")
    first = run_in(tmp_path / "out", dataset, folds="s1")
    others = {"use_cpu": False, "num_proc": 2, "control": True, "disable_tqdm": False, "run_name": "x"}
    others |= {"logging_strategy": "steps", "logging_steps": 1, "log_level": "error"}
    assert set(others) <= set(MAY_DIFFER)
    again = run_in(tmp_path / "out", dataset, folds="s1", **others)
    assert len(trained) == 2 + 1
    pd.testing.assert_frame_equal(first.predictions, again.predictions)


@pytest.mark.slow
def test_a_run_that_is_killed_loses_the_fold_it_was_at_and_ends_as_if_undisturbed(
    flow_run, flow_recipe, tmp_path, trained
):
    program = tmp_path / "killed.py"
    program.write_text(
        "import os, runpy, signal, sys\n"
        "from mer_hf.training.trainer import RcnTrainer\n"
        "steps, real = iter(range(20)), RcnTrainer.training_step  # fifteen steps a fold\n"
        "def training_step(*args, **kwargs):\n"
        "    if next(steps, None) is None:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(*args, **kwargs)\n"
        "RcnTrainer.training_step = training_step\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    output_dir = tmp_path / "out"
    argv = [str(flow_recipe), "--output_dir", str(output_dir)]
    killed = subprocess.run([sys.executable, program, *argv], env=environment(), capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    before = states(output_dir)
    assert [path.parent.name for path in before] == ["s1"]
    assert not (output_dir / "predictions.csv").exists()
    assert not (output_dir / "model").exists()

    assert main(["train", *argv]) == 0
    assert len(trained) == 5 + 1
    assert before.items() <= states(output_dir).items()
    assert (output_dir / "predictions.csv").read_bytes() == (flow_run / "predictions.csv").read_bytes()


# --- trainings that go astray ---


@pytest.mark.parametrize("options", [{"learning_rate": 1e30}, {"learning_rate": 1e30, "ema_decay": 0.5}])
def test_a_fold_that_goes_astray_is_an_error_with_its_name_and_epoch_and_is_not_kept(make_clips, tmp_path, options):
    with pytest.raises(RunError, match=r"fold s1, seed 42 went astray in epoch [123]"):
        run_in(tmp_path / "out", make_clips("flow"), num_train_epochs=3, **options)
    assert states(tmp_path / "out") == {}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"folds", "recipe.json"}


def test_scores_that_are_not_finite_are_not_kept(make_clips, tmp_path, monkeypatch):
    """Weights may be finite and still give nothing that is."""
    real = runs.predict

    def overflowing(model, *args):
        model.classifier.weight.data.fill_(3e38)
        return real(model, *args)

    monkeypatch.setattr(runs, "predict", overflowing)
    with pytest.raises(RunError, match="fold s1, seed 42: the scores of held-out clips are not finite numbers"):
        run_in(tmp_path / "out", make_clips("flow"))
    assert states(tmp_path / "out") == {}


@pytest.mark.parametrize(("value", "row"), [(np.nan, 4), (np.inf, 0)])
def test_a_value_that_is_no_number_is_found_before_any_training_with_its_clip(
    make_clips, tmp_path, trained, value, row
):
    dataset = make_clips("flow")
    rows = dataset.to_list()
    rows[row]["flow"][1][2][3] = value
    spoilt = Dataset.from_list(rows, features=Features(dataset.features))
    with pytest.raises(DatasetError, match=f"clip {dataset['clip_id'][row]}: flow holds 1 values that are not finite"):
        run_in(tmp_path / "out", spoilt)
    assert trained == []
    assert not (tmp_path / "out").exists()


# --- tracking and curves ---


def test_the_curve_of_each_fold_is_kept(flow_run):
    for path in states(flow_run):
        curve = [entry for entry in json.loads(path.read_text())["curve"] if "loss" in entry]
        assert [entry["epoch"] for entry in curve] == [1, 2, 3, 4, 5]
        assert all(np.isfinite(entry["loss"]) for entry in curve)


def test_each_fold_and_seed_is_a_tracked_run_with_its_scores_and_tracking_makes_no_other_run(
    make_clips, tmp_path, trained
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    dataset, output_dir = make_clips("flow"), tmp_path / "out"
    options = {"seeds": 2, "folds": "s1,s2", "num_train_epochs": 2}
    outcome = run_in(output_dir, dataset, **options, report_to="tensorboard", run_name="mine")
    folders = {path.parent for path in output_dir.rglob("events.out.tfevents.*")}
    names = [f"fold {fold}, seed {seed}" for seed in (42, 43) for fold in ("s1", "s2")] + ["all clips, seed 42"]
    assert len(folders) == len(names)
    for name in names:
        (folder,) = [folder for folder in folders if name in str(folder)]
        assert "mine" in str(folder.relative_to(output_dir))
        events = EventAccumulator(str(folder)).Reload()
        assert len(events.Scalars("train/loss")) == 2
        if name.startswith("all"):
            continue
        fold, seed = name[5:7], int(name[-2:])
        rows = outcome.predictions[(outcome.predictions.fold == fold) & (outcome.predictions.seed == seed)]
        (scored,) = [event.value for event in events.Scalars("test/accuracy")]
        assert scored == pytest.approx((rows.label == rows.predicted).mean())
        assert events.Scalars("test/uf1")
    count, files = len(trained), set(output_dir.rglob("events.out.tfevents.*"))
    again = run_in(output_dir, dataset, **options)
    assert len(trained) == count + 1, "the model of all clips alone"
    pd.testing.assert_frame_equal(again.predictions, outcome.predictions)
    assert set(output_dir.rglob("events.out.tfevents.*")) == files, "and it is not tracked"


# --- several processes ---


def test_a_second_process_leaves_folds_alone_that_are_being_trained_and_the_results_to_the_first(
    make_clips, tmp_path, trained
):
    dataset = make_clips("flow")
    plan = plan_of(tmp_path / "out", dataset, seeds=2)
    (tmp_path / "out" / "folds" / "s2").mkdir(parents=True)
    with FileLock(tmp_path / "out" / "folds" / "s2" / "seed-42.lock"):
        assert run(plan, Share(1, 2)) is None
    kept = [f"{path.parent.name} {path.stem}" for path in states(tmp_path / "out")]
    assert kept == ["s1 seed-43", "s3 seed-43"]
    assert len(trained) == 2
    assert not list((tmp_path / "out").glob("*s.*"))
    outcome = run(plan, Share(0, 2))
    assert len(trained) == 2 + 5
    assert sorted(outcome.predictions.clip_id) == sorted([*dataset["clip_id"]] * 2)
    assert outcome.results["num_processes"] == 2


@pytest.mark.slow
def test_two_processes_of_a_launcher_share_the_folds_and_predict_what_one_does(flow_run, flow_recipe, tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    program = tmp_path / "logged.py"
    program.write_text(
        "import os, pathlib, runpy, time\n"
        f"log, own = pathlib.Path({str(log)!r}), os.environ['RANK']\n"
        "from mer_hf.training import runs\n"
        "real = runs.predictions_table\n"
        "def predictions_table(*args):\n"
        "    with (log / own).open('a') as file:\n"
        "        print(args[2], args[3], file=file)\n"
        "    end = time.monotonic() + 60  # neither does all before the other starts\n"
        "    while len(list(log.iterdir())) < 2 and time.monotonic() < end:\n"
        "        time.sleep(0.05)\n"
        "    return real(*args)\n"
        "runs.predictions_table = predictions_table\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    output_dir = tmp_path / "out"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    argv = [str(flow_recipe), "--output_dir", str(output_dir)]
    done = subprocess.run(
        [*launcher, program, *argv], env=environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    by_rank = {path.name: path.read_text().splitlines() for path in log.iterdir()}
    assert set(by_rank) == {"0", "1"}
    assert sorted(by_rank["0"] + by_rank["1"]) == sorted(f"s{n} {seed}" for n in (1, 2, 3) for seed in (42, 43))
    assert results_of(output_dir)["num_processes"] == 2
    assert (output_dir / "predictions.csv").read_bytes() == (flow_run / "predictions.csv").read_bytes()
    assert (output_dir / "model" / "config.json").is_file()


@pytest.mark.slow
def test_machines_without_a_common_disk_gather_what_they_found_and_a_killed_one_loses_nothing(
    flow_run, flow_recipe, tmp_path
):
    """The second process is killed at its second fold, and the launcher starts both again."""
    program = tmp_path / "apart.py"
    program.write_text(
        "import os, pathlib, runpy, signal, sys\n"
        "from mer_hf.training import runs\n"
        "rank, attempt = os.environ['RANK'], os.environ['TORCHELASTIC_RESTART_COUNT']\n"
        f"log, real = pathlib.Path({str(tmp_path)!r}, f'log-{{rank}}-{{attempt}}'), runs.keep_test\n"
        "def keep_test(plan, clips, job, trained):\n"
        "    if rank == '1' and attempt == '0' and log.exists():\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(plan, clips, job, trained)\n"
        "    with log.open('a') as file:\n"
        "        print(job.path.relative_to(plan.output_dir), file=file)\n"
        "runs.keep_test = keep_test\n"
        f"sys.argv += ['--output_dir', os.path.join({str(tmp_path)!r}, 'machine-' + rank)]\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, "--max-restarts", "1", program, str(flow_recipe)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    logs = {path.name: path.read_text().split() for path in tmp_path.glob("log-*")}
    assert len(logs["log-1-0"]) == 1
    done_files = [name for names in logs.values() for name in names]
    assert len(done_files) == len(set(done_files)) == 6, "nothing that was finished is trained again"
    first, second = tmp_path / "machine-0", tmp_path / "machine-1"
    assert len(states(first)) == len(states(second)) == 6
    assert results_of(first)["num_processes"] == 2
    assert (first / "predictions.csv").read_bytes() == (flow_run / "predictions.csv").read_bytes()
    assert not (second / "results.json").exists()


@pytest.mark.slow
def test_two_processes_train_one_model_as_one_process_does_with_the_same_batches(flow_folder, tmp_path, monkeypatch):
    """On clips, and on drawn motion."""
    program = tmp_path / "one_model.py"
    program.write_text(
        "import json, os, pathlib, runpy, sys\n"
        "rank, (folder, *recipes) = os.environ.get('RANK', 'alone'), map(pathlib.Path, sys.argv[1:])\n"
        "from mer_hf.training import runs\n"
        "def finish_tracking(trained, scores):\n"
        "    world = trained.trainer.args.world_size\n"
        "    (folder / f'{recipe.stem}-{rank}.json').write_text(json.dumps([world, trained.curve]))\n"
        "runs.finish_tracking = finish_tracking\n"
        "runs.score_drawn, runs.calibrate_units = lambda model: [], lambda model: None\n"
        "for recipe in recipes:\n"
        "    sys.argv[1:] = [str(recipe)]\n"
        "    try:\n"
        f"        runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "    except SystemExit as ended:\n"
        "        assert ended.code == 0, ended.code\n"
    )
    still = {"width": 4, "drop_rate": 0.0}  # each process drops other places
    options = {**OPTIONS, "protocol": "none", "num_train_epochs": 2, "bf16": False, "adam_epsilon": 1e-3}
    options |= {"model": {**OPTIONS["model"], "backbone_kwargs": still, "dropout": 0.0, "logit_adjustment": 0.5}}
    drawn = {**options, "dataset": "action-units", "drawn_fields": 20, "processor": {}}
    drawn["model"] = {name: value for name, value in options["model"].items() if name != "logit_adjustment"}
    kinds = {"clips": {**options, "dataset": str(flow_folder)}, "drawn": drawn}
    for batch, (kind, given) in itertools.product((8, 4), kinds.items()):
        given = {**given, "per_device_train_batch_size": batch, "output_dir": str(tmp_path / f"out-{kind}-{batch}")}
        (tmp_path / f"{kind}-{batch}.yaml").write_text(json.dumps(given))

    monkeypatch.setattr(
        sys, "argv", [str(program), str(tmp_path), *(str(tmp_path / f"{kind}-8.yaml") for kind in kinds)]
    )
    for name in ("finish_tracking", "score_drawn", "calibrate_units"):
        monkeypatch.setattr(runs, name, getattr(runs, name))  # the program's changes end with the test
    runpy.run_path(str(program), run_name="__main__")

    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, str(program), str(tmp_path), *(str(tmp_path / f"{kind}-4.yaml") for kind in kinds)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    for kind in kinds:
        alone, together = (load_file(tmp_path / f"out-{kind}-{batch}/model/model.safetensors") for batch in (8, 4))
        told = [tmp_path / f"{kind}-{name}.json" for name in ("8-alone", "4-0", "4-1")]
        (world, curve), *others = (json.loads(path.read_text()) for path in told)
        assert (world, [each for each, _ in others]) == (1, [2, 2])
        for _, other in others:
            for one, two in zip(curve[:-1], other[:-1], strict=True):
                assert two == pytest.approx(one, rel=1e-3)
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, atol=2e-5, rtol=2e-4, msg=name)
