"""What all trainings of a run have in common, made and checked whole before any of them begins.

Recipe, TrainingArguments, the dataset's labels and shapes, saved models by name -> make_plan -> Plan
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import torch
from datasets import Dataset
from transformers import TrainingArguments
from transformers.integrations import get_available_reporting_integrations

from mer_hf.action_units import ACTION_UNITS
from mer_hf.errors import MerHfError
from mer_hf.evaluation.units import CODES, NEUTRAL, coded_units
from mer_hf.hub.models import Recogniser, open_model
from mer_hf.hub.push import check_login
from mer_hf.protocols import SIDES
from mer_hf.rcn.configuration_rcn import OF_THE_WEIGHTS, SHARED, RcnConfig
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.subjects import subject_name
from mer_hf.training.batches import DRAWN_CLASSES
from mer_hf.training.clips import (
    FROM_PICTURES,
    SIDE,
    check_dataset,
    ready_inputs,
    unit_targets,
    with_classes,
    with_identity,
)
from mer_hf.training.recipe import DRAWN, Recipe, candidates_of


class RunError(MerHfError):
    """A run cannot start, or must not go on; the message says what to change."""


@dataclass(frozen=True)
class Plan:
    """What all trainings of a run have in common.

    Attributes:
        recipe: what is trained, on what, and who is held out.
        arguments: how it is optimised, and the output folder.
        dataset: the clips with their identity, labelled as the model numbers its classes; None where motion is drawn.
        config: configuration of every model that is trained.
        processor: makes the inputs of the models.
        start: the saved model whose weights every training begins with.
        companion: the saved model that every trained one is averaged with.
        candidates: the plans among which each fold chooses, by name; empty where nothing is chosen. What else stands
            here is then of the first of them, but for the recipe and the arguments, which are the run's.
    """

    recipe: Recipe
    arguments: TrainingArguments
    dataset: Dataset | None
    config: RcnConfig
    processor: RcnVideoProcessor
    start: Recogniser | None
    companion: Recogniser | None
    candidates: Mapping[str, "Plan"] = field(default_factory=dict)

    @property
    def output_dir(self) -> Path:
        """Where finished folds are kept."""
        return Path(cast(str, self.arguments.output_dir))

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the labels."""
        return self.config.class_names()

    @property
    def seeds(self) -> list[int]:
        """The seeds that every fold is trained with."""
        return [self.arguments.seed + number for number in range(self.recipe.seeds)]


def make_plan(recipe: Recipe, arguments: TrainingArguments, dataset: Dataset | None = None) -> Plan:
    """Open and check all that a run needs.

    Args:
        recipe: what is trained, on what, and who is held out.
        arguments: how it is optimised, and the output folder.
        dataset: the clips, see `clips.check_dataset`; None where the recipe has motion drawn.

    Raises:
        RunError: for settings that contradict one another or the dataset; for a saved model that was trained on a
            subject who is held out.
        DatasetError: for a dataset that cannot be used.
        HubError: for a saved model that cannot be had, and a place on the Hub that cannot be pushed to.
    """
    if arguments.push_to_hub:
        if arguments.hub_model_id is None:
            raise RunError("push_to_hub needs to know where: hub_model_id USER/NAME")
        check_login(arguments.hub_model_id, arguments.hub_token)
    for name in set(arguments.report_to or ()) - set(get_available_reporting_integrations()):
        raise RunError(f"report_to names {name}, which is not installed: pip install {name}")
    candidates = {name: make_plan(*each, dataset) for name, each in candidates_of(recipe, arguments).items()}
    if candidates:
        first = next(iter(candidates.values()))
        if recipe.control:
            _check_control(first.config)
        return replace(first, recipe=recipe, arguments=arguments, candidates=candidates)
    start, companion = (None if name is None else open_model(name) for name in (recipe.start, recipe.average_with))
    if recipe.is_drawn:
        config = drawn_config(recipe)
        _check_passes(config)
        return Plan(recipe, arguments, None, config, build_processor(recipe, config), None, None)
    dataset = cast(Dataset, dataset)
    check_dataset(dataset)
    dataset = with_identity(dataset)
    if recipe.protocol == "cd6me":
        dataset = _all_coded(dataset)
    if companion is not None:
        dataset = with_classes(dataset, companion.model.config.class_names())
    config = build_config(recipe, dataset, start, companion)
    processor = build_processor(recipe, config, start or companion)
    if recipe.control:
        _check_control(config)
    _check_comparable(config, companion)
    _check_units(recipe, dataset, companion)
    _check_passes(config)
    held_out = _held_out(recipe, dataset)
    _check_unseen(start, held_out)
    _check_unseen(companion, held_out)
    return Plan(recipe, arguments, dataset, config, processor, start, companion)


