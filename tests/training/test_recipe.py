import contextlib
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from mer_hf.commands import main
from mer_hf.training.recipe import (
    DEFAULTS,
    HELP,
    HOLD,
    INSTEAD,
    Recipe,
    RecipeError,
    help_text,
    parse_recipe,
    read_recipe,
)

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
        "logging_strategy": arguments.logging_strategy.__class__("epoch"),
    }
    _, arguments = parse_recipe(["--output_dir", "elsewhere", "--logging_strategy", "steps"])
    assert (arguments.output_dir, arguments.logging_strategy) == ("elsewhere", "steps")


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
    recipe, arguments = parse_recipe([write("folds: -odd-\nrun_name: -1\noutput_dir: --dashed")])
    assert (recipe.folds, arguments.run_name, arguments.output_dir) == ("-odd-", "-1", "--dashed")


def test_model_and_processor_are_mappings_in_the_file_and_json_on_the_command_line(write):
    path = write("model: {image_size: [32, 24], backbone_kwargs: {width: 4}}\nprocessor:\n  interpolation: tim\n")
    recipe, _ = parse_recipe([path])
    assert recipe.model == {"image_size": [32, 24], "backbone_kwargs": {"width": 4}}
    assert recipe.processor == {"interpolation": "tim"}
    recipe, _ = parse_recipe([path, "--model", '{"dropout": 0.1, "hidden_size": null}'])
    assert recipe.model == {"dropout": 0.1, "hidden_size": None}
    assert recipe.processor == {"interpolation": "tim"}


def test_a_mapping_or_a_list_reaches_the_training_arguments_that_take_one(write):
    path = write("lr_scheduler_type: cosine\nlr_scheduler_kwargs: {num_cycles: 2}\nreport_to: [wandb, trackio]")
    _, arguments = parse_recipe([path])
    assert arguments.lr_scheduler_kwargs == {"num_cycles": 2}
    assert arguments.report_to == ["wandb", "trackio"]


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
        ("lr_step_epochs: 0", "lr_step_epochs must be above 0 and finite, got 0"),
        ("ema_decay: 1", "ema_decay must lie between 0 and 1, got 1"),
        ("num_folds: 1\nprotocol: kfold", "num_folds must be at least 2, got 1"),
        ("drawn_per_clip: -1", "drawn_per_clip must be at least 0, got -1"),
        ("model: runs/first/model", "to start from a saved model, say start: runs/first/model"),
        ("folds: [s1, s2]", "folds takes one value, got ['s1', 's2']"),
        ("dataset: {name: casme2}", "dataset takes one value, got {'name': 'casme2'}"),
        ("protocol: losso", "'loso', 'lovo', 'kfold', 'balanced', 'hde', 'cross', 'cd6me', 'none'"),
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


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_of_the_repository_parses_and_says_what_it_does(path):
    recipe, arguments = parse_recipe([str(path)])
    assert path.read_text().startswith("# ")
    assert Path(arguments.output_dir).parts[0] == "runs"
    assert recipe.model is not None


def test_the_repository_has_recipes():
    assert "default.yaml" in [path.name for path in RECIPES]


# --- what nobody can mean ---


