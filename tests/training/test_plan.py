"""What is opened and checked before any training."""

from dataclasses import replace
from pathlib import Path

import pytest
from datasets import Array3D, ClassLabel, Value

from mer_hf.action_units import ACTION_UNITS
from mer_hf.errors import MerHfError
from mer_hf.hub.connection import HubError
from mer_hf.rcn.configuration_rcn import RcnConfig
from mer_hf.training.clips import DatasetError
from mer_hf.training.plan import RunError, build_config, build_processor, drawn_config, make_plan
from mer_hf.training.recipe import Recipe, parse_recipe, read_recipe
from tiny import APPEARANCE, CLASSES, DRAWN, OPTIONS, SEQUENCE, folder_of, plan_of, recipe_of, run_in, saved_model

RECIPES = sorted((Path(__file__).parents[2] / "scripts" / "recipes").glob("*.yaml"))


def seen_by(*subjects, **options):
    return saved_model(training_subjects=list(subjects), **options)


# --- the model and its processor ---


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("flow", {"preset": "rnn"}, "no preset 'rnn'; choose from rcn"),
        ("flow", {"model": {"width": 4}}, "no fields.*width"),
        ("flow", {"model": {"grid_size": "five"}}, "grid_size"),
        ("flow", {"model": {"dropout": 2}}, "dropout"),
        ("video", {}, "column 'pixel_values_videos'.*num_frames is 4"),
        ("picture", APPEARANCE, "num_channels is 3"),
        ("picture", SEQUENCE, "'flow' needs a geometric model.*sequence"),
    ],
)
def test_a_setting_of_the_model_that_cannot_be_used_is_explained(make_clips, tmp_path, kind, options, message):
    with pytest.raises(RunError, match=message):
        plan_of(tmp_path, make_clips(kind), **options)


@pytest.mark.parametrize("side", [2, 4, 6])
def test_flow_that_is_smaller_than_the_network_can_take_is_refused_before_any_training(make_clips, tmp_path, side):
    clips = make_clips("flow")
    flow = [[[row[:side] for row in channel[:side]] for channel in clip] for clip in clips["flow"]]
    small = clips.remove_columns("flow").add_column("flow", flow, feature=Array3D((2, side, side), "float32"))
    with pytest.raises(RunError, match=f"input of {side} x {side} pixels does not pass through rcn_stem"):
        plan_of(tmp_path, small)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_of_the_repository_builds_a_configuration_and_the_processor_of_its_inputs(make_clips, path):
    recipe, _ = parse_recipe([str(path)])
    config = build_config(recipe, make_clips("frames"))
    processor = build_processor(recipe, config)
    assert [config.id2label[label] for label in range(3)] == CLASSES
    for name in ("connectivity", "num_frames", "num_channels"):
        assert getattr(processor, name) == getattr(config, name)
    assert [processor.size["height"], processor.size["width"]] == list(config.image_size)


def test_ready_inputs_give_the_model_their_shape(make_clips, tmp_path):
    config = plan_of(tmp_path, make_clips("flow"), model={"backbone_kwargs": {"width": 4}, "grid_size": 2}).config
    assert (config.num_frames, config.num_channels, list(config.image_size)) == (1, 2, [12, 12])


def test_an_unknown_option_of_the_processor_is_named(make_clips, tmp_path):
    with pytest.raises(MerHfError, match="windows"):
        plan_of(tmp_path, make_clips("flow"), processor={"windows": 3})


def test_seeds_are_counted_from_the_first(make_clips, tmp_path):
    plan = plan_of(tmp_path, make_clips("flow"), seed=7, seeds=3)
    assert plan.seeds == [7, 8, 9]
    assert plan.classes == CLASSES
    assert plan.output_dir == tmp_path


