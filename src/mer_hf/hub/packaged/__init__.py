"""The models that come with the package, each in a folder of its own with its card."""

from pathlib import Path

PACKAGED = {"default": Path(__file__).parent / "default"}
"""Name -> folder. `default` is the model of a pipeline that is asked for without one: trained on drawn motion."""
SPOTTER = Path(__file__).parent / "spotter"
"""The network of a spotting pipeline that is asked for without one: trained on drawn sequences."""

__all__ = ["PACKAGED", "SPOTTER"]