@pytest.mark.parametrize(
    ("argv", "option", "reason"),
    [
        *(
            (["--dataset", "action-units", "--protocol", "none", *given], given[0][2:], "reads no clips")
            for given in [
                *(["--data_dir", "x"], ["--label_set", "5class"], ["--fps", "50"], ["--folds", "s1"]),
                *(["--start", "default"], ["--average_with", "default"], ["--jitter", "false"]),
                *(["--drop", "single"], ["--drawn_per_clip", "2"], ["--control"], ["--num_folds", "3"]),
            ]
        ),
        (["--drawn_fields", "100"], "drawn_fields", "it is for --dataset action-units; with clips, see drawn_per_clip"),
        (["--num_folds", "3"], "num_folds", "it is for --protocol kfold, not loso"),
        (["--protocol", "none", "--folds", "s1"], "folds", "--protocol none holds nobody out"),
        (["--protocol", "none", "--control"], "control", "--protocol none holds nobody out"),
        (["--jitter", "false", "--drop", "single"], "drop", "it is for jittering"),
        (["--lr_step_factor", "0.1"], "lr_step_factor", "it is for lr_step_epochs"),
        (["--start", "here", "--preset", "rcn-a"], "preset", "the configuration is that of here"),
        (["--start", "here", "--model", '{"dropout": 0.1}'], "model", "the configuration is that of here"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_option_without_effect_is_refused_with_the_reason(argv, option, reason):
    with pytest.raises(RecipeError, match=f"^{option} would have no effect: .*{reason}"):
        parse_recipe(argv)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--dataset", "action-units"], "no subjects to hold out; say --protocol none"),
        (["--protocol", "none", "--seeds", "2"], "trains one model; say --average-seeds true"),
    ],
)
def test_options_that_contradict_one_another_are_refused(argv, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(argv)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(("learning_rate", value, "must be 0 or more and finite") for value in ("nan", "-1", "inf")),
        *(("num_train_epochs", value, "must be above 0 and finite") for value in ("0", "-5", "nan", "inf")),
        *((name, "nan", "must be") for name in ("weight_decay", "max_grad_norm", "adam_epsilon", "lr_step_epochs")),
        *((name, "1", "adam_beta. must be 0 or more and below 1, got 1") for name in ("adam_beta1", "adam_beta2")),
        *((f"per_device_{side}_batch_size", "0", "must be at least 1") for side in ("train", "eval")),
        ("gradient_accumulation_steps", "0", "must be at least 1, got 0"),
        ("seed", "-1", "seed must be at least 0, got -1"),
        ("seed", str(2**31), "seed must be below 2147483648"),
        ("ema_decay", "nan", "must lie between 0 and 1"),
        ("fps", "inf", "fps must be above 0 and finite"),
        ("fps", "0", "fps must be above 0 and finite"),
    ],
)
def test_a_number_with_which_nothing_finite_could_be_trained_is_refused(write, name, value, message):
    for argv in ([f"--{name}", value], [write(f"{name}: {value}")]):
        with pytest.raises(RecipeError, match=message):
            parse_recipe(argv)


@pytest.mark.parametrize("text", ["seeds: 2\nseeds: 3", "model: {dropout: 0.1, width: 3, dropout: 0.2}"])
def test_a_key_that_stands_twice_is_refused_where_yaml_would_take_the_last(write, text):
    with pytest.raises(RecipeError, match=r"'(seeds|dropout)' stands twice"):
        parse_recipe([write(text)])


def test_texts_of_any_length_are_refused_at_once(write):
    with pytest.raises(RecipeError, match=r"recipe .* has 100007 characters; a recipe has at most 100000"):
        parse_recipe([write("model: " + "x" * 100_000)])
    with pytest.raises(RecipeError, match=r"^--folds=x+\.\.\. has 1000008 characters; a value has at most 100000"):
        parse_recipe(["--folds=" + "x" * 1_000_000])
    with pytest.raises(RecipeError) as refused:
        parse_recipe([f"--{'x' * 90_000}"])
    assert len(str(refused.value)) < 600


def test_yaml_that_refers_to_itself_or_builds_objects_is_refused(write):
    texts = ("model: &a {x: *a}", "model: {x: 2026-01-01}", "model: !!python/object/apply:os.getcwd []")
    for text in (*texts, "a: " + "[" * 1000):
        with pytest.raises(RecipeError):
            parse_recipe([write(text)])