# --- motion that is drawn ---


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": {"connectivity": "sequence", "num_frames": 4}}, "in grey: num_channels 2 or 1, not 3"),
        ({"faces": "here"}, "faces would have no effect: the model sees flow"),
        ({"model": {"width": 4}}, "no fields"),
        ({"model": {"image_size": "x"}}, "preset rcn with model .*: Field 'image_size'"),
    ],
)
def test_what_cannot_be_trained_on_drawn_motion_is_refused(tmp_path, options, says):
    with pytest.raises(RunError, match=says):
        plan_of(tmp_path, None, **{**DRAWN, **options})


def test_a_model_of_drawn_motion_knows_three_classes_and_all_units():
    config = drawn_config(recipe_of("nowhere", **DRAWN)[0])
    assert list(config.id2label.values()) == CLASSES
    assert list(config.action_units) == list(ACTION_UNITS)


@pytest.mark.parametrize(
    ("kind", "classes", "options", "says"),
    [
        ("flow", ["a", "b", "c"], {}, "motion is drawn of negative, positive, surprise; the classes here are a, b, c"),
        ("video", CLASSES, {"preset": "strcn-a"}, "drawn_per_clip needs a geometric model, preset strcn-a is appear"),
    ],
)
def test_clips_that_no_motion_can_be_drawn_for_are_refused(make_clips, tmp_path, kind, classes, options, says):
    dataset = make_clips(kind).cast_column("label", ClassLabel(names=classes))
    with pytest.raises(RunError, match=says):
        plan_of(tmp_path, dataset, drawn_per_clip=1, model={"backbone_kwargs": {"width": 4}}, **options)


# --- saved models ---


@pytest.mark.parametrize("option", ["start", "average_with"])
def test_a_saved_model_that_knows_a_held_out_subject_is_refused(make_clips, tmp_path, option):
    known = {option: folder_of(tmp_path / "seen", seen_by("s2", "somebody")), "model": None}
    with pytest.raises(RunError, match=r"trained on 1 of the subjects that are held out here, such as s2"):
        plan_of(tmp_path, make_clips("flow"), **known)
    plan = plan_of(tmp_path, make_clips("flow"), protocol="none", **known)
    saved = plan.start or plan.companion
    assert list(saved.model.config.training_subjects) == ["s2", "somebody"]


