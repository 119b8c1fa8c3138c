"""Training on motion drawn from facial action units: no face, no corpus, and no field that is seen twice.

Recipe -> DrawnClips: flow of classes and units -> model inputs, a batch at a time -> training.fit -> a model
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed

from mer_hf.action_units import ACTION_UNITS
from mer_hf.drawn.fields import DrawingSettings, held_back_settings
from mer_hf.metrics import scores
from mer_hf.rcn.configuration_rcn import RcnConfig
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.training.batches import DRAWN_CLASSES, DrawnClips
from mer_hf.training.recipe import Recipe
from mer_hf.training.results import circumstances, write_json
from mer_hf.training.trainer import (
    RunError,
    build_processor,
    calibrate_units,
    fit,
    many_small_steps,
    preset_config,
)

DATASET = "action-units"
"""What a recipe names as its dataset."""
TRAINED_ON = (
    "It was trained on motion drawn from facial action units, and on no recording of a face. Its scores on real "
    "micro-expressions are not known."
)


def drawn_config(recipe: Recipe) -> RcnConfig:
    """The configuration of a model of drawn motion: three classes, and the units of the table.

    Raises:
        RunError: for a recipe that needs clips, or whose model is not one of flow.
    """
    if recipe.protocol != "none":
        raise RunError(f"--dataset {DATASET} has no subjects to hold out; say --protocol none")
    if recipe.saved_model is not None:
        raise RunError(f"training on drawn motion starts from nothing; {recipe.model} is a saved model")
    config = preset_config(recipe, {"action_units": list(ACTION_UNITS), **recipe.model}, DRAWN_CLASSES)
    if config.connectivity != "geometric":
        raise RunError(f"--dataset {DATASET} draws flow; preset {recipe.preset} is {config.connectivity}")
    return config


def run_drawn(recipe: Recipe, arguments: TrainingArguments) -> tuple[RcnForVideoClassification, RcnVideoProcessor]:
    """Train on drawn motion, and score on fields of held-back settings; `results.json` in the output folder.

    Args:
        recipe: with `dataset: action-units`; `seeds` of it are averaged into one model with `average_seeds`.
        arguments: how to optimise, and the output folder.

    Raises:
        RunError: as `drawn_config`.
    """
    started = time.monotonic()
    config = drawn_config(recipe)
    processor = build_processor(recipe, config)
    seeds = range(arguments.seed, arguments.seed + (recipe.seeds if recipe.average_seeds else 1))
    models = []
    with many_small_steps():
        for seed in seeds:
            set_seed(seed)
            model = RcnForVideoClassification(config).to(memory_format=torch.channels_last)
            clips = DrawnClips(recipe.drawn_fields, config, seed, arguments.device)
            models.append(fit(model, clips, processor, recipe, arguments).model.eval())
            calibrate_units(models[-1])
    model = RcnForVideoClassification.average(models)
    model.config.trained_on = TRAINED_ON
    _write_results(model, recipe, arguments, started)
    return model, processor


def evaluate_drawn(model: RcnForVideoClassification, recipe: Recipe, arguments: TrainingArguments) -> None:
    """Score a saved model on drawn motion; `results.json` in the output folder.

    Raises:
        RunError: for a model of other classes, or of another input than flow.
    """
    names = list(model.config.id2label.values())
    if names != list(DRAWN_CLASSES) or model.config.connectivity != "geometric":
        raise RunError(
            f"motion is drawn of {', '.join(DRAWN_CLASSES)}, for geometric models; this one is "
            f"{model.config.connectivity}, and tells {', '.join(names)}"
        )
    _write_results(model.eval(), recipe, arguments, time.monotonic())


def _write_results(
    model: RcnForVideoClassification, recipe: Recipe, arguments: TrainingArguments, started: float
) -> None:
    results = {
        "classes": list(DRAWN_CLASSES),
        "drawn_motion": dict(score_drawn(model)),
        "data": {
            "description": "Motion drawn from facial action units; no recording of a face.",
            "license": "Apache-2.0",
        },
        **circumstances(recipe, arguments, 1, started),
    }
    output_dir = Path(arguments.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_json(output_dir / "results.json", results)


@torch.no_grad()
def score_drawn(model: RcnForVideoClassification, count: int = 3000) -> Iterator[tuple[str, dict[str, Any]]]:
    """Scores on drawn fields that training has not seen: of its own settings, and of each held-back version of them."""
    for name, settings in {"as trained": DrawingSettings(), **held_back_settings()}.items():
        clips = DrawnClips(count, model.config, 2**31 + len(name), model.device, settings)
        for form, published in (("flow", False), ("picture", True)):
            batch = clips.draw(count, published)
            logits = model(batch["pixel_values_videos"]).logits
            yield f"{name}, {form}", scores(batch["labels"].tolist(), logits.argmax(1).tolist(), len(DRAWN_CLASSES))


__all__ = ["DATASET", "TRAINED_ON", "drawn_config", "evaluate_drawn", "run_drawn", "score_drawn"]
