"""Runs that are told beforehand what to test on, and runs whose targets are action units."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Value
from sklearn.metrics import f1_score

import mer_hf
from mer_hf.commands import main
from mer_hf.corpora.licence import GATED
from mer_hf.errors import MerHfError
from mer_hf.hub.models import open_model
from mer_hf.protocols import CD6ME, CD6ME_ACTION_UNITS
from mer_hf.training.clips import DatasetError, crossed
from mer_hf.training.leaks import audit_run
from mer_hf.training.plan import RunError
from mer_hf.training.recipe import RecipeError, read_recipe
from tiny import CLASSES, OPTIONS, argv_of, folder_of, plan_of, results_of, run_in, saved_model, weights_of

UNITS = {"negative": "4", "positive": "6+R12", "surprise": "1+2"}


def with_units(dataset):
    """The clips coded with units that their classes show, but for the last of each subject."""
    last = {subject: row for row, subject in enumerate(dataset["subject"])}
    codes = [None if row in last.values() else UNITS[CLASSES[label]] for row, label in enumerate(dataset["label"])]
    return dataset.add_column("action_units", codes, feature=Value("string"))


@pytest.fixture
def sides(make_clips, tmp_path):
    """The folders of two datasets."""
    folders = tmp_path / "ours", tmp_path / "theirs"
    for folder, subjects, seed in zip(folders, (("s1", "s2", "s3"), ("t1", "t2")), (0, 1), strict=True):
        make_clips("flow", subjects, repeats=2, seed=seed).save_to_disk(folder)
    return folders


# --- train on one dataset, test on another ---


def test_cross_trains_on_one_dataset_tests_on_the_other_and_says_so_everywhere(sides, tmp_path, capsys, trained):
    ours, theirs = sides
    argv = argv_of(tmp_path / "out", dataset=ours, protocol="cross", test_dataset=theirs, num_train_epochs=5)
    assert main(["train", *argv]) == 0
    said = f"Across datasets: the clips of {theirs} were classified by a network that was trained on {ours} alone"
    assert said in capsys.readouterr().out
    assert [len(clips) for _, clips in trained] == [18, 18]  # the fold, and the model in the end
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert set(table.subject) == {"t1", "t2"}
    assert len(table) == 12
    assert set(table.fold) == {"test"}
    results = results_of(tmp_path / "out")
    assert results["recipe"]["protocol"] == "cross"
    assert results["recipe"]["test_dataset"] == str(theirs)
    assert {side: counts["clips"] for side, counts in results["sides"].items()} == {"train": 18, "test": 12}
    assert results["counts"] == results["sides"]["train"]
    assert "confidence" not in results  # the test clips are no inner fold of the model
    model = open_model(str(tmp_path / "out" / "model")).model
    assert model.config.training_subjects == ["s1", "s2", "s3"]
    assert model.config.temperature == 1
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "Across datasets: the clips of theirs were classified by a network that was trained on ours alone" in card
    assert str(tmp_path) not in card
    assert "name: theirs" in card
    assert main(["scores", str(tmp_path / "out")]) == 0
    assert said in capsys.readouterr().out
    page = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "out"), "--out", str(page)]) == 0
    assert said in page.read_text()


def test_what_is_tested_on_changes_no_weight(sides, make_clips, tmp_path):
    ours, theirs = sides
    other = tmp_path / "other"
    make_clips("flow", ("t1", "t2"), repeats=2, seed=9).save_to_disk(other)
    options = {"dataset": ours, "protocol": "cross"}
    one, two = (
        mer_hf.train(read_recipe(**OPTIONS)[0], output_dir=tmp_path / f"to-{place.name}", use_cpu=True,
                     num_train_epochs=1, **options, test_dataset=str(place))
        for place in (theirs, other)
    )  # fmt: skip
    assert torch.equal(weights_of(one.model), weights_of(two.model))
    assert not np.allclose(one.predictions.score_negative, two.predictions.score_negative)


def test_a_run_across_datasets_can_choose_and_be_audited(sides, tmp_path):
    ours, theirs = sides
    options = {"dataset": ours, "protocol": "cross", "test_dataset": theirs, "num_train_epochs": None}
    argv = argv_of(tmp_path / "out", **options)
    assert main(["train", *argv, "--choose-epochs", "1", "2"]) == 0
    assert sum(results_of(tmp_path / "out")["choice"]["chosen"].values()) == 1
    assert audit_run(tmp_path / "out").findings == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda clips: clips, "subjects are in what is trained on and in what is tested on, such as s1"),
        (
            lambda clips: clips.map(lambda row: {"subject": f"t{row['subject']}"}),
            "clip_id 's1/negative@0' stands twice",
        ),
        (
            lambda clips: clips.remove_columns("clip_id").map(lambda row: {"subject": f"t{row['subject']}"}),
            None,
        ),
    ],
    ids=["people in both", "clips in both", "others"],
)
def test_what_is_in_both_datasets_is_refused(make_clips, tmp_path, change, message):
    clips = make_clips("flow")
    change(clips).save_to_disk(tmp_path / "theirs")
    options = {"protocol": "cross", "test_dataset": str(tmp_path / "theirs")}
    if message is None:
        assert mer_hf.train(read_recipe(**OPTIONS)[0], clips, num_train_epochs=1, **options).predictions is not None
        return
    with pytest.raises(MerHfError, match=message):
        mer_hf.train(read_recipe(**OPTIONS)[0], clips, **options)


def test_classes_are_joined_by_name_and_others_are_refused(make_clips):
    ours, theirs = make_clips("flow"), make_clips("flow", ("t1", "t2"))
    turned = theirs.cast_column("label", Value("int64"))
    names = ["Surprise", "negative", "positive"]
    turned = turned.map(lambda row: {"label": (row["label"] + 1) % 3})
    turned = turned.cast_column("label", type(ours.features["label"])(names=names))
    both = crossed(ours, turned)
    assert both.filter(lambda row: row["side"] == "test")["label"][:] == theirs["label"][:]
    odd = theirs.cast_column("label", type(ours.features["label"])(names=["joy", "negative", "surprise"]))
    with pytest.raises(DatasetError, match="shows joy; what is trained on tells negative, positive, surprise"):
        crossed(ours, odd)


def test_frames_with_numbers_and_frames_as_sheets_have_them_fit_together(make_clips, tmp_path):
    ours, theirs = make_clips("frames"), make_clips("frames", ("t1", "t2"))
    theirs = theirs.cast_column("onset", Value("float64")).remove_columns("apex")
    both = crossed(ours, theirs)
    assert both["side"][:] == ["train"] * 9 + ["test"] * 6
    assert run_in(tmp_path / "out", both, protocol="cross", test_dataset="theirs").predictions.subject.nunique() == 2
    with pytest.raises(DatasetError, match="trained on holds flow, and what is tested on frames; both need one"):
        crossed(make_clips("flow"), theirs)


def test_a_model_may_have_seen_those_who_are_trained_on_but_nobody_who_is_tested(sides, tmp_path):
    ours, theirs = sides
    options = {"dataset": ours, "protocol": "cross", "test_dataset": theirs, "model": None}
    for known, refused in (("s1", False), ("t1", True)):
        saved = saved_model()
        saved.model.config.training_subjects = [known]
        argv = argv_of(tmp_path / known, **options, start=folder_of(tmp_path / f"model-{known}", saved))
        assert main(["train", *argv]) == (2 if refused else 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "cross"}, "tests on another: say --test-dataset"),
        ({"test_dataset": "samm"}, "test_dataset would have no effect: it is for --protocol cross"),
        ({"protocol": "cross", "test_dataset": "samm", "folds": "test"}, "folds would have no effect"),
        ({"label_set": "any"}, "one class; say which --action-units are learnt"),
        ({"label_set": "any", "action_units": [4], "control": True}, "control would have no effect"),
        ({"action_units": [0]}, "action_units must be numbers of FACS"),
        ({"protocol": "cd6me", "label_set": "3class"}, "label_set of --protocol cd6me is any"),
        ({"protocol": "cd6me", "action_units": [4]}, "action_units of --protocol cd6me is"),
    ],
)
def test_what_a_recipe_cannot_mean_is_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(**options)


# --- action units as targets ---


def naive_macro_f1(table, units):
    """F1 of each unit that some coded clip shows, and their mean."""
    coded = table[table.action_units.notna()]
    each = []
    for unit in units:
        moved = [str(unit) in code.replace("R", "").split("+") for code in coded.action_units]
        if any(moved):
            each.append(f1_score(moved, coded[f"unit_AU{unit}"] > 0.5, zero_division=0))
    return np.mean(each)


def test_units_of_coded_clips_are_learnt_beside_classes_from_the_command(make_clips, tmp_path, capsys, trained):
    with_units(make_clips("flow", repeats=3)).save_to_disk(tmp_path / "clips")
    argv = argv_of(tmp_path / "out", dataset=tmp_path / "clips", num_train_epochs=10, seeds=2)
    assert main(["train", *argv, "--action-units", "4", "6", "12", "26"]) == 0
    printed = capsys.readouterr().out
    results = results_of(tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"action_units": str})
    assert results["action_units"]["macro_f1"] == pytest.approx(naive_macro_f1(table, [4, 6, 12, 26]))
    assert results["action_units"]["macro_f1"] > 0.9  # each class has its place on the picture, and so have its units
    assert results["action_units"]["clips"] == 24
    assert results["action_units"]["not_shown"] == ["AU26"]
    assert set(results["action_units"]["per_unit"]) == {"AU4", "AU6", "AU12"}
    assert len(results["action_units"]["interval"]) == 2
    assert "pooled" in results
    line = f"action units of 24 coded clips: macro F1 {results['action_units']['macro_f1']:.4f}  95 %"
    assert line in printed
    assert main(["scores", str(tmp_path / "out")]) == 0
    assert line in capsys.readouterr().out
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert f"Action units on 24 coded clips: macro F1 {results['action_units']['macro_f1']:.3f} (95 % interval" in card
    assert main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "page.html")]) == 0
    assert "<h3>Action units</h3>" in (tmp_path / "page.html").read_text()
    for each, clips in trained[:3]:
        assert list(each.model.config.action_units) == [4, 6, 12, 26]
        assert all(clip.units is not None for clip in clips)
    opened = open_model(str(tmp_path / "out" / "model")).model
    assert list(opened.config.action_units) == [4, 6, 12, 26]


def test_codes_of_the_held_out_side_do_not_change_what_is_said_of_it(make_clips, tmp_path):
    dataset = with_units(make_clips("flow", repeats=2))
    changed = dataset.map(lambda row: {"action_units": "1+2+4"} if row["subject"] == "s1" else {})
    before, after = (
        run_in(tmp_path / name, clips, action_units="4", folds="s1").predictions
        for name, clips in (("before", dataset), ("after", changed))
    )
    assert before.action_units[0] != after.action_units[0]
    pd.testing.assert_series_equal(before.unit_AU4, after.unit_AU4)


def test_clips_without_a_code_add_nothing_to_what_is_learnt_of_units(make_clips, tmp_path):
    dataset = with_units(make_clips("flow", repeats=2))
    clips = mer_hf.training.clips.load_clips(dataset, plan_of(tmp_path, dataset).processor, None, [4, 12])
    for clip, code in zip(clips, dataset["action_units"], strict=True):
        expected = [np.nan, np.nan] if code is None else [float("4" in code), float("12" in code)]
        np.testing.assert_array_equal(clip.units, np.array(expected, np.float32))


@pytest.mark.parametrize("jitter", [True, False])
def test_folds_that_are_trained_as_one_learn_the_same_units(make_clips, tmp_path, jitter):
    dataset = with_units(make_clips("flow" if jitter else "frames", repeats=2))
    options = {"num_train_epochs": 3, "action_units": "4", "jitter": jitter, "bf16": False}
    one, three = (
        run_in(tmp_path / size, dataset, fold_batch=size, **options).predictions.sort_values("clip_id")
        for size in ("1", "3")
    )
    np.testing.assert_allclose(one.unit_AU4, three.unit_AU4, atol=1e-3)
    np.testing.assert_allclose(one.score_negative, three.score_negative, atol=1e-3)


def test_units_that_no_clip_shows_or_that_the_other_half_does_not_tell_are_refused(make_clips, tmp_path):
    dataset = with_units(make_clips("flow"))
    with pytest.raises(DatasetError, match="no clip of the dataset is coded with one of the action units 26"):
        plan_of(tmp_path, dataset, action_units="26")
    with pytest.raises(DatasetError, match="no clip of the dataset is coded"):
        plan_of(tmp_path, make_clips("flow"), action_units="4")
    companion = folder_of(tmp_path / "companion", saved_model())
    with pytest.raises(RunError, match="which is averaged with, tells the action units 1 2"):
        plan_of(tmp_path, dataset, action_units="4", average_with=companion, model=None)


def six_corpora(make_clips):
    """Clips that are named as those of CD6ME, in one class."""
    dataset = make_clips("flow", [f"{name}/{person}" for name in CD6ME for person in "ab"], repeats=1)
    dataset = with_units(dataset).map(lambda row: {"corpus": row["subject"].split("/")[0], "label": 0})
    return dataset.cast_column("label", type(dataset.features["label"])(names=["expression"]))


def test_cd6me_holds_six_corpora_out_and_tells_twelve_units(make_clips, tmp_path, capsys):
    six_corpora(make_clips).save_to_disk(tmp_path / "clips")
    argv = argv_of(tmp_path / "out", dataset=tmp_path / "clips", protocol="cd6me", num_train_epochs=3)
    assert main(["train", *argv]) == 2  # a saved dataset has its own classes
    assert "label_set is for corpora" in capsys.readouterr().err
    recipe = read_recipe(protocol="cd6me", **{**OPTIONS, "num_train_epochs": 3})[0]
    outcome = mer_hf.train(recipe, six_corpora(make_clips), output_dir=tmp_path / "out", use_cpu=True)
    outcome.save(tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert "pooled" not in results
    assert "headline" not in results
    assert results["classes"] == ["expression"]
    assert list(dict.fromkeys(outcome.predictions.fold)) == list(CD6ME)
    units = results["action_units"]
    assert units["clips"] == 36  # those without a code count as showing none of the units
    f1 = naive_macro_f1(outcome.predictions.replace({"action_units": {"": None}}), CD6ME_ACTION_UNITS)
    assert units["macro_f1"] == pytest.approx(f1)
    assert units["macro_f1_of_all"] == pytest.approx(f1 * len(units["per_unit"]) / 12)
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "CD6ME: the action units of the clips of each of six corpora were told by" in card
    assert "UF1" not in card.split("## Scores")[1].split("## Training")[0]
    assert main(["scores", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "CD6ME: the action units" in printed
    assert "UF1" not in printed
    assert main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "Macro F1 <b>" in page
    assert "Confusion" not in page


def test_a_licence_that_forbids_to_pass_on_survives_joining(make_clips):
    ours, theirs = make_clips("flow"), make_clips("flow", ("t1", "t2"))
    theirs.info.license = GATED
    assert "may not be passed on" in crossed(ours, theirs).info.license
