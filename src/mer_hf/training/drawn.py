"""Scores on drawn motion, which stands in for clips where there are none."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from mer_hf.drawn.courses import CourseSettings
from mer_hf.drawn.fields import DrawingSettings, held_back_settings
from mer_hf.evaluation.confidence import Confidence, fitted
from mer_hf.metrics import Scores, scores
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.training.batches import DRAWN_CLASSES, DrawnClips, DrawnFields, sequence_settings
from mer_hf.training.plan import RunError

TRAINED_ON = (
    "It was trained on motion drawn from facial action units, and on no recording of a face. Its scores on real "
    "micro-expressions are not known."
)
DRAWN_DATA = {
    "description": "Motion drawn from facial action units; no recording of a face.",
    "license": "Apache-2.0",
}
"""What `results.json` says of the data."""
TRAINED_ON_FACES = (
    "It was trained on pictures of still faces, moved as facial action units do, and on no recording of an expression. "
    "Its scores on real micro-expressions are not known."
)
FACES_DATA = {
    "description": "Motion drawn from facial action units, of still faces in a folder of pictures.",
    "license": "that of the pictures",
}
"""Likewise, where a recipe names faces."""
CONFIDENCE_SEED = 2**31 + 1000
"""Of the drawn motion that temperature and threshold are fitted on."""
SCORING_SEED = 2**31
"""Of the drawn motion that is scored; training has smaller seeds."""


@torch.no_grad()
def score_drawn(model: RcnForVideoClassification, count: int = 3000) -> Iterator[tuple[str, Scores]]:
    """Scores on drawn motion that training has not seen: of its own settings, and of each held-back version of them.

    Raises:
        RunError: for a model of other classes, or one that takes colour.
    """
    names, geometric = model.config.class_names(), model.config.connectivity == "geometric"
    if names != list(DRAWN_CLASSES) or not (geometric or model.config.num_channels < 3):
        raise RunError(
            f"motion is drawn of {', '.join(DRAWN_CLASSES)}, as flow or in grey; this model is "
            f"{model.config.connectivity} of {model.config.num_channels} channels, and names {', '.join(names)}"
        )
    model.eval()
    trained = _trained_settings(model)
    for name, settings in {"as trained": trained, **held_back_settings(trained)}.items():
        for form, logits, labels in _predicted(model, settings, SCORING_SEED + len(name), count):
            yield f"{name}, {form}", scores(labels.tolist(), logits.argmax(1).tolist(), len(DRAWN_CLASSES))


@torch.no_grad()
def drawn_confidence(model: RcnForVideoClassification, count: int = 300) -> Confidence:
    """The temperature and the threshold of a model of drawn motion, from held-back settings that it is not scored by.

    Half of the motion is at rest, as a clip may be in which nothing moves: every answer to it is wrong. The worth of
    both is that for a setting for which they were fitted on the others.

    Args:
        model: of three classes, in evaluation mode, without a temperature.
        count: number of fields of each setting and form; of sequences a third.
    """
    predictions, truths, groups = [], [], []
    for name, settings in held_back_settings(_trained_settings(model)).items():
        resting = replace(settings, rest=0.5)
        for _, logits, labels in _predicted(model, resting, CONFIDENCE_SEED + len(name), count):
            predictions.append(logits.double().cpu())
            truths.append(labels.cpu())
            groups += [name] * len(labels)
    return fitted(torch.cat(predictions), torch.cat(truths), groups)


def _trained_settings(model: RcnForVideoClassification) -> DrawingSettings:
    return DrawingSettings() if model.config.connectivity == "geometric" else sequence_settings(model.config)


def _predicted(
    model: RcnForVideoClassification, settings: DrawingSettings, seed: int, count: int
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The forms in which a model may be given drawn motion; logits (B, classes) and labels (B,) of each."""
    if model.config.connectivity == "geometric":
        fields = DrawnFields(count, model.config, seed, model.device, settings)
        for form, published in (("flow", False), ("picture", True)):
            batch = fields.draw(count, published)
            yield form, model(batch["pixel_values_videos"]).logits, batch["labels"]
        return
    count //= 3  # sequences take longer
    source = DrawnClips(count, model.config, seed, model.device, cast(CourseSettings, settings))
    batches = [source.draw(min(100, count - at)) for at in range(0, count, 100)]
    logits = torch.cat([model(batch["pixel_values_videos"]).logits for batch in batches])
    yield "sequence", logits, torch.cat([batch["labels"] for batch in batches])


__all__ = ["DRAWN_DATA", "FACES_DATA", "TRAINED_ON", "TRAINED_ON_FACES", "drawn_confidence", "score_drawn"]
