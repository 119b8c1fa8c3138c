"""The models that come with the package, each in a folder of its own with its card."""

from pathlib import Path

CLASSIFICATION, SPOTTING = "micro-expression-classification", "micro-expression-spotting"
PACKAGED = {name: Path(__file__).parent / name for name in ("default", "default-sequence")}
"""Name -> folder, of models trained on drawn motion. `default`, of the flow from onset to apex, is the model of a
pipeline that is asked for without one; `default-sequence`, of flow all along the clip, needs no apex.
"""
SPOTTER = Path(__file__).parent / "spotter"
"""The network of a spotting pipeline that is asked for without one: trained on drawn sequences."""
VERSIONS = Path(__file__).with_name("versions.json")
"""Name of a model -> sha256 of the weights of each version that there has been, the first of which is version 1."""

__all__ = ["CLASSIFICATION", "PACKAGED", "SPOTTER", "SPOTTING", "VERSIONS"]
