"""A recipe: what is trained, on what, and who is held out; read from a file, the command line, or keyword arguments.

    recipe.yaml, --name value ..., name=value -> read_recipe -> Recipe, TrainingArguments

One parser checks all three. Options are written with dashes or underscores.
"""

import copy
import dataclasses
import difflib
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, NoReturn, cast, get_type_hints

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import DataClassType
from yaml.constructor import ConstructorError

from mer_hf.errors import MerHfError
from mer_hf.evaluation.predictions import names_of_runs
from mer_hf.protocols import CD6ME_ACTION_UNITS
from mer_hf.training.processes import launched, take_share

DRAWN = "action-units"
"""What a recipe names as its dataset where motion is drawn, and no clip is read."""
FROM_NOTHING = "none"
"""What a recipe of spotting says for a start from random weights."""
SPOTTING = {
    "output_dir": "runs/spotting",
    "max_steps": 300,
    "per_device_train_batch_size": 16,
    "learning_rate": 1e-3,
    "weight_decay": 0.02,
    "warmup_steps": 30,
    "bf16": False,
}
"""Training arguments of the task spotting unless a recipe says otherwise."""
SPOTTING_HOLDS = (
    *("task", "dataset", "data_dir", "fps", "protocol", "num_folds", "folds", "model", "start", "drawn_per_clip"),
    *("num_proc", "output_dir", "max_steps", "per_device_train_batch_size", "learning_rate", "weight_decay"),
    *("warmup_steps", "seed", "use_cpu", "disable_tqdm"),
)
"""The options that hold for the task spotting."""
DEFAULTS = {
    "output_dir": "runs/default",
    "remove_unused_columns": False,  # the batches of a training are not named as the model's arguments
    "save_strategy": "no",  # a fold is short; what is kept of it are its predictions
    "logging_strategy": "epoch",  # the training curve of each fold is kept
    "dataloader_pin_memory": False,  # clips lie on the device already
    "disable_tqdm": True,  # one bar counts the folds; false shows the steps of each as well
}
"""Training arguments that differ from those of transformers unless a recipe says otherwise."""