# --- the training arguments that hold, and those that do not ---


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("resume_from_checkpoint", "x", "finished folds are kept"),
        ("eval_strategy", "epoch", "held-out subjects are scored once"),
        ("save_strategy", "epoch", "a fold is kept by its predictions"),
        ("save_total_limit", "3", "a fold is kept by its predictions"),
        ("load_best_model_at_end", "true", "would be a leak"),
        ("metric_for_best_model", "uf1", "would be a leak"),
        ("hub_strategy", "end", "the finished model is pushed, once"),
        ("dataloader_num_workers", "2", "clips lie in memory"),
        ("dataloader_pin_memory", "true", "clips lie in memory"),
        ("label_smoothing_factor", "0.1", "label_smoothing"),
        ("data_seed", "3", "follow from --seed"),
        ("ddp_backend", "gloo", "a fold is trained by one process"),
        ("deepspeed", "x.json", "share the folds out"),
        ("do_eval", "true", "only scores"),
        ("remove_unused_columns", "true", "it was never tried"),
    ],
)
def test_a_training_argument_that_does_nothing_is_refused_by_name_with_the_reason(write, name, value, reason):
    for argv in ([f"--{name}", value], [f"--{name.replace('_', '-')}={value}"], [write(f"{name}: {value}")]):
        with pytest.raises(RecipeError, match=f"{name} does not hold here: .*{reason}"):
            parse_recipe(argv)


def test_what_holds_and_what_is_explained_are_training_arguments():
    names = {entry.name for entry in fields(TrainingArguments)}
    assert set(HOLD) <= names
    assert set(DEFAULTS) <= names
    assert all(any(name.startswith(beginning) for name in names) for beginning in INSTEAD)


def test_options_have_dashes_or_underscores():
    for argv in (["--learning-rate", "0.5", "--num-folds=3"], ["--learning_rate=0.5", "--num_folds", "3"]):
        recipe, arguments = parse_recipe([*argv, "--protocol", "kfold"])
        assert (recipe.num_folds, arguments.learning_rate) == (3, 0.5)
    assert parse_recipe(["--no-jitter"])[0].jitter is False


# --- from Python ---


def test_a_recipe_is_read_from_python_as_from_a_command_line(write):
    path = write("seeds: 2\nmodel: {dropout: 0.1}\nlearning_rate: 0.5\n")
    recipe, arguments = read_recipe(path, seeds=3, processor={"align": "none"}, mirror=False, report_to=["wandb"])
    given = ["--seeds", "3", "--processor", '{"align": "none"}', "--mirror", "false", "--report_to", "wandb"]
    expected, same = parse_recipe([path, *given])
    assert recipe == expected
    assert arguments.to_dict() == same.to_dict()
    again, _ = read_recipe(recipe, protocol="lovo")
    assert again == replace(recipe, protocol="lovo")
    assert read_recipe(Path(path))[0].seeds == 2
    assert read_recipe()[0] == Recipe()
    with pytest.raises(RecipeError, match="unknown key 'sedes'; did you mean 'seeds'"):
        read_recipe(recipe, sedes=3)


# --- help ---


def test_every_option_has_a_text():
    assert set(HELP) == {entry.name for entry in fields(Recipe)}


def test_help_fits_on_two_screens_and_begins_with_the_options_of_a_recipe():
    lines = help_text().splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 120
    named = [line.split()[0] for line in lines if line.startswith("  --")]
    assert named[: len(fields(Recipe))] == [f"--{entry.name.replace('_', '-')}" for entry in fields(Recipe)]
    for name, text in HELP.items():
        (line,) = [line for line in lines if line.split()[:1] == [f"--{name.replace('_', '-')}"]]
        assert text[:40] in line
    assert "(synthetic)" in "\n".join(lines), "defaults are shown"


def test_all_help_explains_each_option_that_holds_at_length():
    short, long = help_text().splitlines(), help_text(everything=True).splitlines()
    options = [{line.split()[0] for line in lines if line.startswith("  --")} for lines in (short, long)]
    assert options[0] == options[1]
    assert len(long) > 2 * len(short)