def build_config(
    recipe: Recipe, dataset: Dataset, start: Recogniser | None = None, companion: Recogniser | None = None
) -> RcnConfig:
    """The model's configuration: preset, the recipe's changes, the labels, and the shape of ready inputs.

    Args:
        recipe: what is trained.
        dataset: whose labels the model names.
        start: a saved model to start from, whose configuration is taken in place of preset and changes.
        companion: a saved model to average with, whose inputs are the model's own.

    Raises:
        RunError: for fields of the wrong kind, or that contradict one another or the dataset.
    """
    names = dataset.features["label"].names
    column = check_dataset(dataset)
    given = dict(recipe.config_fields)
    if start is not None:
        single = start.model.networks()[0].config
        given = {each.name: getattr(single, each.name) for each in fields(RcnConfig)} | OF_THE_WEIGHTS
    elif companion is not None:
        given |= _inputs_of(companion, recipe)
    elif column not in FROM_PICTURES:
        frames, channels, height, width = next(ready_inputs(dataset, column)).shape
        given |= {"num_frames": frames, "num_channels": channels, "image_size": [height, width]}
    if recipe.action_units:
        given["action_units"] = recipe.action_units
    elif start is not None or recipe.drawn_per_clip:  # the units are known of drawn motion alone
        given["action_units"] = list(ACTION_UNITS) if recipe.drawn_per_clip else None
    config = _preset_config(recipe, given, names, f" on column {column!r}")
    if config.connectivity != "geometric" and (column == "flow" or recipe.drawn_per_clip):
        needs = "the column 'flow'" if column == "flow" else "drawn_per_clip"
        raise RunError(f"{needs} needs a geometric model, preset {recipe.preset} is {config.connectivity}")
    if recipe.drawn_per_clip and not set(DRAWN_CLASSES) <= set(names):
        raise RunError(f"motion is drawn of {', '.join(DRAWN_CLASSES)}; the classes here are {', '.join(names)}")
    if recipe.drawn_per_clip and config.action_units != list(ACTION_UNITS):
        raise RunError(
            f"motion is drawn of the action units {' '.join(map(str, ACTION_UNITS))}; name the same, or none"
        )
    return config


def _all_coded(dataset: Dataset) -> Dataset:
    """The clips, those without a code coded as showing none of the units: so CD6ME counts them."""
    codes = [text if coded_units(text) is not None else NEUTRAL for text in dataset[CODES]]
    return dataset.remove_columns(CODES).add_column(CODES, codes)


