"""A fold chooses among candidates without its held-out clips, and what it chose is what it trains."""

import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import f1_score

from mer_hf.commands import main
from mer_hf.hub.cards import card_text
from mer_hf.protocols import Fold, balanced_k_fold
from mer_hf.training.choice import Choosing, best_of, chosen_on_test, inner_folds
from mer_hf.training.clips import with_identity
from mer_hf.training.plan import RunError, make_plan
from mer_hf.training.processes import Share
from mer_hf.training.recipe import Recipe, RecipeError, candidates_of, read_recipe
from mer_hf.training.runs import run, train
from mer_hf.training.trainer import predict
from mer_hf.training.trainer import train as train_one
from tiny import OPTIONS, planned, results_of, states, weights_of, with_labels

DRAWN = str(Path(__file__).parents[2] / "scripts" / "recipes" / "action-units.yaml")
METHODS = {
    "short": {"num_train_epochs": 1, "mirror": False},
    "long": {"num_train_epochs": 4, "model": {**OPTIONS["model"], "backbone_kwargs": {"width": 6}}},
}


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    for name, method in METHODS.items():
        content = {**OPTIONS, **method, "dataset": "elsewhere", "seeds": 7, "output_dir": "elsewhere"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return [str(folder / f"{name}.yaml") for name in METHODS]


@pytest.fixture(scope="module")
def dataset(make_clips):
    """Clips of which some are called otherwise than they look, so that candidates differ."""
    clips = make_clips("flow", repeats=2)
    labels = np.array(clips["label"])
    labels[[1, 8, 15]] = (labels[[1, 8, 15]] + 1) % 3
    return with_labels(clips, labels.tolist())


def train_in(output_dir, clips, source=None, **options):
    return train(source or Recipe(), clips, output_dir, **{"use_cpu": True, **options})


def run_choosing(output_dir, clips, recipes, **options):
    return train_in(output_dir, clips, choose=recipes, **options)


@pytest.fixture(scope="module")
def outcome(dataset, recipes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("choosing") / "out"
    outcome = run_choosing(folder, dataset, recipes, also_test_choice=True)
    outcome.save(folder)
    return folder, outcome


def choices(folder):
    """The choice of each fold, as its file holds it."""
    contents = [json.loads(path.read_text()) for path in sorted((folder / "folds").rglob("seed-42.json"))]
    return {content["fold"]: content["choice"] for content in contents}


# --- what is chosen ---


def naive_choice(dataset, recipe, subject):
    """UF1 of a recipe over inner folds of the other subjects, all by hand."""
    rest = with_identity(dataset).filter(lambda row: row["subject"] != subject)
    plan, clips = planned("nowhere", rest, **{**OPTIONS, **recipe})
    labels, predicted = [], []
    for inner in balanced_k_fold(rest["subject"], rest["label"], 2):
        seed = zlib.crc32(f"42/{subject}/{inner.name}".encode())
        model = train_one(plan, [clips[row] for row in inner.train], seed).model
        held_out = [clips[row] for row in inner.test]
        predicted += predict(model, held_out, plan.processor).logits.argmax(1).tolist()
        labels += [clip.label for clip in held_out]
    return f1_score(labels, predicted, average="macro", zero_division=0)


def test_each_fold_chooses_what_does_best_on_inner_folds_of_the_others(outcome, dataset):
    folder, _ = outcome
    found = choices(folder)
    assert sorted(found) == ["s1", "s2", "s3"]
    expected = {name: naive_choice(dataset, method, "s1") for name, method in METHODS.items()}
    assert found["s1"]["uf1"] == pytest.approx(expected)
    assert found["s1"]["chosen"] == max(expected, key=expected.get)


def test_a_fold_predicts_what_the_recipe_that_it_chose_predicts_in_a_run_alone(outcome, dataset, recipes, tmp_path):
    folder, chosen = outcome
    alone = {
        name: train_in(tmp_path / name, dataset, path, seeds=1).predictions
        for name, path in zip(METHODS, recipes, strict=True)
    }
    for fold, choice in choices(folder).items():
        rows = alone[choice["chosen"]]
        mine = chosen.predictions[chosen.predictions.fold == fold]
        pd.testing.assert_frame_equal(mine.reset_index(drop=True), rows[rows.fold == fold].reset_index(drop=True))
    found = chosen.scores["choice"]
    for name, rows in alone.items():
        uf1 = f1_score(rows.label, rows.predicted, average="macro")
        assert found["candidates"][name]["uf1"] == pytest.approx(uf1)
    best = []
    for fold in choices(folder):
        parts = [rows[rows.fold == fold] for rows in alone.values()]
        best.append(max(parts, key=lambda part: (part.label == part.predicted).sum()))
    picked = pd.concat(best)
    assert found["test_choice"]["uf1"] == pytest.approx(f1_score(picked.label, picked.predicted, average="macro"))
    assert found["test_choice"]["accuracy"] >= chosen.scores["pooled"]["accuracy"]


def test_held_out_clips_and_their_labels_have_no_part_in_the_choice(outcome, dataset, recipes, make_clips, tmp_path):
    folder, _ = outcome
    other = make_clips("flow", repeats=2, seed=9)
    rows = [other[n] if row["subject"] == "s2" else row for n, row in enumerate(dataset)]
    labels = [(row["label"] + 1) % 3 if row["subject"] == "s2" else row["label"] for row in rows]
    changed = with_labels(dataset.from_list(rows, features=dataset.features), labels)
    run_choosing(tmp_path / "out", changed, recipes, folds="s2")
    assert choices(tmp_path / "out")["s2"] == choices(folder)["s2"]


def test_the_model_in_the_end_is_trained_by_what_inner_folds_of_all_clips_choose(outcome, dataset, recipes, tmp_path):
    folder, chosen = outcome
    final = chosen.scores["choice"]["final"]
    jobs = [json.loads(path.read_text()) for path in (folder / "choice").rglob("all clips/*/seed-42.json")]
    assert len(jobs) == 2 * 3
    assert sorted(name for job in jobs for name in job["clips"]) == sorted(dataset["clip_id"][:] * 2)
    path = recipes[list(METHODS).index(final)]
    alone = train_in(tmp_path / "out", dataset, path, seeds=1, protocol="none")
    assert (weights_of(alone.model) == weights_of(chosen.model)).all()
    only = run_choosing(tmp_path / "none", dataset, recipes, protocol="none")
    assert only.scores == {"choice": {"chosen": {}, "final": final, "inner_folds": 3}}
    assert (weights_of(only.model) == weights_of(chosen.model)).all()


def test_epochs_are_chosen_alone_or_for_each_recipe(dataset, recipes, tmp_path):
    base = {**OPTIONS, "num_train_epochs": None}
    outcome = train_in(tmp_path / "out", dataset, choose_epochs=[1, 4], folds="s1", **base)
    assert sorted(choices(tmp_path / "out")["s1"]["uf1"]) == ["1 epochs", "4 epochs"]
    recorded = outcome.results["candidates"]
    assert [recorded[name]["num_train_epochs"] for name in ("1 epochs", "4 epochs")] == [1, 4]
    read = read_recipe(choose=recipes[:2], choose_epochs=[2, 3])
    candidates = candidates_of(*read)
    assert list(candidates) == [f"{name}, {epochs} epochs" for name in ("short", "long") for epochs in (2, 3)]
    assert [arguments.num_train_epochs for _, arguments in candidates.values()] == [2, 3, 2, 3]
    assert [recipe.mirror for recipe, _ in candidates.values()] == [False, False, True, True]


def test_of_equal_candidates_the_first_is_chosen():
    right = pd.DataFrame({"fold": "s1", "seed": 0, "label": ["a", "b"], "predicted": ["a", "b"]})
    wrong = right.assign(predicted=["b", "a"])
    assert best_of({"x": wrong, "y": right, "z": right}, ["a", "b"]).chosen == "y"
    assert best_of({"x": right, "y": right}, ["a", "b"]).uf1 == {"x": 1.0, "y": 1.0}
    named = {name: rows.assign(by=name) for name, rows in {"x": wrong, "y": right, "z": right}.items()}
    assert set(chosen_on_test(named).by) == {"y"}


def test_the_choice_on_test_clips_is_made_for_each_fold_and_seed():
    rows = [(fold, seed, "a") for fold in ("s1", "s2") for seed in (0, 1) for _ in range(2)]
    table = pd.DataFrame(rows, columns=["fold", "seed", "label"]).assign(clip=[0, 1] * 4)
    x = table.assign(predicted=["a", "a", "a", "b", "b", "b", "b", "b"], by="x")
    y = table.assign(predicted=["a", "b", "a", "a", "a", "a", "b", "a"], by="y")
    picked = chosen_on_test({"x": x, "y": y}).set_index(["fold", "seed"]).by
    assert {each: set(picked.loc[[each]]) for each in set(picked.index)} == {
        **{("s1", 0): {"x"}, ("s1", 1): {"y"}},
        **{("s2", 0): {"y"}, ("s2", 1): {"y"}},
    }


def test_inner_folds_hold_each_other_subject_out_once_and_nobody_of_the_outer(dataset):
    fold = Fold("s2", tuple(n for n, name in enumerate(dataset["subject"]) if name != "s2"), ())
    inner = inner_folds(fold, dataset)
    subjects = np.array(dataset["subject"])
    assert sorted(name for part in inner for name in set(subjects[list(part.test)])) == ["s1", "s3"]
    for part in inner:
        assert set(part.train) | set(part.test) == set(fold.train)
        assert not set(subjects[list(part.train)]) & set(subjects[list(part.test)])


# --- what is kept ---


def test_a_run_that_chooses_goes_on_where_it_was(outcome, dataset, recipes, trained):
    folder, before = outcome
    files = states(folder)
    again = run_choosing(folder, dataset, recipes, also_test_choice=True)
    assert len(trained) == 1, "the model of all clips alone"
    pd.testing.assert_frame_equal(again.predictions, before.predictions)
    assert states(folder) == files
    (inner,) = (folder / "choice" / "long").rglob("s1/fold-1/seed-42.json")
    before = json.loads(inner.read_text())["predictions"]
    inner.unlink()
    (folder / "folds" / "s1" / "seed-42.json").unlink()
    run_choosing(folder, dataset, recipes, also_test_choice=True)
    assert len(trained) == 1 + 2
    assert json.loads(inner.read_text())["predictions"] == before
    assert set(states(folder)) == set(files)


def test_processes_share_the_inner_folds_and_choose_what_one_does(outcome, dataset, recipes, trained, tmp_path):
    folder, alone = outcome
    options = {"choose": recipes, "also_test_choice": True, "use_cpu": True, "output_dir": str(tmp_path / "out")}
    plan = make_plan(*read_recipe(**options), dataset)
    choosing = Choosing(plan, plan.dataset, "?")
    assert len(choosing.jobs([])) == 6, "those of the model in the end"
    assert run(plan, Share(1, 2)) is None
    second = len(trained)
    shared = run(plan, Share(0, 2))
    assert len(trained) == second + 1
    pd.testing.assert_frame_equal(shared.predictions, alone.predictions)
    assert choices(tmp_path / "out") == choices(folder)


def test_a_candidate_that_was_changed_makes_it_another_run(dataset, recipes, tmp_path):
    run_choosing(tmp_path / "out", dataset, recipes, folds="s1")
    other = tmp_path / "long.yaml"
    other.write_text(yaml.safe_dump({**OPTIONS, "num_train_epochs": 2}))
    with pytest.raises(RunError, match="holds another run \\(candidates was"):
        run_choosing(tmp_path / "out", dataset, [recipes[0], str(other)], folds="s1")


# --- what is said of it ---


def test_printed_recorded_and_on_the_card_stands_how_often_each_was_chosen(
    make_clips, dataset, recipes, tmp_path, capsys, outcome
):
    dataset.save_to_disk(tmp_path / "clips")
    argv = ["--dataset", str(tmp_path / "clips"), "--output-dir", str(tmp_path / "out"), "--use-cpu", "true"]
    assert main(["train", *argv, "--choose", *recipes, "--also-test-choice", "true"]) == 0
    printed = capsys.readouterr().out
    results = results_of(tmp_path / "out")
    chosen = results["choice"]
    assert chosen == outcome[1].scores["choice"]
    assert sum(chosen["chosen"].values()) == 3
    for name, count in chosen["chosen"].items():
        assert f"{name} in {count} of 3 folds" in printed
    assert f"of all clips {chosen['final']}" in printed
    assert "nothing may be picked" in printed
    assert f"picked on them      UF1 {chosen['test_choice']['uf1']:.4f}" in printed
    card = card_text(tmp_path / "out" / "model")
    assert all(f"{name} in {count} of 3" in card for name, count in chosen["chosen"].items())
    assert f"UF1 {chosen['test_choice']['uf1']:.3f}" in card
    assert "no result" in card
    assert str(tmp_path) not in card and all(path not in card for path in recipes)


# --- what has no meaning ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"also_test_choice": True}, "also_test_choice would have no effect: it is for choose and choose_epochs"),
        ({"choose_epochs": [5]}, "two at least; found 5 epochs"),
        ({"choose_epochs": [5, 5]}, "candidates that differ"),
        ({"choose_epochs": [5, 0]}, "num_train_epochs must be above 0"),
        ({"choose_epochs": [5, 6], "max_steps": 3}, "max_steps ends the training"),
        ({"choose": "two", "preset": "rcn-a"}, "preset would have no effect: each recipe of choose brings its own"),
        ({"choose": "two", "mirror": False}, "mirror would have no effect"),
        ({"choose": "two", "learning_rate": 0.1}, "learning_rate would have no effect: each recipe"),
        ({"choose": "two", "dataset": "action-units", "protocol": "none"}, "choose would have no effect.*draws"),
        ({"choose": "two", "protocol": "none", "also_test_choice": True}, "also_test_choice would have no effect"),
        ({"choose": "drawn"}, "action-units.yaml draws its motion"),
        ({"choose": ["nowhere.yaml", "else.yaml"]}, "recipe nowhere.yaml cannot be read"),
    ],
)
def test_choices_without_a_meaning_are_refused(recipes, options, message):
    named = {"two": recipes[:2], "drawn": [recipes[0], DRAWN]}
    choose = options.get("choose")
    given = {**options, "choose": named[choose]} if isinstance(choose, str) else options
    with pytest.raises(RecipeError, match=message):
        candidates_of(*read_recipe(**given))


def test_too_few_others_to_choose_on_are_refused_before_any_training(make_clips, recipes, tmp_path, trained):
    with pytest.raises(RunError, match="fold s1: s2 alone is trained on"):
        run_choosing(tmp_path / "out", make_clips("flow", subjects=("s1", "s2"), repeats=2), recipes)
    clips = make_clips("flow", subjects=("s1", "s2", "s3"), repeats=2)
    clips = clips.filter(lambda row: row["label"] != 2 or row["subject"] in ("s1", "s2"))
    with pytest.raises(RunError, match=r"fold s1/fold-.: no training clip shows surprise"):
        run_choosing(tmp_path / "out", clips, recipes)
    assert trained == []
