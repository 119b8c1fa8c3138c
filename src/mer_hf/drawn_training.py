"""Training on motion drawn from facial action units: no face, no corpus, and no field that is seen twice.

Recipe -> DrawnClips: flow of classes and units -> model inputs, a batch at a time -> training.fit -> a model
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainingArguments, set_seed

from mer_hf.action_units import ACTION_UNITS, UNIT_SHARES
from mer_hf.drawing import DrawingSettings, as_published_picture, draw_fields, held_back_settings
from mer_hf.metrics import scores
from mer_hf.rcn.configuration_rcn import RcnConfig
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.motion_rcn import flow_picture, optical_strain
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.recipes import Recipe
from mer_hf.training import RunError, build_processor, fit, many_small_steps, write_atomically

DATASET = "action-units"
"""What a recipe names as its dataset."""
CLASSES = tuple(UNIT_SHARES)
REST = 0.1  # share of fields in which no unit moves: a model that has seen stillness is less sure of what it is
CALIBRATION_SEED = 2**32
TRAINED_ON = (
    "It was trained on motion drawn from facial action units, and on no recording of a face. Its scores on real "
    "micro-expressions are not known."
)


class DrawnClips(torch.utils.data.Dataset):
    """Fields that are drawn when they are asked for, half of them in the form of published flow pictures.

    Args:
        count: of the fields in an epoch.
        config: of the model; its image size and channels.
        seed: of the fields.
        device: where they are drawn.
        settings: how they are drawn.
    """

    def __init__(
        self, count: int, config: RcnConfig, seed: int, device: torch.device, settings: DrawingSettings | None = None
    ) -> None:
        self.count, self.config, self.device = count, config, device
        self.settings = settings or DrawingSettings(rest=REST)
        self.draws = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        """How many fields an epoch has."""
        return self.count

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """A batch: `pixel_values_videos` (B, 1, C, H, W), `labels` (-1 where no unit moves), `action_units` (B, U)."""
        return self.draw(len(indices))

    def draw(self, count: int, published: bool | None = None) -> dict[str, Tensor]:
        """As `__getitems__`: so many fields; all as signed flow, all in the published form, or (None) half of each."""
        drawn = draw_fields(count, tuple(self.config.image_size), self.draws, self.settings, self.device)
        channels = self.config.num_channels
        part = {None: count // 2, False: 0, True: count}[published]
        pictures = as_published_picture(torch.cat([drawn.flow, optical_strain(drawn.flow)], 1)[:part])
        pixels = torch.cat([flow_picture(pictures, channels), flow_picture(drawn.flow[part:], channels)])
        return {
            "pixel_values_videos": pixels[:, None],
            "labels": drawn.label,
            "action_units": (drawn.units > 0).float(),
        }


def drawn_config(recipe: Recipe) -> RcnConfig:
    """The configuration of a model of drawn motion: three classes, and the units of the table.

    Raises:
        RunError: for a recipe that needs clips, or whose model is not one of flow.
    """
    if recipe.protocol != "none":
        raise RunError(f"--dataset {DATASET} has no subjects to hold out; say --protocol none")
    labels = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: index for index, name in enumerate(CLASSES)}}
    try:
        config = RcnConfig.preset(recipe.preset, **{"action_units": list(ACTION_UNITS), **recipe.model, **labels})
    except (TypeError, ValueError) as error:
        raise RunError(f"preset {recipe.preset} with model {recipe.model}: {error}") from error
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
    results = dict(score_drawn(model))
    output_dir = Path(arguments.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(output_dir / "results.json", json.dumps({"drawn_motion": results}, indent=2) + "\n")
    return model, processor


@torch.no_grad()
def calibrate_units(model: RcnForVideoClassification, count: int = 10_000) -> None:
    """Shift the logits of action units, in place, so that a probability of .5 parts them with the best F1.

    Most units are rare, so a network seldom gives one of them more than .5 by itself.

    Args:
        model: a single network, in evaluation mode.
        count: of the drawn fields on which F1 is measured.
    """
    batch = DrawnClips(count, model.config, CALIBRATION_SEED, model.device).draw(count)
    told, moved = model(batch["pixel_values_videos"]).action_unit_logits, batch["action_units"]
    told, order = told.sort(0, descending=True)
    hits, calls = moved.gather(0, order).cumsum(0), torch.arange(1, count + 1, device=model.device)[:, None]
    best = (2 * hits / (calls + moved.sum(0))).argmax(0, keepdim=True)
    model.unit_classifier.bias -= told.gather(0, best)[0]


@torch.no_grad()
def score_drawn(model: RcnForVideoClassification, count: int = 3000) -> Iterator[tuple[str, dict[str, Any]]]:
    """Scores on drawn fields that training has not seen: of its own settings, and of each held-back version of them."""
    for name, settings in {"as trained": DrawingSettings(), **held_back_settings()}.items():
        clips = DrawnClips(count, model.config, 2**31 + len(name), model.device, settings)
        for form, published in (("flow", False), ("picture", True)):
            batch = clips.draw(count, published)
            logits = model(batch["pixel_values_videos"]).logits
            yield f"{name}, {form}", scores(batch["labels"].tolist(), logits.argmax(1).tolist(), len(CLASSES))


__all__ = ["DATASET", "TRAINED_ON", "DrawnClips", "drawn_config", "run_drawn", "score_drawn"]
