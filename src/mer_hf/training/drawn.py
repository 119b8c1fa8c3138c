"""Scores on drawn motion, which stands in for clips where there are none."""

from collections.abc import Iterator
from typing import cast

import torch

from mer_hf.drawn.courses import CourseSettings
from mer_hf.drawn.fields import DrawingSettings, held_back_settings
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
    if not geometric:
        yield from _score_sequences(model, count // 3)  # they take longer
        return
    for name, settings in {"as trained": DrawingSettings(), **held_back_settings()}.items():
        fields = DrawnFields(count, model.config, SCORING_SEED + len(name), model.device, settings)
        for form, published in (("flow", False), ("picture", True)):
            batch = fields.draw(count, published)
            logits = model(batch["pixel_values_videos"]).logits
            yield f"{name}, {form}", scores(batch["labels"].tolist(), logits.argmax(1).tolist(), len(DRAWN_CLASSES))


def _score_sequences(model: RcnForVideoClassification, count: int) -> Iterator[tuple[str, Scores]]:
    trained = sequence_settings(model.config)
    for name, settings in {"as trained": trained, **held_back_settings(trained)}.items():
        shifted = cast(CourseSettings, settings)
        source = DrawnClips(count, model.config, SCORING_SEED + len(name), model.device, shifted)
        batches = [source.draw(min(100, count - at)) for at in range(0, count, 100)]
        predicted = torch.cat([model(batch["pixel_values_videos"]).logits.argmax(1) for batch in batches])
        labels = torch.cat([batch["labels"] for batch in batches])
        yield f"{name}, sequence", scores(labels.tolist(), predicted.tolist(), len(DRAWN_CLASSES))


__all__ = ["DRAWN_DATA", "TRAINED_ON", "score_drawn"]
