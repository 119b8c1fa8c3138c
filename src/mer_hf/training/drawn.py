"""Scores on drawn motion, which stands in for clips where there are none."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from mer_hf.drawn.fields import DrawingSettings, held_back_settings
from mer_hf.evaluation.confidence import Confidence, fitted
from mer_hf.metrics import Scores, scores
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.training.batches import DRAWN_CLASSES, DrawnFields
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
CONFIDENCE_SEED = 2**31 + 1000
"""Of the drawn motion that temperature and threshold are fitted on."""
SCORING_SEED = 2**31
"""Of the drawn motion that is scored; training has smaller seeds."""


@torch.no_grad()
def score_drawn(model: RcnForVideoClassification, count: int = 3000) -> Iterator[tuple[str, Scores]]:
    """Scores on drawn fields that training has not seen: of its own settings, and of each held-back version of them.

    Raises:
        RunError: for a model of other classes, or of another input than flow.
    """
    names = model.config.class_names()
    if names != list(DRAWN_CLASSES) or model.config.connectivity != "geometric":
        raise RunError(
            f"motion is drawn of {', '.join(DRAWN_CLASSES)}, for geometric models; this one is "
            f"{model.config.connectivity}, and names {', '.join(names)}"
        )
    model.eval()
    for name, settings in {"as trained": DrawingSettings(), **held_back_settings()}.items():
        fields = DrawnFields(count, model.config, SCORING_SEED + len(name), model.device, settings)
        for form, published in (("flow", False), ("picture", True)):
            batch = fields.draw(count, published)
            logits = model(batch["pixel_values_videos"]).logits
            yield f"{name}, {form}", scores(batch["labels"].tolist(), logits.argmax(1).tolist(), len(DRAWN_CLASSES))


@torch.no_grad()
def drawn_confidence(model: RcnForVideoClassification, count: int = 300) -> Confidence:
    """The temperature and the threshold of a model of drawn motion, from held-back settings that it is not scored by.

    Half of the fields are at rest, as a clip may be in which nothing moves: every answer to them is wrong. The worth of
    both is that for a setting for which they were fitted on the others.

    Args:
        model: of three classes, in evaluation mode, without a temperature.
        count: number of fields of each setting and form.
    """
    logits, labels, groups = [], [], []
    for name, settings in held_back_settings().items():
        resting = replace(settings, rest=0.5)
        fields = DrawnFields(count, model.config, CONFIDENCE_SEED + len(name), model.device, resting)
        for published in (False, True):
            batch = fields.draw(count, published)
            logits.append(model(batch["pixel_values_videos"]).logits.double().cpu())
            labels.append(batch["labels"].cpu())
            groups += [name] * count
    return fitted(torch.cat(logits), torch.cat(labels), groups)


__all__ = ["DRAWN_DATA", "TRAINED_ON", "drawn_confidence", "score_drawn"]
