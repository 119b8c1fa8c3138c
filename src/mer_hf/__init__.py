"""Recognise spontaneous facial micro-expressions from video with recurrent convolutional networks.

Importing mer_hf is cheap: the public names are loaded when they are first used. It makes the Auto classes and the
pipeline task known to transformers, whichever of the two is imported first:

    import mer_hf
    from transformers import pipeline

    classify = pipeline("micro-expression-classification", model="path/or/hub-id")
    classify("clip.mp4")
"""

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mer_hf.corpora import CORPORA, load_corpus
    from mer_hf.corpora.licence import LicenceError, check_publishable
    from mer_hf.hub import HubError
    from mer_hf.rcn.configuration_rcn import RcnConfig
    from mer_hf.rcn.decoding_rcn import VideoError
    from mer_hf.rcn.faces_rcn import FaceError
    from mer_hf.rcn.modeling_rcn import RcnForVideoClassification, RcnModel
    from mer_hf.rcn.pipeline_rcn import MicroExpressionClassificationPipeline
    from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor

__version__ = version("mer-hf")

__all__ = [
    "CORPORA",
    "FaceError",
    "HubError",
    "LicenceError",
    "MicroExpressionClassificationPipeline",
    "RcnConfig",
    "RcnForVideoClassification",
    "RcnModel",
    "RcnVideoProcessor",
    "VideoError",
    "__version__",
    "check_publishable",
    "load_corpus",
]

_HOME_OF_NAME = {
    "CORPORA": "corpora",
    "load_corpus": "corpora",
    "LicenceError": "corpora.licence",
    "check_publishable": "corpora.licence",
    "VideoError": "rcn.decoding_rcn",
    "FaceError": "rcn.faces_rcn",
    "HubError": "hub",
    "RcnConfig": "rcn.configuration_rcn",
    "RcnModel": "rcn.modeling_rcn",
    "RcnForVideoClassification": "rcn.modeling_rcn",
    "RcnVideoProcessor": "rcn.video_processing_rcn",
    "MicroExpressionClassificationPipeline": "rcn.pipeline_rcn",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _HOME_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF_NAME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# the modules where transformers keeps its registries, and the module of ours that brings the entry
_ENTRY_OF_REGISTRY = {
    "transformers.models.auto.configuration_auto": f"{__name__}.rcn.configuration_rcn",
    "transformers.models.auto.modeling_auto": f"{__name__}.rcn.modeling_rcn",
    "transformers.models.auto.video_processing_auto": f"{__name__}.rcn.video_processing_rcn",
    "transformers.pipelines": f"{__name__}.rcn.pipeline_rcn",
}


def _register(registry: str) -> None:
    """Enter our classes into a registry of transformers, which stays usable where that fails."""
    try:
        importlib.import_module(".hub", __name__).register(registry)
    except Exception as error:
        warnings.warn(
            f"mer_hf could not be registered with {registry}, so transformers will not know its models or its pipeline "
            f"task there: {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=2,
        )


class _RegisterWhenLoaded:
    """A meta path finder that finds modules as usual, and registers when one of them has been executed.

    A registry is filled at the end of the import of its module: before anyone can look into it, and without importing
    transformers on behalf of a program that does not. Import locks make that safe under threads: nobody else gets the
    module before its registry is filled.
    """

    def __init__(self) -> None:
        self.pending = {*_ENTRY_OF_REGISTRY, *_ENTRY_OF_REGISTRY.values()}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.pending:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: Any) -> None:
                execute(module)
                self.loaded(name)

            spec.loader.exec_module = execute_and_register
        return spec

    def loaded(self, name: str) -> None:
        self.pending.discard(name)
        if not self.pending and self in sys.meta_path:
            sys.meta_path.remove(self)
        registry = next(registry for registry, entry in _ENTRY_OF_REGISTRY.items() if name in (registry, entry))
        entry = _ENTRY_OF_REGISTRY[registry]
        # an entry that is half imported has just asked for the registry; it will be registered when it is whole
        if not (entry in self.pending and sys.modules.get(entry) is not None):
            _register(registry)


def _register_now_or_when_loaded() -> None:
    finder = _RegisterWhenLoaded()
    sys.meta_path.insert(0, finder)  # first the hook, then the look: another thread may import transformers meanwhile
    for registry in _ENTRY_OF_REGISTRY:
        if registry in sys.modules:
            finder.loaded(registry)


_register_now_or_when_loaded()
