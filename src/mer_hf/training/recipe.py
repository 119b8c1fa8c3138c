"""A recipe: what is trained, on what, and who is held out; read from a YAML file and the command line.

recipe.yaml, then --name value ... -> parse_recipe -> Recipe, TrainingArguments
"""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, get_type_hints

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments

from mer_hf.errors import MerHfError

DEFAULTS = {
    "output_dir": "runs/default",
    "remove_unused_columns": False,  # the samples of a clip are not named as the model's arguments
    "save_strategy": "no",  # a fold is short; what is kept of it are its predictions
    "logging_strategy": "no",
    "dataloader_pin_memory": False,  # batches are a few hundred kilobytes
    "disable_tqdm": True,  # one bar counts the folds; false shows the steps of each as well
}
"""Training arguments that differ from those of transformers unless a recipe says otherwise."""


class RecipeError(MerHfError):
    """A recipe or an option that cannot be used; the message says what to change."""


@dataclass
class Recipe:
    """What is trained, on what, and who is held out. Everything about optimisation is in `TrainingArguments`."""

    dataset: str = field(
        default="synthetic",
        metadata={"help": "A corpus by name, the folder of a saved datasets.Dataset, or action-units: drawn motion."},
    )
    drawn_fields: int = field(
        default=230_400, metadata={"help": "How many fields of motion are drawn, with --dataset action-units."}
    )
    data_dir: str | None = field(default=None, metadata={"help": "Where the release of the corpus was unpacked."})
    fps: float | None = field(
        default=None, metadata={"help": "Frame rate of the frames on disk, where it is not the corpus's own."}
    )
    label_set: str = field(default="3class", metadata={"help": "3class, 4class, 5class or native (corpora only)."})
    protocol: Literal["loso", "lovo", "kfold", "none"] = field(
        default="loso", metadata={"help": "Who is held out; none only trains on all clips."}
    )
    num_folds: int = field(default=5, metadata={"help": "k of the kfold protocol."})
    folds: str | None = field(default=None, metadata={"help": "Only these folds, by name, separated by commas."})
    seeds: int = field(default=1, metadata={"help": "How many seeds, counted from --seed, each fold is trained with."})
    preset: str = field(default="rcn", metadata={"help": "A published setting of RcnConfig.preset."})
    model: dict | str | None = field(
        default=None,
        metadata={
            "help": "Fields of RcnConfig to change (JSON). Or a saved model to start from, whose configuration is "
            "taken: a folder, a name on the Hub, or default, the model in the package."
        },
    )
    processor: dict | str | None = field(default=None, metadata={"help": "Options of RcnVideoProcessor (JSON)."})
    jitter: bool = field(default=True, metadata={"help": "Temporal jittering of the training clips."})
    drop: Literal["ratio", "single"] = field(
        default="ratio", metadata={"help": "Frames that jittering drops; single is what the authors' release does."}
    )
    mirror: bool = field(default=True, metadata={"help": "Mirror training clips at random; u is inverted in flow."})
    augment: dict | str | None = field(
        default=None, metadata={"help": "rotation, scale, shift, noise, mixup of training clips (JSON)."}
    )
    lr_step_epochs: float | None = field(
        default=None, metadata={"help": "Multiply the learning rate by a factor after every so many epochs."}
    )
    lr_step_factor: float = field(default=0.5, metadata={"help": "The factor of lr_step_epochs."})
    ema_decay: float | None = field(
        default=None, metadata={"help": "Decay of an exponential moving average of the weights, such as .99."}
    )
    drawn_per_clip: int = field(
        default=0, metadata={"help": "Fields of drawn motion that go beside each clip in every batch (joint training)."}
    )
    average_seeds: bool = field(
        default=False, metadata={"help": "Save one model that averages the predictions of all seeds."}
    )
    average_with: str | None = field(
        default=None,
        metadata={
            "help": "A saved model that every trained one is averaged with: a folder, a name on the Hub, or default, "
            "the model in the package. Inputs then are of its kind and size."
        },
    )
    evaluate_only: bool = field(
        default=False, metadata={"help": "Train nothing: score the saved model of --model on all clips of --dataset."}
    )
    control: bool = field(
        default=False, metadata={"help": "Score a PCA and a support vector machine on the same folds (flow only)."}
    )
    num_proc: int | None = field(default=None, metadata={"help": "Processes that render and prepare the clips."})

    def __post_init__(self) -> None:
        """Read what the command line gives as JSON, and refuse what no run can mean."""
        for name in ("processor", "augment", *(() if self.saved_model else ("model",))):
            setattr(self, name, _mapping(name, getattr(self, name)))
        if self.evaluate_only and self.saved_model is None:
            raise RecipeError("evaluate_only needs a saved model to score: --model FOLDER, or --model default")
        if self.evaluate_only and self.average_with is not None:
            raise RecipeError("evaluate_only scores one saved model; average_with is for those that are trained")
        if self.drawn_per_clip < 0:
            raise RecipeError(f"drawn_per_clip must be 0 or more, got {self.drawn_per_clip}")
        for name in ("seeds", "num_proc", "drawn_fields"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RecipeError(f"{name} must be at least 1, got {value}")
        if self.lr_step_epochs is not None and not self.lr_step_epochs > 0:
            raise RecipeError(f"lr_step_epochs must be above 0, got {self.lr_step_epochs}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise RecipeError(f"ema_decay must lie between 0 and 1, got {self.ema_decay}")

    @property
    def saved_model(self) -> str | None:
        """The saved model that `model` names; None where it gives fields of a configuration."""
        return self.model if isinstance(self.model, str) and not self.model.lstrip().startswith("{") else None


def _mapping(name: str, value: dict | str | None) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise RecipeError(f"{name} must be JSON, such as '{{\"num_frames\": 16}}': {error}") from error
    if not isinstance(value, dict | None):
        raise RecipeError(f"{name} must give values by name, got {value!r}")
    return value or {}


def parse_recipe(argv: Sequence[str]) -> tuple[Recipe, TrainingArguments]:
    """Read a recipe.

    Args:
        argv: perhaps the path of a YAML file, then options, which outdo the file. Both know the fields of `Recipe` and
            of `TrainingArguments`.

    Returns:
        The recipe, and the training arguments.

    Raises:
        RecipeError: for a file that cannot be read, an unknown key, or a value of the wrong kind.
    """
    parser = HfArgumentParser(
        (Recipe, TrainingArguments),
        usage="mer-hf train [RECIPE.yaml] [--OPTION VALUE ...]",
        description="Train and test a model by a recipe; options outdo its entries. Those of a recipe come first, then "
        "those of transformers.TrainingArguments.",
    )
    parser.error = _refuse
    parser.set_defaults(**DEFAULTS, bf16=None)
    argv = list(argv)
    path = argv.pop(0) if argv and not argv[0].startswith("-") else None
    from_file = [] if path is None else _options(_read_yaml(Path(path)), path)
    try:
        recipe, arguments, unknown = parser.parse_args_into_dataclasses(
            [*from_file, *argv], look_for_args_file=False, return_remaining_strings=True
        )
    except (TypeError, ValueError) as error:  # what the dataclasses themselves refuse
        raise error if isinstance(error, RecipeError) else RecipeError(str(error)) from error
    if unknown and unknown[0].startswith("-"):
        name = unknown[0].partition("=")[0]
        raise RecipeError(f"there is no option {name}{_hint(name.lstrip('-').replace('-', '_'))}")
    if unknown:
        raise RecipeError(f"{unknown[0]!r} belongs to no option; the recipe's file stands first, options follow it")
    _choose_precision(arguments)
    return recipe, arguments


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


def _refuse(message: str) -> NoReturn:
    raise RecipeError(message)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"recipe {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"recipe {path} must give values by name, one a line, such as 'learning_rate: 3e-3'")
    return content


def _options(content: dict[str, Any], path: str) -> list[str]:
    """The entries of a YAML file as command-line options, so that one parser checks both."""
    known = _known()
    options = []
    for name, value in content.items():
        if name not in known:
            raise RecipeError(f"recipe {path} has an unknown key {name!r}{_hint(str(name))}")
        kind = str(known[name])
        if (isinstance(value, dict) and "dict" not in kind) or (isinstance(value, list) and "list" not in kind):
            raise RecipeError(f"recipe {path}: {name} takes one value, got {value!r}")
        if isinstance(value, list):
            options += [f"--{name}", *map(str, value)]
        elif value is not None:
            options.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
    return options


def _known() -> dict[str, Any]:
    """The names that a recipe may give, and their types."""
    types = {**get_type_hints(TrainingArguments), **get_type_hints(Recipe)}  # HfArgumentParser alters those of fields
    return {
        entry.name: types[entry.name] for part in (Recipe, TrainingArguments) for entry in fields(part) if entry.init
    }


def _hint(name: str) -> str:
    nearest = difflib.get_close_matches(name, _known(), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


__all__ = ["Recipe", "RecipeError", "has_bf16", "parse_recipe"]
