"""Saved models in a run: training that starts from one, averages with one, or only scores one; joint training."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Value
from mer_hf.training.results import unit_scores
from PIL import Image as Picture
from sklearn.metrics import f1_score
from transformers import pipeline

from mer_hf.action_units import ACTION_UNITS
from mer_hf.commands import _recommendation, main
from mer_hf.hub.folder import save_model_folder
from mer_hf.rcn.configuration_rcn import RcnConfig
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification, classification_loss, unit_loss
from mer_hf.rcn.pipeline_rcn import TASK
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.training import runs
from mer_hf.training import trainer as training
from mer_hf.training.batches import DrawnClips, JointClips, ResidentClips
from mer_hf.training.clips import DatasetError, resized, samples, with_classes
from mer_hf.training.recipe import RecipeError, parse_recipe
from mer_hf.training.runs import evaluate, run
from mer_hf.training.trainer import RunError, Saved, build_config, predict, train

CLASSES = ["negative", "positive", "surprise"]
TINY = {"image_size": [12, 12], "backbone_kwargs": {"width": 4}, "grid_size": 2}
CPU = torch.device("cpu")


def saved_model(classes=CLASSES, **options):
    torch.manual_seed(1)
    labels = {"id2label": dict(enumerate(classes)), "label2id": {name: index for index, name in enumerate(classes)}}
    config = RcnConfig.preset("rcn", **{**TINY, "action_units": list(ACTION_UNITS), **labels, **options})
    model = RcnForVideoClassification(config).eval()
    model.classifier.weight.data.mul_(100)
    height, width = config.image_size
    return Saved(model, RcnVideoProcessor(size={"height": height, "width": width}, align="none"))


def recipe_of(output_dir, *options):
    still = ["--use_cpu", "--num_train_epochs", "1", "--per_device_train_batch_size", "4", "--bf16", "false"]
    model = [] if "--model" in options else ["--model", json.dumps(TINY)]
    return parse_recipe(["--output_dir", str(output_dir), *still, *model, *options])


def results_of(output_dir):
    return json.loads((output_dir / "results.json").read_text())


def folder_of(tmp_path, saved):
    return str(save_model_folder(saved.model, saved.processor, tmp_path / "saved"))


# --- the classes and the size that a saved model has ---


def test_labels_are_numbered_as_the_model_does_by_the_names_of_the_classes(make_clips):
    dataset = make_clips("flow")
    strange = dataset.cast_column("label", ClassLabel(names=["Negative", " positive", "SURPRISE", "others"]))
    found = with_classes(strange, ["surprise", "negative", "positive"])
    names = [CLASSES[label] for label in dataset["label"]]
    assert [found.features["label"].int2str(label) for label in found["label"]] == names
    assert found["clip_id"] == dataset["clip_id"]


def test_clips_of_a_class_that_the_model_does_not_tell_are_refused_by_name(make_clips):
    with pytest.raises(DatasetError, match="the dataset shows surprise; the saved model tells positive, negative"):
        with_classes(make_clips("flow"), ["positive", "negative"])


def test_smaller_flow_is_the_mean_over_areas_in_its_own_pixels():
    flow = np.random.default_rng(0).normal(size=(1, 3, 8, 12)).astype(np.float32)
    blocks = flow.reshape(1, 3, 4, 2, 4, 3).mean((3, 5))
    expected = blocks * np.array([4 / 12, 4 / 8, 1], np.float32)[:, None, None]
    np.testing.assert_allclose(resized(flow, 4, 4, in_pixels=True), expected, atol=1e-6)
    np.testing.assert_allclose(resized(flow, 4, 4, in_pixels=False), blocks, atol=1e-6)
    assert resized(flow, 8, 12, in_pixels=True) is flow
    assert resized(flow, 16, 24, in_pixels=True).shape == (1, 3, 16, 24)


# --- scoring a saved model ---


@pytest.mark.parametrize("kind", ["flow", "picture", "frames"])
def test_a_saved_model_is_scored_on_all_clips_by_what_it_says_of_each(make_clips, tmp_path, kind):
    saved = saved_model(["surprise", "negative", "positive"])
    dataset = make_clips(kind)
    recipe, arguments = recipe_of(tmp_path / "out", "--model", "somewhere", "--evaluate-only")
    evaluate(dataset, saved, recipe, arguments)
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    clips = samples(dataset, saved.processor)
    scores = predict(saved.model, clips, saved.processor).logits.softmax(1)
    assert table.clip_id.tolist() == list(dataset["clip_id"])
    assert table.label.tolist() == [CLASSES[label] for label in dataset["label"]]
    for column, name in enumerate(["surprise", "negative", "positive"]):
        np.testing.assert_allclose(table[f"score_{name}"], scores[:, column], atol=1e-6)
    found = results_of(tmp_path / "out")
    expected = f1_score(table.label, table.predicted, average="macro", zero_division=0)
    assert found["pooled"]["uf1"] == pytest.approx(expected)
    assert found["counts"]["clips"] == len(dataset)


def test_flow_of_every_size_is_brought_to_that_of_the_model(make_clips, tmp_path):
    saved = saved_model()
    dataset = make_clips("picture")
    larger = dataset.map(lambda row: {"flow": row["flow"].resize((24, 36), Picture.Resampling.NEAREST)})
    for name, clips in (("as it is", dataset), ("larger", larger)):
        evaluate(clips, saved, *recipe_of(tmp_path / name, "--model", "somewhere", "--evaluate-only"))
    first, second = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("as it is", "larger"))
    pd.testing.assert_frame_equal(first, second, atol=1e-6)


def test_the_command_scores_a_folder_and_trains_nothing(make_clips, tmp_path, capsys):
    folder = folder_of(tmp_path, saved_model())
    make_clips("picture").save_to_disk(tmp_path / "clips")
    argv = ["train", "--protocol", "none", "--model", folder, "--evaluate-only", "--dataset", str(tmp_path / "clips")]
    assert main([*argv, "--output_dir", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"predictions.csv", "results.json"}
    assert f"{results_of(tmp_path / 'out')['pooled']['uf1']:.4f}" in capsys.readouterr().out
    assert main([*argv, "--output_dir", str(tmp_path / "out")]) == 0, "an evaluation may be made again"


def test_the_command_scores_the_model_in_the_package_on_drawn_motion(tmp_path, capsys):
    argv = ["train", "--model", "default", "--evaluate-only", "--dataset", "action-units"]
    assert main([*argv, "--output_dir", str(tmp_path)]) == 0
    found = results_of(tmp_path)["drawn_motion"]
    assert f"{found['all, picture']['uf1']:.3f}" in capsys.readouterr().out
    assert min(scored["uf1"] for scored in found.values()) > 0.85


def test_results_of_a_training_are_not_written_over(make_clips, tmp_path):
    run(make_clips("flow"), *recipe_of(tmp_path, "--protocol", "none"))
    recipe, arguments = recipe_of(tmp_path, "--model", "somewhere", "--evaluate-only")
    with pytest.raises(RunError, match="holds the results of a training; name another --output_dir"):
        evaluate(make_clips("flow"), saved_model(), recipe, arguments)


def test_units_are_scored_on_coded_clips_by_the_units_that_some_clip_shows(make_clips):
    codes = ["4+L10", "12", None, "", "AU4", "R12 or 99", "4", "12", "1"]
    dataset = make_clips("flow").add_column("action_units", codes, feature=Value("string"))
    logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(3))
    found = unit_scores(dataset, logits, [1, 4, 12, 26])["action_units"]
    rows = [0, 1, 4, 5, 6, 7, 8]
    moved = {1: [0, 0, 0, 0, 0, 0, 1], 4: [1, 0, 1, 0, 1, 0, 0], 12: [0, 1, 0, 1, 0, 1, 0]}
    expected = {
        f"AU{unit}": f1_score(coded, logits[rows, index] > 0, zero_division=0)
        for index, (unit, coded) in enumerate(moved.items())
    }
    assert {name: scored["f1"] for name, scored in found["per_unit"].items()} == pytest.approx(expected)
    assert found["macro_f1"] == pytest.approx(np.mean(list(expected.values())))
    assert found["clips"] == 7
    assert unit_scores(dataset, None, None) == unit_scores(make_clips("flow"), logits, [1, 4, 12, 26]) == {}


# --- averaging with one ---


def test_folds_and_the_model_in_the_end_are_averages_with_the_saved_one(make_clips, tmp_path, monkeypatch):
    trainers, real = [], training.train
    monkeypatch.setattr(runs, "train", lambda *args: trainers.append(real(*args)) or trainers[-1])
    companion, dataset = saved_model(mirror_averaging=True), make_clips("flow", repeats=2)
    options = ["--average-with", "somewhere", "--seeds", "2", "--average_seeds", "true"]
    averaged, processor = run(dataset, *recipe_of(tmp_path, *options), companion=companion)
    assert averaged.config.mirror_averaging, "the inputs and views of the saved one are the model's own"
    clips = samples(dataset, processor)

    def says(model):
        return predict(model, clips, processor).logits.softmax(1)

    *folds, first, second = [trainer.model for trainer in trainers]
    expected = says(first) / 4 + says(second) / 4 + says(companion.model) / 2
    torch.testing.assert_close(says(averaged), expected)
    table = pd.read_csv(tmp_path / "predictions.csv").set_index("clip_id")
    held_out = [row for row, subject in enumerate(dataset["subject"]) if subject == "s1"]
    told = (says(folds[0]) + says(companion.model))[held_out] / 2
    rows = table[(table.fold == "s1") & (table.seed == 42)].loc[[dataset["clip_id"][row] for row in held_out]]
    np.testing.assert_allclose(rows[[f"score_{name}" for name in CLASSES]], told, atol=1e-6)


def test_the_command_averages_with_the_model_in_the_package_into_one_folder(make_clips, tmp_path):
    make_clips("picture").save_to_disk(tmp_path / "clips")
    argv = ["train", "--dataset", str(tmp_path / "clips"), "--average-with", "default", "--protocol", "none"]
    options = ["--num_train_epochs", "1", "--use_cpu", "--per_device_train_batch_size", "9"]
    assert main([*argv, *options, "--output_dir", str(tmp_path / "out")]) == 0
    classify = pipeline(TASK, model=str(tmp_path / "out" / "model"), device="cpu", align="none")
    assert list(classify.model.config.image_size) == [28, 28]
    clip = np.random.default_rng(0).integers(0, 256, (5, 64, 64), dtype=np.uint8)
    (best, *_) = classify(clip, return_action_units=True)
    assert set(best["action_units"]) == {f"AU{unit}" for unit in ACTION_UNITS}


def test_a_saved_model_that_knows_a_held_out_subject_is_refused(make_clips, tmp_path):
    seen = saved_model(training_subjects=["s2", "somebody"])
    for role in ("start", "companion"):
        with pytest.raises(RunError, match=r"trained on 1 of the subjects that are held out here, such as s2"):
            run(make_clips("flow"), *recipe_of(tmp_path / role), **{role: seen})
    options = ["--protocol", "none", "--average-with", "somewhere"]
    model, _ = run(make_clips("flow"), *recipe_of(tmp_path / "out", *options), companion=seen)
    assert list(model.config.training_subjects) == ["s1", "s2", "s3", "somebody"]
    evaluate(make_clips("flow"), seen, *recipe_of(tmp_path / "scored", "--model", "somewhere", "--evaluate-only"))
    assert results_of(tmp_path / "scored")["clips_of_training_subjects"] == 3


# --- starting from one ---


@pytest.mark.parametrize(("classes", "kept"), [(CLASSES, True), (["calm", "tense", "glad"], False)])
def test_training_begins_with_the_saved_weights_and_keeps_the_layer_of_equal_classes(
    make_clips, tmp_path, classes, kept
):
    start, dataset = saved_model(classes), make_clips("flow")
    recipe, arguments = recipe_of(tmp_path, "--model", "somewhere", "--learning_rate", "0")
    config = build_config(recipe, dataset, start)
    model = train(samples(dataset, start.processor), config, start.processor, recipe, arguments, 7, start.model).model
    assert list(model.config.id2label.values()) == CLASSES
    assert model.unit_classifier is None, "nothing here would keep it true"
    theirs, ours = dict(start.model.named_parameters()), dict(model.named_parameters())
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]) == (kept or not name.startswith("classifier.weight")), name


def test_of_a_saved_ensemble_training_begins_with_the_first(make_clips, tmp_path):
    first, other = saved_model(), saved_model()
    for parameter in other.model.parameters():
        parameter.data.add_(1)
    ensemble = Saved(RcnForVideoClassification.average([first.model, other.model]), first.processor)
    recipe, arguments = recipe_of(tmp_path, "--model", "somewhere", "--learning_rate", "0", "--protocol", "none")
    model, _ = run(make_clips("flow"), recipe, arguments, start=ensemble)
    assert not model.members
    assert torch.equal(model.classifier.weight, first.model.classifier.weight)


# --- clips and drawn motion in one batch ---


def test_a_joint_batch_has_clips_of_unknown_units_and_fields_of_known_ones(make_clips, tmp_path):
    saved, dataset = saved_model(), make_clips("flow")
    clips = ResidentClips(samples(dataset, saved.processor), saved.processor, CPU)
    drawn = DrawnClips(0, saved.model.config, 5, CPU)
    batch = JointClips(clips, drawn, 2, ["surprise", "others", "positive", "negative"]).__getitems__([3, 1])
    alone = DrawnClips(0, saved.model.config, 5, CPU).draw(4)
    assert torch.equal(batch["pixel_values_videos"], clips.__getitems__([3, 1])["pixel_values_videos"])
    assert torch.equal(batch["drawn"], alone["pixel_values_videos"])
    numbers = {"negative": 3, "positive": 2, "surprise": 0}
    expected = [-1 if label < 0 else numbers[CLASSES[label]] for label in alone["labels"].tolist()]
    assert batch["labels"].tolist() == [dataset["label"][3], dataset["label"][1], *expected]
    assert batch["action_units"][:2].isnan().all()
    assert torch.equal(batch["action_units"][2:], alone["action_units"])


def test_a_unit_that_is_not_known_adds_nothing_to_the_loss():
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(4, 3, generator=generator), torch.rand(4, 3, generator=generator).round()
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    hidden = targets.clone()
    hidden[0], hidden[2, 1] = torch.nan, torch.nan
    each[0], each[2, 1] = 0, 0
    torch.testing.assert_close(unit_loss(logits, hidden), each.mean())
    torch.testing.assert_close(unit_loss(logits, hidden, 8), each.sum() / 3 / 8)


@pytest.mark.parametrize(("kind", "mixup"), [("flow", 0), ("flow", 0.5), ("frames", 0)])
def test_joint_training_tells_classes_of_clips_and_units_of_drawn_motion(make_clips, tmp_path, kind, mixup):
    options = ["--drawn_per_clip", "3", "--protocol", "none", "--augment", json.dumps({"mixup": mixup})]
    options += ["--processor", '{"align": "none", "crop_size": {"height": 32, "width": 32}}']
    model, processor = run(make_clips(kind), *recipe_of(tmp_path, *options))
    assert list(model.config.action_units) == list(ACTION_UNITS)
    assert list(model.config.class_counts) == [3 + 9, 3 + 9, 3 + 9]
    told = predict(model, samples(make_clips(kind), processor), processor)
    assert told.logits.shape == (9, 3)
    assert told.action_unit_logits.shape == (9, len(ACTION_UNITS))
    assert told.action_unit_logits.isfinite().all()


def test_the_loss_of_mixed_clips_has_that_of_their_mixed_units(make_clips, tmp_path):
    recipe, arguments = recipe_of(tmp_path, "--drawn_per_clip", "1", "--augment", '{"mixup": 0.5}')
    dataset = make_clips("flow")
    config = build_config(recipe, dataset)
    processor = training.build_processor(recipe, config)
    trainer = train(samples(dataset, processor), config, processor, recipe, arguments, 3)
    generator = torch.Generator().manual_seed(0)
    told = trainer.model.eval()(torch.randn(2, 1, 2, 12, 12, generator=generator))
    labels, others, units = torch.tensor([0, 1]), torch.tensor([2, 1]), torch.rand(2, 15, generator=generator)
    found = trainer._mixed_loss(told, (labels, others, 0.3, units))
    parts = [classification_loss(told.logits, each, trainer.model.config) for each in (labels, others)]
    expected = 0.3 * parts[0] + 0.7 * parts[1] + unit_loss(told.action_unit_logits, units)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("classes", "options", "says"),
    [
        (["a", "b", "c"], [], "motion is drawn of negative, positive, surprise; the classes here are a, b, c"),
        (CLASSES, ["--preset", "strcn-a"], "drawn_per_clip needs a geometric model, preset strcn-a is appearance"),
    ],
)
def test_what_no_motion_can_be_drawn_for_is_refused(make_clips, tmp_path, classes, options, says):
    dataset = make_clips("video").cast_column("label", ClassLabel(names=classes))
    if not options:
        dataset = make_clips("flow").cast_column("label", ClassLabel(names=classes))
    options = [*options, "--drawn_per_clip", "1", "--model", '{"backbone_kwargs": {"width": 4}}']
    with pytest.raises(RunError, match=says):
        run(dataset, *recipe_of(tmp_path, *options))


# --- what is asked for, and what is recommended ---


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--evaluate-only"], "needs a saved model to score: --model FOLDER, or --model default"),
        (["--evaluate-only", "--model", "{}"], "needs a saved model"),
        (["--evaluate-only", "--model", "here", "--average-with", "there"], "scores one saved model"),
        (["--drawn_per_clip", "-1"], "drawn_per_clip must be 0 or more"),
    ],
)
def test_options_that_contradict_one_another_are_refused(argv, says):
    with pytest.raises(RecipeError, match=says):
        parse_recipe(argv)


def test_a_model_that_cannot_be_opened_is_explained_with_status_2(make_clips, tmp_path, capsys):
    make_clips("flow").save_to_disk(tmp_path / "clips")
    options = ["--evaluate-only", "--model", str(tmp_path / "clips"), "--output_dir", str(tmp_path / "out")]
    assert main(["train", "--dataset", str(tmp_path / "clips"), *options]) == 2
    assert "clips is no model that can be loaded" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("subjects", "options", "says"),
    [
        (3, {}, "3 subjects are few: below about 30, the model in the package"),
        (40, {}, "40 subjects are enough to train on, and better still is the average"),
        (3, {"id2label": {0: "calm", 1: "tense", 2: "glad"}}, None),
        (3, {"connectivity": "sequence", "num_channels": 1}, None),
    ],
)
def test_what_is_recommended_depends_on_the_number_of_subjects(make_clips, subjects, options, says):
    dataset = make_clips("flow", subjects=tuple(f"s{number}" for number in range(subjects)))
    config = RcnConfig.preset("rcn", **{**TINY, "id2label": dict(enumerate(CLASSES)), **options})
    found = _recommendation(dataset, config)
    assert found == "" if says is None else found.startswith(says)