@pytest.mark.parametrize("held", [[2, 3, 10], [2.0, 3.0, 10.0], ["2", "3", "10"], ["2.0", "3.0", "10.0"]], ids=str)
@pytest.mark.parametrize("known", ["2", "2.0", "02"])
def test_one_person_is_known_however_the_number_is_spelt(make_clips, tmp_path, held, known):
    dataset = make_clips("flow")
    numbers = dict(zip(["s1", "s2", "s3"], held, strict=True))
    feature = Value({int: "int64", float: "float64", str: "string"}[type(held[0])])
    subjects = [numbers[subject] for subject in dataset["subject"]]
    dataset = dataset.remove_columns("subject").add_column("subject", subjects, feature=feature)
    seen = folder_of(tmp_path / "seen", seen_by(known))
    with pytest.raises(RunError, match="trained on 1 of the subjects that are held out here, such as 2"):
        plan_of(tmp_path, dataset, average_with=seen, model=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": [16, 16]}, r"image_size of the model to train is \(?\[?16, 16.*averaged with .*12, 12"),
        ({"num_channels": 2}, "num_channels of the model to train is 2, of the one that it is averaged with 3"),
    ],
)
def test_a_start_is_compared_with_what_it_is_averaged_with_before_any_training(
    make_clips, tmp_path, trained, options, message
):
    start = folder_of(tmp_path / "start", saved_model(**options))
    companion = folder_of(tmp_path / "companion", saved_model())
    with pytest.raises(RunError, match=message):
        run_in(tmp_path / "out", make_clips("frames"), start=start, average_with=companion, model=None)
    assert trained == []
    assert not (tmp_path / "out").exists()


def test_a_start_of_other_classes_than_what_it_is_averaged_with_names_those_of_the_clips(make_clips, tmp_path):
    """The layer of the classes is made anew where the start names others, so they need not be equal."""
    start = folder_of(tmp_path / "start", saved_model(["calm", "tense", "glad"]))
    companion = folder_of(tmp_path / "companion", saved_model(["surprise", "negative", "positive"]))
    plan = plan_of(tmp_path, make_clips("frames"), start=start, average_with=companion, model=None)
    assert plan.classes == ["surprise", "negative", "positive"]
    assert plan.dataset.features["label"].names == plan.classes


def test_what_is_averaged_with_gives_its_inputs_which_a_recipe_must_not_contradict(make_clips, tmp_path):
    companion = folder_of(tmp_path / "companion", saved_model(mirror_averaging=True))
    plan = plan_of(tmp_path, make_clips("flow"), average_with=companion, model={"backbone_kwargs": {"width": 4}})
    assert plan.config.mirror_averaging, "the inputs and views of the saved one are the model's own"
    assert list(plan.config.image_size) == [12, 12]
    with pytest.raises(RunError, match=r"model says image_size \[16, 16\], but .*companion.*leave it out"):
        plan_of(tmp_path, make_clips("flow"), average_with=companion, model={"image_size": [16, 16]})


def test_the_configuration_of_a_start_is_its_own(make_clips, tmp_path):
    start = folder_of(tmp_path / "start", saved_model(dropout=0.25))
    plan = plan_of(tmp_path, make_clips("flow"), start=start, model=None)
    assert plan.config.dropout == 0.25
    assert plan.config.action_units is None, "nothing here would keep them true"
    assert plan.config.trained_on is None
    joint = plan_of(tmp_path, make_clips("flow"), start=start, drawn_per_clip=1, model=None)
    assert list(joint.config.action_units) == list(ACTION_UNITS)


def test_a_saved_model_that_is_none_is_explained(make_clips, tmp_path):
    make_clips("flow").save_to_disk(tmp_path / "clips")
    with pytest.raises(HubError, match="clips is no model that can be loaded"):
        plan_of(tmp_path, make_clips("flow"), start=tmp_path / "clips", model=None)


def test_clips_of_classes_that_the_companion_does_not_name_are_refused(make_clips, tmp_path):
    companion = folder_of(tmp_path / "companion", saved_model(["negative", "positive", "others"]))
    with pytest.raises(DatasetError, match="the dataset shows surprise; the saved model tells negative, positive, oth"):
        plan_of(tmp_path, make_clips("flow"), average_with=companion, model=None)


# --- what needs something else ---


def test_the_control_is_refused_where_there_is_no_flow(make_clips, tmp_path):
    with pytest.raises(RunError, match="control judges flow, and sequence connectivity has none"):
        plan_of(tmp_path, make_clips("frames"), control=True, **SEQUENCE)


def test_a_push_needs_to_know_where_to(make_clips, tmp_path):
    with pytest.raises(RunError, match="push_to_hub needs to know where: hub_model_id USER/NAME"):
        plan_of(tmp_path, make_clips("flow"), push_to_hub=True)


@pytest.mark.parametrize("name", ["wandb", "nonsense", "all"])
def test_a_tracker_that_is_not_installed_is_named_before_any_training(make_clips, tmp_path, trained, name):
    if name == "all":
        recipe, arguments = recipe_of(tmp_path / "out", report_to=name)
        assert make_plan(recipe, arguments, make_clips("flow")).arguments.report_to == arguments.report_to
        return
    with pytest.raises(RunError, match=f"report_to names {name}, which is not installed"):
        run_in(tmp_path / "out", make_clips("flow"), report_to=name)
    assert trained == []
    assert not (tmp_path / "out").exists()


def test_a_recipe_in_memory_is_planned_as_its_file(make_clips, tmp_path):
    recipe, arguments = read_recipe(Recipe(model=OPTIONS["model"]), output_dir=tmp_path)
    plan = make_plan(recipe, arguments, make_clips("flow"))
    assert plan.config.to_dict() == plan_of(tmp_path, make_clips("flow")).config.to_dict()
    assert replace(plan, start=None) == plan
    assert isinstance(plan.config, RcnConfig)