def _check_passes(config: RcnConfig) -> None:
    """Refuse inputs that are too small for the network, by passing one through it."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = RcnForVideoClassification(config).eval()
        try:
            model(torch.zeros(1, config.num_frames, config.num_channels, *config.image_size))
        except RuntimeError as error:
            raise RunError(
                f"a model input of {config.image_size[0]} x {config.image_size[1]} pixels does not pass through "
                f"{config.backbone} and section_pools {config.section_pools}; give a larger one: {error}"
            ) from error


def drawn_config(recipe: Recipe) -> RcnConfig:
    """The configuration of a model of drawn motion: three classes, and the units of the table.

    Raises:
        RunError: for a recipe whose model takes colour.
    """
    config = _preset_config(recipe, {"action_units": list(ACTION_UNITS), **recipe.config_fields}, DRAWN_CLASSES)
    if config.connectivity != "geometric" and config.num_channels == 3:
        raise RunError(f"--dataset {DRAWN} draws sequences of flow or in grey: num_channels 2 or 1, not 3")
    return config


def _inputs_of(companion: Recogniser, recipe: Recipe) -> dict[str, object]:
    """The fields that all members of an ensemble have in common."""
    shared = {name: getattr(companion.model.config, name) for name in SHARED}
    for name in sorted(shared.keys() & recipe.config_fields.keys()):
        if recipe.config_fields[name] != shared[name]:
            raise RunError(
                f"model says {name} {recipe.config_fields[name]!r}, but {recipe.average_with}, which it is averaged "
                f"with, has {shared[name]!r}; leave it out, or say the same"
            )
    return shared


def _preset_config(recipe: Recipe, given: dict[str, object], names: Sequence[str], where: str = "") -> RcnConfig:
    """The recipe's preset with given fields and the names of the classes; errors say `where`."""
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    try:
        return RcnConfig.preset(recipe.preset, **{**given, **labels})
    except (MerHfError, TypeError) as error:
        raise RunError(f"preset {recipe.preset} with model {recipe.model}{where}: {error}") from error


def build_processor(recipe: Recipe, config: RcnConfig, saved: Recogniser | None = None) -> RcnVideoProcessor:
    """The video processor that makes the inputs which `config` takes; as that of a saved model, where there is one.

    Raises:
        MerHfError: for an option that does not exist, or is out of its range.
    """
    if saved is not None:
        return saved.processor.with_options(**recipe.processor_options)
    height, width = config.image_size
    made = RcnVideoProcessor(
        connectivity=config.connectivity,
        num_channels=config.num_channels,
        num_frames=config.num_frames,
        size={"height": height, "width": width},
    )
    return made.with_options(**recipe.processor_options)


# --- what is refused ---


def _check_control(config: RcnConfig) -> None:
    if config.connectivity != "geometric":
        raise RunError(f"control judges flow, and {config.connectivity} connectivity has none; leave --control out")
    if find_spec("sklearn") is None:
        raise RunError("control needs scikit-learn: pip install mer_hf[control]")


def _check_comparable(config: RcnConfig, companion: Recogniser | None) -> None:
    """Refuse to average models of other inputs or classes, before hours of training."""
    if companion is None:
        return
    differing = [name for name in SHARED if getattr(config, name) != getattr(companion.model.config, name)]
    if differing:
        name = differing[0]
        raise RunError(
            f"{name} of the model to train is {getattr(config, name)!r}, of the one that it is averaged with "
            f"{getattr(companion.model.config, name)!r}; only models of the same inputs and classes can be averaged"
        )


def _check_units(recipe: Recipe, dataset: Dataset, companion: Recogniser | None) -> None:
    """Refuse units that no clip shows, or that another model would be averaged with that tells others."""
    if not recipe.action_units:
        return
    unit_targets(dataset, recipe.action_units)
    others = None if companion is None else companion.model.config.action_units
    if others and list(others) != recipe.action_units:
        raise RunError(
            f"{recipe.average_with}, which is averaged with, tells the action units {' '.join(map(str, others))}; name "
            "the same, or none"
        )


def _held_out(recipe: Recipe, dataset: Dataset) -> set[str]:
    """The subjects that are held out at some time."""
    if recipe.protocol == "none":
        return set()
    sides = dataset[SIDE] if recipe.protocol == "cross" else SIDES[1:] * len(dataset)
    return {subject for subject, side in zip(dataset["subject"], sides, strict=True) if side == SIDES[1]}


def _check_unseen(saved: Recogniser | None, held_out: set[str]) -> None:
    """Refuse a saved model that has seen those whose clips it would be scored on."""
    known = () if saved is None else saved.model.config.training_subjects or ()
    seen = {subject_name(subject) for subject in known} & held_out
    if seen:
        raise RunError(
            f"the saved model was trained on {len(seen)} of the subjects that are held out here, such as {min(seen)}; "
            "the scores would be of clips that it knows. Say --protocol none, or take a model of other corpora."
        )


__all__ = ["Plan", "RunError", "build_config", "build_processor", "drawn_config", "make_plan"]