OPTIMISATION = (
    *("per_device_train_batch_size", "per_device_eval_batch_size", "num_train_epochs", "max_steps", "learning_rate"),
    *("weight_decay", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim", "optim_args"),
    *("adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "gradient_accumulation_steps"),
    *("dataloader_drop_last", "activation_checkpointing", "activation_checkpointing_kwargs"),
)
CIRCUMSTANCES = (
    *("output_dir", "seed", "bf16", "fp16", "tf32", "use_cpu", "torch_compile", "torch_compile_backend"),
    *("torch_compile_mode", "full_determinism", "logging_strategy", "logging_steps", "logging_first_step", "log_level"),
    *("report_to", "run_name", "project", "trackio_space_id", "disable_tqdm"),
    *("push_to_hub", "hub_model_id", "hub_token", "hub_private_repo", "hub_revision"),
)
HOLD = (*OPTIMISATION, *CIRCUMSTANCES, "gradient_checkpointing", "gradient_checkpointing_kwargs")
"""The arguments of `TrainingArguments` that hold here; all others are refused by name."""
INSTEAD = {
    "resume_from_checkpoint": "finished folds are kept, and the same command goes on after the last of them",
    "save": "a fold is kept by its predictions, and the model of all clips is saved in the end",
    "eval": "held-out subjects are scored once, when a fold has been trained; nothing is chosen on them",
    "load_best": "the number of epochs is fixed beforehand; a best epoch on held-out subjects would be a leak",
    "metric_for_best": "the number of epochs is fixed beforehand; a best epoch on held-out subjects would be a leak",
    "hub": "the finished model is pushed, once",
    "dataloader": "clips lie in memory as a whole, and no worker loads them",
    "label_smoothing_factor": "say --model '{\"label_smoothing\": 0.1}', which class weights go with",
    "label_names": "the labels are those of the dataset",
    "data_seed": "a fold's random numbers follow from --seed and its name",
    "ddp": "a fold is trained by one process, and --protocol none by all with what holds for every model",
    "fsdp": "a fold is trained by one process; several processes share the folds out",
    "deepspeed": "a fold is trained by one process; several processes share the folds out",
    "do_": "`mer-hf train` trains and scores, `mer-hf score` only scores",
}
"""Why an argument does not hold, by the beginning of its name."""
LONGEST = 100_000
"""Characters of a recipe's file, and of a value on the command line; the longest of this repository has 900."""


class RecipeError(MerHfError):
    """A recipe or an option that cannot be used; the message says what to change."""


HELP = {
    "task": "classification of clips, or spotting: finding expressions in long recordings",
    "dataset": f"corpus, several (smic+samm), folder of videos or of a saved Dataset, user/name on the Hub, or {DRAWN}",
    "data_dir": "where the release was unpacked; of several corpora also smic=DIR,samm=DIR",
    "label_set": "3class (of corpora), 4class, 5class, native (of folders), or any: one class, with action_units",
    "fps": "frame rate of the frames on disk, where it is not the corpus's",
    "protocol": "who is held out: loso, lovo, kfold, balanced (by class), hde (a corpus), cross, cd6me; or none",
    "test_dataset": "dataset that is tested on alone, with --protocol cross",
    "test_data_dir": "where its release was unpacked",
    "num_folds": "k of the protocols kfold and balanced",
    "folds": "only these folds, by name, separated by commas",
    "seeds": "number of seeds, counted from --seed, that each fold is trained with",
    "action_units": "action units that are targets on coded clips, by FACS number",
    "preset": "published setting of RcnConfig.preset",
    "model": "fields of RcnConfig (spotting: of RcnSpottingConfig) to change, as JSON",
    "start": "saved model to start from: folder, name on the Hub, or default; spotting: default, unless none",
    "processor": "options of RcnVideoProcessor, as JSON",
    "jitter": "temporal jittering of the training clips",
    "drop": "frames that jittering drops; single is the authors' release",
    "mirror": "mirror training clips at random; u is inverted in flow",
    "lr_step_epochs": "multiply the learning rate by a factor after so many epochs",
    "lr_step_factor": "the factor of lr_step_epochs",
    "ema_decay": "decay of an exponential moving average of the weights, such as .99",
    "drawn_fields": f"number of fields of motion that are drawn, with --dataset {DRAWN}",
    "faces": "folder of pictures of faces that drawn image sequences show, in place of drawn ones",
    "drawn_per_clip": "number of drawn fields (spotting: sequences) that go with each clip (joint training)",
    "average_seeds": "save one model that averages the predictions of all seeds",
    "average_with": "saved model that every trained one is averaged with",
    "control": "score a PCA and a support vector machine on the same folds (flow)",
    "fold_batch": "trainings that are made as one: a number, or auto for what is fastest",
    "choose": "recipes among which each fold chooses on its training side alone",
    "choose_epochs": "numbers of epochs among which it chooses likewise",
    "also_test_choice": "say too what choosing on the held-out clips would have claimed",
    "num_proc": "number of processes that render and prepare the clips",
}
"""What the options of a recipe are."""
PARTED = ("kfold", "balanced")
"""Protocols of so many folds as one asks for."""
METHOD = (
    *("preset", "model", "start", "processor", "jitter", "drop", "mirror", "lr_step_epochs", "lr_step_factor"),
    *("ema_decay", "drawn_per_clip", "average_with"),
)
"""What a candidate of `choose` brings, with its optimisation; data, protocol and seeds are the run's."""


@dataclass
class Recipe:
    """What is trained, on what, and who is held out, see `HELP`; all about optimisation is in `TrainingArguments`.

    Raises:
        RecipeError: for a value out of range, and for an option that this recipe would not use.
    """

    task: Literal["classification", "spotting"] = "classification"
    dataset: str = "synthetic"
    data_dir: str | None = None
    label_set: str | None = None
    fps: float | None = None
    protocol: Literal["loso", "lovo", "kfold", "balanced", "hde", "cross", "cd6me", "none"] = "loso"
    test_dataset: str | None = None
    test_data_dir: str | None = None
    num_folds: int = 5
    folds: str | None = None
    seeds: int = 1
    action_units: list[int] | None = None
    preset: str = "rcn"
    model: dict | str | None = None
    start: str | None = None
    processor: dict | str | None = None
    jitter: bool = True
    drop: Literal["ratio", "single"] = "ratio"
    mirror: bool = True
    lr_step_epochs: float | None = None
    lr_step_factor: float = 0.5
    ema_decay: float | None = None
    drawn_fields: int = 230_400
    faces: str | None = None
    drawn_per_clip: int = 0
    average_seeds: bool = False
    average_with: str | None = None
    control: bool = False
    fold_batch: str = "auto"
    choose: list[str] | None = None
    choose_epochs: list[float] | None = None
    also_test_choice: bool = False
    num_proc: int | None = None

    def __post_init__(self) -> None:
        """Read what the command line gives as JSON, and refuse what no run can mean."""
        if isinstance(self.model, str) and not self.model.lstrip().startswith(("{", "[")):
            raise RecipeError(f"model gives fields of RcnConfig; to start from a saved model, say start: {self.model}")
        self.model, self.processor = json_object("model", self.model), json_object("processor", self.processor)
        for name, least in (
            ("seeds", 1),
            ("num_proc", 1),
            ("drawn_fields", 1),
            ("drawn_per_clip", 0),
            ("num_folds", 2),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise RecipeError(f"{name} must be at least {least}, got {value}")
        for name in ("lr_step_epochs", "lr_step_factor", "fps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise RecipeError(f"{name} must be above 0 and finite, got {value}")
        if self.fold_batch != "auto" and not (self.fold_batch.isdecimal() and 1 <= int(self.fold_batch) <= 10_000):
            raise RecipeError(f"fold_batch must be auto, or a number from 1 to 10000, got {_short(self.fold_batch)}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise RecipeError(f"ema_decay must lie between 0 and 1, got {self.ema_decay}")
        if self.protocol == "cd6me":
            self._set_cd6me()
        if self.action_units is not None and not (self.action_units and min(self.action_units) > 0):
            raise RecipeError(f"action_units must be numbers of FACS, such as 4 12, got {self.action_units}")
        if self.is_spotting and self.start is None:
            self.start = FROM_NOTHING if self.model else "default"
        self._refuse_unused()

    def _set_cd6me(self) -> None:
        """CD6ME is of all clips, whatever their emotion, and of its own action units."""
        for name, value in (("label_set", "any"), ("action_units", list(CD6ME_ACTION_UNITS))):
            if getattr(self, name) not in (None, value):
                raise RecipeError(f"{name} of --protocol cd6me is {value}, got {_short(getattr(self, name))}")
            setattr(self, name, value)

    @property
    def config_fields(self) -> dict[str, object]:
        """The fields of `RcnConfig` to change, by name."""
        return json_object("model", self.model)

    @property
    def processor_options(self) -> dict[str, object]:
        """The options of `RcnVideoProcessor`, by name."""
        return json_object("processor", self.processor)

    @property
    def is_spotting(self) -> bool:
        """Whether recordings are learnt from, and not clips."""
        return self.task == "spotting"

    @property
    def is_drawn(self) -> bool:
        """Whether all that is trained on is drawn motion, so that there are no clips."""
        return self.dataset == DRAWN

    @property
    def chooses(self) -> bool:
        """Whether each fold chooses among candidates."""
        return bool(self.choose or self.choose_epochs)

    @property
    def fold_names(self) -> list[str] | None:
        """The folds that are named, each once; None for all."""
        return None if self.folds is None else list(dict.fromkeys(name.strip() for name in self.folds.split(",")))

    def changed(self) -> dict[str, object]:
        """The fields that differ from their defaults, and so were given."""
        defaults = {entry.name: entry.default for entry in fields(self)} | {"model": {}, "processor": {}}
        return {name: value for name, value in dataclasses.asdict(self).items() if value != defaults[name]}

    def _refuse_unused(self) -> None:
        """An option that would have no effect is a misunderstanding, and must not stand in the results."""
        has_start = self.start is not None and not (self.is_spotting and self.start == FROM_NOTHING)
        clips_only = ("data_dir", "label_set", "fps", "num_folds", "folds", "start", "average_with", "jitter", "drop")
        clips_only += ("drawn_per_clip", "control", "choose", "choose_epochs", "also_test_choice", "action_units")
        classes_only = ("control", "choose", "choose_epochs", "also_test_choice")
        given = self.changed()
        clips_alone = [entry.name for entry in fields(self) if entry.name not in SPOTTING_HOLDS]
        reasons = [
            (self.is_spotting, clips_alone, "--task spotting learns from long recordings, and it is for clips"),
            (self.is_drawn, clips_only, f"--dataset {DRAWN} draws its motion, and reads no clips"),
            (not self.is_drawn, ("drawn_fields",), f"it is for --dataset {DRAWN}; with clips, see drawn_per_clip"),
            (not self.is_drawn, ("faces",), f"it is for --dataset {DRAWN}"),
            (self.protocol not in PARTED, ("num_folds",), f"it is for --protocol kfold, not {self.protocol}"),
            (self.protocol != "cross", ("test_dataset", "test_data_dir"), "it is for --protocol cross"),
            (self.protocol == "cross", ("folds",), "--protocol cross has one"),
            (self.label_set == "any", classes_only, "with --label-set any there are no classes to tell apart"),
            (self.protocol == "none", ("folds", "control", "also_test_choice"), "--protocol none holds nobody out"),
            (not self.chooses, ("also_test_choice",), "it is for choose and choose_epochs"),
            (self.choose is not None, METHOD, "each recipe of choose brings its own"),
            (not self.jitter, ("drop",), "it is for jittering"),
            (self.lr_step_epochs is None, ("lr_step_factor",), "it is for lr_step_epochs"),
            (has_start, ("preset", "model"), f"the configuration is that of {self.start}"),
        ]
        for applies, names, reason in reasons:
            unused = sorted(given.keys() & set(names))
            if applies and unused:
                raise RecipeError(f"{unused[0]} would have no effect: {reason}")
        if self.is_spotting and self.protocol not in ("loso", "kfold", "none"):
            raise RecipeError(f"--task spotting holds out by --protocol loso, kfold or none, not {self.protocol}")
        if self.is_drawn and self.protocol != "none":
            raise RecipeError(f"--dataset {DRAWN} has no subjects to hold out; say --protocol none")
        if self.protocol == "cross" and self.test_dataset is None:
            raise RecipeError("--protocol cross trains on --dataset and tests on another: say --test-dataset NAME")
        if self.label_set == "any" and not self.action_units:
            raise RecipeError("--label-set any puts all clips in one class; say which --action-units are learnt")
        if self.protocol == "none" and self.seeds > 1 and not self.average_seeds:
            raise RecipeError(f"seeds is {self.seeds}, but --protocol none trains one model; say --average-seeds true")


def json_object(name: str, value: dict | str | None) -> dict[str, object]:
    """Values by name, as they are or as JSON; empty for None."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (json.JSONDecodeError, RecursionError) as error:
            raise RecipeError(f"{name} must be JSON, such as '{{\"num_frames\": 16}}': {error}") from error
    if not isinstance(value, dict | None):
        raise RecipeError(f"{name} must give values by name, got {_short(value)}")
    return value or {}


# --- candidates ---


def candidates_of(recipe: Recipe, arguments: TrainingArguments) -> dict[str, tuple[Recipe, TrainingArguments]]:
    """The recipes among which a run chooses, by name; empty where it does not.

    Args:
        recipe: names files in `choose`, of which only the method is taken, and numbers in `choose_epochs`.
        arguments: of the run.

    Raises:
        RecipeError: for a file that cannot be used, an argument that each file brings, or a single candidate.
    """
    if not recipe.chooses:
        return {}
    plain = dataclasses.replace(recipe, choose=None, choose_epochs=None, also_test_choice=False, control=False)
    methods = {"": (plain, _like(arguments, arguments))}
    if recipe.choose:
        _refuse_optimisation(arguments)
        paths = [Path(path) for path in recipe.choose]
        methods = {
            name: _method(path, plain, arguments) for name, path in zip(names_of_runs(paths), paths, strict=True)
        }
    candidates = {}
    for name, (method, optimised) in methods.items():
        for epochs in recipe.choose_epochs or [optimised.num_train_epochs]:
            if recipe.choose_epochs and optimised.max_steps > 0:
                raise RecipeError("choose_epochs would have no effect: max_steps ends the training")
            lasting = _like(arguments, optimised)
            lasting.num_train_epochs = epochs
            _check_arguments(lasting)
            called = ", ".join(filter(None, (name, f"{epochs:g} epochs" if recipe.choose_epochs else "")))
            lasting.run_name = "/".join(filter(None, (arguments.run_name, called)))
            candidates[called] = method, lasting
    if len(candidates) < 2 or len(candidates) < len(methods) * len(recipe.choose_epochs or [0]):
        raise RecipeError(f"a choice needs candidates that differ, two at least; found {', '.join(candidates)}")
    return candidates


def _like(arguments: TrainingArguments, optimised: TrainingArguments) -> TrainingArguments:
    """The arguments of a run with the optimisation of others; what it makes is pushed by the run."""
    candidate = copy.copy(arguments)
    for name in OPTIMISATION:
        setattr(candidate, name, getattr(optimised, name))
    candidate.push_to_hub = False
    return candidate


def _method(path: Path, recipe: Recipe, arguments: TrainingArguments) -> tuple[Recipe, TrainingArguments]:
    """A recipe's file as a candidate: its method, on the data of the run."""
    own, optimised = read_recipe(path)
    if own.is_drawn or own.chooses:
        what = "draws its motion" if own.is_drawn else "chooses itself"
        raise RecipeError(f"choose: recipe {path} {what}; a candidate is one way to train on clips")
    method = {name: getattr(own, name) for name in METHOD}
    return dataclasses.replace(recipe, **method), _like(arguments, optimised)


def _refuse_optimisation(arguments: TrainingArguments) -> None:
    """An argument of the run that each candidate brings would not be used."""
    plain = read_recipe()[1]
    given = [name for name in OPTIMISATION if getattr(arguments, name) != getattr(plain, name)]
    if given:
        raise RecipeError(f"{given[0]} would have no effect: each recipe of choose brings its own")


# --- from a file, a command line, or keyword arguments ---


def read_recipe(source: Recipe | str | Path | None = None, **options: object) -> tuple[Recipe, TrainingArguments]:
    """Read a recipe from Python.

    Args:
        source: a recipe, the path of a recipe's file, or None for the defaults.
        options: fields of `Recipe` and of `TrainingArguments`, which outdo the source.

    Raises:
        RecipeError: for a file that cannot be read, an unknown name, or a value that cannot be used.
    """
    given = source.changed() if isinstance(source, Recipe) else {}
    path = [] if source is None or isinstance(source, Recipe) else [str(source)]
    return parse_recipe([*path, *_as_argv({**given, **options}, "")])


def parse_recipe(argv: Sequence[str]) -> tuple[Recipe, TrainingArguments]:
    """Read a recipe from a command line.

    Args:
        argv: perhaps the path of a YAML file, then options, which outdo the file. Both know the fields of `Recipe` and
            of `TrainingArguments`.

    Returns:
        The recipe, and the training arguments.

    Raises:
        RecipeError: for a file that cannot be read, an unknown key, or a value that cannot be used.
    """
    argv = list(argv)
    path = argv.pop(0) if argv and not argv[0].startswith("-") else None
    from_file = [] if path is None else _as_argv(_read_yaml(Path(path)), f"recipe {path}: ")
    for argument in argv:
        _check_option(argument)
    parser = _parser()
    given = parser.parse_known_args([*from_file, *argv])[0]
    if given.task == "spotting":
        parser.set_defaults(**SPOTTING)
        _refuse_other_task([*from_file, *argv])
    if given.protocol != "none" or given.choose or given.choose_epochs or given.task == "spotting":
        take_share()  # before the training arguments look for the other processes of a launcher
    elif launched().world_size > 1 and not torch.cuda.is_available():
        parser.set_defaults(use_cpu=True)  # otherwise accelerate lets each process train alone
    try:
        parsed = parser.parse_args_into_dataclasses(
            [*from_file, *argv], look_for_args_file=False, return_remaining_strings=True
        )
    except (TypeError, ValueError) as error:  # what the dataclasses themselves refuse
        raise error if isinstance(error, RecipeError) else RecipeError(str(error)) from error
    recipe, arguments, unknown = cast(tuple[Recipe, TrainingArguments, list[str]], parsed)
    if unknown:
        raise RecipeError(f"{_short(unknown[0])} belongs to no option; the recipe's file stands first")
    _check_arguments(arguments)
    _choose_precision(arguments)
    return recipe, arguments


def _refuse_other_task(options: Sequence[str]) -> None:
    """Refuse training arguments that the task spotting would not use."""
    for option in options:
        name = option[2:].partition("=")[0].replace("-", "_") if option.startswith("--") else ""
        if name in HOLD and name not in SPOTTING_HOLDS:
            held = ", ".join(name for name in SPOTTING_HOLDS if name in HOLD)
            raise RecipeError(f"{name} would have no effect: with --task spotting hold {held}")


def _parser() -> HfArgumentParser:
    parts = cast(list[DataClassType], [Recipe, TrainingArguments])
    parser = HfArgumentParser(parts, add_help=False, allow_abbrev=False)
    parser.error = _refuse
    (trackers,) = (action for action in parser._actions if action.dest == "report_to")
    trackers.nargs = "+"  # HfArgumentParser would take a single one
    parser.set_defaults(**DEFAULTS, bf16=None)
    return parser


def _refuse(message: str) -> NoReturn:
    raise RecipeError(message[:500])


def _read_yaml(path: Path) -> dict[str, object]:
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > LONGEST:
            raise RecipeError(f"recipe {path} has {len(text)} characters; a recipe has at most {LONGEST}")
        content = yaml.load(text, _UniqueKeys)
    except OSError as error:
        raise RecipeError(f"recipe {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"recipe {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"recipe {path} must give values by name, one a line, such as 'learning_rate: 3e-3'")
    return content


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise ConstructorError(None, None, f"{min(twice)!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _as_argv(content: Mapping[str, object], where: str) -> list[str]:
    """Values by name as command-line options, so that one parser checks everything."""
    known = _known()
    options = []
    for name, value in content.items():
        _check_name(name, where)
        kind = str(known[name])
        if (isinstance(value, dict) and "dict" not in kind) or (isinstance(value, list) and "list" not in kind):
            raise RecipeError(f"{where}{name} takes one value, got {_short(value)}")
        if isinstance(value, list):
            options += [f"--{name}", *map(str, value)]
        elif value is not None:
            options.append(f"--{name}={_as_json(value, where + name) if isinstance(value, dict) else value}")
    return options


def _as_json(value: dict, where: str) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:  # a date, or values that hold themselves
        raise RecipeError(f"{where} must hold numbers, texts, lists and values by name: {error}") from error


def _check_option(argument: str) -> None:
    """Refuse an option of the command line that is unknown, or does not hold here."""
    if len(argument) > LONGEST:
        raise RecipeError(f"{argument[:40]}... has {len(argument)} characters; a value has at most {LONGEST}")
    if argument.startswith("--"):
        name = argument[2:].partition("=")[0].replace("-", "_")
        _check_name(name.removeprefix("no_") if name.removeprefix("no_") in _known() else name, "", argument)


def _check_name(name: object, where: str, written: str = "") -> None:
    known = _known()
    if name not in known:
        nearest = difflib.get_close_matches(str(name)[:60], known, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        what = f"there is no option {written.partition('=')[0][:60]}" if written else f"unknown key {_short(name)}"
        raise RecipeError(f"{where}{what}{hint}")
    if name not in HOLD and name not in HELP:
        reasons = [reason for beginning, reason in INSTEAD.items() if str(name).startswith(beginning)]
        raise RecipeError(f"{where}{name} does not hold here: {next(iter(reasons), 'it was never tried')}")


def _known() -> dict[str, object]:
    """The names that a recipe may give, and their types."""
    types = {**get_type_hints(TrainingArguments), **get_type_hints(Recipe)}  # HfArgumentParser alters those of fields
    return {
        entry.name: types[entry.name] for part in (Recipe, TrainingArguments) for entry in fields(part) if entry.init
    }


def _short(value: object) -> str:
    return textwrap.shorten(repr(value)[:200], 120, placeholder="...")


def _check_arguments(arguments: TrainingArguments) -> None:
    """Refuse training arguments with which nothing, or nothing finite, could be trained."""
    for name, least in (("seed", 0), ("per_device_train_batch_size", 1), ("per_device_eval_batch_size", 1)):
        if getattr(arguments, name) < least:
            raise RecipeError(f"{name} must be at least {least}, got {getattr(arguments, name)}")
    if arguments.gradient_accumulation_steps < 1:
        raise RecipeError(
            f"gradient_accumulation_steps must be at least 1, got {arguments.gradient_accumulation_steps}"
        )
    if arguments.max_steps < 1 and not 0 < arguments.num_train_epochs < math.inf:
        raise RecipeError(f"num_train_epochs must be above 0 and finite, got {arguments.num_train_epochs}")
    for name in ("learning_rate", "weight_decay", "adam_epsilon", "max_grad_norm", "warmup_steps"):
        if not 0 <= getattr(arguments, name) < math.inf:
            raise RecipeError(f"{name} must be 0 or more and finite, got {getattr(arguments, name)}")
    for name in ("adam_beta1", "adam_beta2"):
        if not 0 <= getattr(arguments, name) < 1:
            raise RecipeError(f"{name} must be 0 or more and below 1, got {getattr(arguments, name)}")
    if arguments.seed >= 2**31:
        raise RecipeError(f"seed must be below 2147483648, got {arguments.seed}; drawn motion has the larger ones")


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies in bf16 itself; where that is emulated, it is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _choose_precision(arguments: TrainingArguments) -> None:
    """Train in bf16 where the device has it, unless the recipe or the launcher says something else."""
    if arguments.bf16 is None:
        arguments.bf16 = arguments.mixed_precision == "no" and has_bf16(arguments.device)
        if arguments.bf16:
            arguments.mixed_precision = "bf16"


# --- help ---


def help_text(everything: bool = False) -> str:
    """The options that hold, those of a recipe first, on two screens; with `everything`, what each does at length."""
    parser = _parser()
    defaults = {action.dest: action.default for action in reversed(parser._actions)}  # --no_x comes after --x
    texts = {entry.name: entry.metadata.get("help", "") for entry in fields(TrainingArguments)} | HELP
    groups: dict[str, Sequence[str]] = {"the recipe": [entry.name for entry in fields(Recipe)]}
    groups |= {"the optimisation": OPTIMISATION, "the circumstances": CIRCUMSTANCES}
    lines = [
        "usage: mer-hf train [RECIPE.yaml] [--OPTION VALUE ...]",
        "",
        "Train and test a model by a recipe; options outdo its entries. --help-all explains each at length.",
    ]
    for title, names in groups.items():
        lines += ["", f"{title}:"]
        for name in names:
            text = " ".join(texts[name].split())
            text = text if everything else text.partition(". ")[0].rstrip(".")
            default = defaults.get(name)
            option = f"--{name.replace('_', '-')}"
            shown = "" if default in (None, "") else f" ({default})"
            if everything:
                indent = " " * 6
                lines.append(f"  {option}")
                lines += textwrap.wrap(text + shown, 110, initial_indent=indent, subsequent_indent=indent)
            else:
                room = 86 - len(shown)
                lines.append(f"  {option:30} {text if len(text) <= room else text[: room - 3] + '...'}{shown}")
    return "\n".join(lines)


__all__ = [
    "DRAWN",
    "Recipe",
    "RecipeError",
    "candidates_of",
    "has_bf16",
    "help_text",
    "json_object",
    "parse_recipe",
    "read_recipe",
]
