"""Scores on drawn motion, which stands in for clips where there are none."""

from collections.abc import Iterator

import torch

from mer_hf.drawn.fields import DrawingSettings, held_back_settings
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


__all__ = ["DRAWN_DATA", "TRAINED_ON", "score_drawn"]
