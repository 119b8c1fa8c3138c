import contextlib
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from mer_hf.commands import main
from mer_hf.training.recipe import DEFAULTS, Recipe, RecipeError, parse_recipe

RECIPES = sorted((Path(__file__).parents[2] / "scripts" / "recipes").glob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def refusal(argv, capsys):
    """What a wrong recipe is answered with, after making sure that nothing else is printed."""
    with pytest.raises(RecipeError) as refused:
        parse_recipe(argv)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")
    return str(refused.value)


def test_the_command_line_outdoes_the_file_and_the_file_the_defaults(write):
    path = write("seeds: 2\nlearning_rate: 0.5\nprotocol: lovo\n")
    recipe, arguments = parse_recipe([path, "--seeds", "3", "--num_train_epochs", "7"])
    assert (recipe.seeds, recipe.protocol, recipe.num_folds) == (3, "lovo", 5)
    assert (arguments.learning_rate, arguments.num_train_epochs) == (0.5, 7)


def test_without_a_file_our_defaults_of_the_training_arguments_hold():
    _, arguments = parse_recipe([])
    assert {name: getattr(arguments, name) for name in DEFAULTS} == {
        **DEFAULTS,
        "save_strategy": arguments.save_strategy.__class__("no"),
        "logging_strategy": arguments.logging_strategy.__class__("no"),
    }
    _, arguments = parse_recipe(["--output_dir", "elsewhere", "--save_strategy", "epoch"])
    assert (arguments.output_dir, arguments.save_strategy) == ("elsewhere", "epoch")


@pytest.mark.parametrize("written", ["3e-3", "0.003", "3.0e-3", "'3e-3'"])
def test_a_number_is_a_number_however_yaml_reads_it(write, written):
    _, arguments = parse_recipe([write(f"learning_rate: {written}")])
    assert arguments.learning_rate == 0.003


@pytest.mark.parametrize(("written", "meant"), [("false", False), ("no", False), ("'off'", None), ("true", True)])
def test_a_switch_is_a_switch_however_yaml_reads_it(write, written, meant):
    with pytest.raises(RecipeError, match="jitter") if meant is None else contextlib.nullcontext():
        assert parse_recipe([write(f"jitter: {written}")])[0].jitter is meant


@pytest.mark.parametrize("native", [True, False])
def test_training_is_in_bf16_where_the_processor_has_it_unless_the_recipe_says_otherwise(monkeypatch, native):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: native)
    for given, meant in [([], native), (["--bf16", "false"], False), (["--bf16", "true"], True)]:
        _, arguments = parse_recipe(["--use_cpu", "true", *given])
        assert (arguments.bf16, arguments.mixed_precision) == (meant, "bf16" if meant else "no")


def test_an_empty_value_leaves_the_default(write):
    recipe, _ = parse_recipe([write("data_dir:\nmodel:\nseeds: null")])
    assert (recipe.data_dir, recipe.model, recipe.seeds) == (None, {}, 1)


def test_a_value_may_begin_with_a_dash(write):
    recipe, arguments = parse_recipe([write("folds: -odd-\nseed: -1\noutput_dir: --dashed")])
    assert (recipe.folds, arguments.seed, arguments.output_dir) == ("-odd-", -1, "--dashed")


def test_model_and_processor_are_mappings_in_the_file_and_json_on_the_command_line(write):
    path = write("model: {image_size: [32, 24], backbone_kwargs: {width: 4}}\nprocessor:\n  interpolation: tim\n")
    recipe, _ = parse_recipe([path])
    assert recipe.model == {"image_size": [32, 24], "backbone_kwargs": {"width": 4}}
    assert recipe.processor == {"interpolation": "tim"}
    recipe, _ = parse_recipe([path, "--model", '{"dropout": 0.1, "hidden_size": null}'])
    assert recipe.model == {"dropout": 0.1, "hidden_size": None}
    assert recipe.processor == {"interpolation": "tim"}


def test_a_mapping_or_a_list_reaches_the_training_arguments_that_take_one(write):
    path = write("lr_scheduler_type: cosine\nlr_scheduler_kwargs: {num_cycles: 2}\nlabel_names: [labels, more]")
    _, arguments = parse_recipe([path])
    assert arguments.lr_scheduler_kwargs == {"num_cycles": 2}
    assert arguments.label_names == ["labels", "more"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rte: 1", "unknown key 'learning_rte'; did you mean 'learning_rate'?"),
        ("protocl: loso", "unknown key 'protocl'; did you mean 'protocol'?"),
        ("1: 2", "unknown key 1"),
        ("learning_rate: fast", "learning_rate"),
        ("seeds: 1.5", "seeds"),
        ("seeds: [1]", "seeds takes one value, got [1]"),
        ("seeds: 0", "seeds must be at least 1, got 0"),
        ("num_proc: 0", "num_proc must be at least 1, got 0"),
        ("lr_step_epochs: 0", "lr_step_epochs must be above 0, got 0"),
        ("ema_decay: 1", "ema_decay must lie between 0 and 1, got 1"),
        ("augment: 3", "augment must give values by name, got 3"),
        ("folds: [s1, s2]", "folds takes one value, got ['s1', 's2']"),
        ("dataset: {name: casme2}", "dataset takes one value, got {'name': 'casme2'}"),
        ("protocol: losso", "'loso', 'lovo', 'kfold', 'none'"),
        ("processor: 3", "processor must give values by name, got 3"),
        ("model: '{3}'", "model must be JSON"),
        ("model: [1]", "model takes one value, got [1]"),
        ("- loso\n- lovo", "must give values by name"),
        ("", "must give values by name"),
        ("model: [", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_what_to_change(write, text, message, capsys):
    path = write(text)
    told = refusal([path], capsys)
    assert message in told
    assert "usage:" not in told


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--learning_rte", "1"], "no option --learning_rte; did you mean 'learning_rate'?"),
        (["--num-fods=3"], "no option --num-fods; did you mean 'num_folds'?"),
        (["--seeds"], "seeds: expected one argument"),
        (["--seeds", "2", "recipe.yaml"], "'recipe.yaml' belongs to no option"),
        (["--model", "{width: 3}"], "model must be JSON, such as"),
        (["--processor", "[1]"], "processor must give values by name, got [1]"),
        (["nowhere.yaml"], "nowhere.yaml cannot be read: No such file"),
        ([str(Path(__file__).parent)], "cannot be read"),
    ],
)
def test_a_wrong_command_line_is_refused_with_what_to_change(argv, message, capsys):
    told = refusal(argv, capsys)
    assert message in told
    assert "usage:" not in told


def test_the_command_ends_with_status_2_and_one_message_on_a_wrong_recipe(write, capsys):
    assert main(["train", write("sedes: 3")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("mer-hf: recipe ")
    assert printed.err.endswith("unknown key 'sedes'; did you mean 'seeds'?\n")


def test_help_names_every_field_of_a_recipe(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help"])
    assert stopped.value.code == 0
    words = capsys.readouterr().out.split()
    assert {f"--{entry.name}" for entry in fields(Recipe)} <= {word.rstrip(",") for word in words}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_of_the_repository_parses_and_says_what_it_does(path):
    recipe, arguments = parse_recipe([str(path)])
    assert path.read_text().startswith("# ")
    assert Path(arguments.output_dir).parts[0] == "runs"
    assert recipe.model is not None


def test_the_repository_has_recipes():
    assert "default.yaml" in [path.name for path in RECIPES]
