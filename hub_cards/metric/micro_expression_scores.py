"""UF1, UAR and accuracy of micro-expression recognition, for `evaluate.load`; needs mer_hf."""

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike

from mer_hf.metrics import scores


class MicroExpressionMetric(evaluate.Metric):
    """`scores` as a metric of `evaluate`: `add_batch` fold after fold, then one `compute` over the pooled clips.

    `compute(num_classes=...)` sets the size of the confusion matrix; without it the matrix ends at the highest class
    number seen. The scores are the same either way, for absent classes are left out of them.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Unweighted F1, unweighted average recall and accuracy, from counts pooled over all folds.",
            citation="See et al., MEGC 2019 - The Second Facial Micro-Expressions Grand Challenge, FG 2019",
            inputs_description="predictions and references: class numbers, one for each clip.",
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions: ArrayLike, references: ArrayLike, num_classes: int | None = None) -> dict:
        if num_classes is None:
            num_classes = int(max(np.max(predictions), np.max(references))) + 1
        return scores(references, predictions, num_classes)
