"""Recognise spontaneous facial micro-expressions from video with recurrent convolutional networks.

Importing mer_hf is cheap: the public names are loaded when they are first used. It makes the Auto classes and the
pipeline task known to transformers, whichever of the two is imported first:

    import mer_hf
    from transformers import pipeline

    classify = pipeline("micro-expression-classification", model="path/or/hub-id")
    classify("clip.mp4")
"""

import contextlib
import importlib
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from mer_hf.hub.registration import register_now_or_when_loaded

if TYPE_CHECKING:
    from mer_hf.analysis.results import Analysis, analyze
    from mer_hf.corpora import CORPORA, load_corpus
    from mer_hf.corpora.licence import LicenceError, check_publishable
    from mer_hf.corpora.recordings import load_recordings
    from mer_hf.data import load_dataset
    from mer_hf.errors import MerHfError
    from mer_hf.hub.connection import HubError
    from mer_hf.hub.models import Recogniser, open_model
    from mer_hf.hub.push import push
    from mer_hf.rcn.configuration_rcn import RcnConfig
    from mer_hf.rcn.decoding_rcn import VideoError
    from mer_hf.rcn.faces_rcn import FaceError
    from mer_hf.rcn.modeling_rcn import RcnForVideoClassification, RcnModel
    from mer_hf.rcn.pipeline_rcn import MicroExpressionClassificationPipeline
    from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
    from mer_hf.training.outcome import Outcome
    from mer_hf.training.recipe import Recipe
    from mer_hf.training.runs import score, train

__version__ = version("mer-hf")

__all__ = [
    "CORPORA",
    "Analysis",
    "FaceError",
    "HubError",
    "LicenceError",
    "MerHfError",
    "MicroExpressionClassificationPipeline",
    "Outcome",
    "RcnConfig",
    "RcnForVideoClassification",
    "RcnModel",
    "RcnVideoProcessor",
    "Recipe",
    "Recogniser",
    "VideoError",
    "__version__",
    "analyze",
    "check_publishable",
    "load_corpus",
    "load_dataset",
    "load_recordings",
    "open_model",
    "push",
    "score",
    "train",
]

_HOME_OF_NAME = {
    "Analysis": "analysis.results",
    "analyze": "analysis.results",
    "CORPORA": "corpora",
    "load_corpus": "corpora",
    "LicenceError": "corpora.licence",
    "load_recordings": "corpora.recordings",
    "check_publishable": "corpora.licence",
    "VideoError": "rcn.decoding_rcn",
    "FaceError": "rcn.faces_rcn",
    "HubError": "hub.connection",
    "Recogniser": "hub.models",
    "open_model": "hub.models",
    "push": "hub.push",
    "load_dataset": "data",
    "MerHfError": "errors",
    "Outcome": "training.outcome",
    "Recipe": "training.recipe",
    "score": "training.runs",
    "train": "training.runs",
    "RcnConfig": "rcn.configuration_rcn",
    "RcnModel": "rcn.modeling_rcn",
    "RcnForVideoClassification": "rcn.modeling_rcn",
    "RcnVideoProcessor": "rcn.video_processing_rcn",
    "MicroExpressionClassificationPipeline": "rcn.pipeline_rcn",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _HOME_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF_NAME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def _warn_of_two_opencvs() -> None:
    """Say where several packages have written the one module cv2: the last hides the others, and leaves their parts."""
    found = []
    for name in ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"):
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    if len(found) > 1:
        warnings.warn(
            f"{' and '.join(found)} are installed, which write the same module cv2 over one another; uninstall all of "
            "them, then install one (mer_hf asks for opencv-python-headless)",
            RuntimeWarning,
            stacklevel=3,
        )


_warn_of_two_opencvs()
register_now_or_when_loaded()
