"""UF1, UAR and accuracy of micro-expression recognition, for `evaluate.load`; needs mer_hf."""

from mer_hf.metrics import MicroExpressionMetric

__all__ = ["MicroExpressionMetric"]
