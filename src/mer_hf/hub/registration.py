"""Entering the Auto classes and the pipeline task into transformers, whichever of the two packages is imported first.

    import mer_hf
    from transformers import pipeline  # knows "micro-expression-classification"

transformers has no entry points for packages, and its registries come with torch. Filling them on every
`import mer_hf` takes 7.5 s of processor time (`import transformers` alone 1.1 s), for `mer_hf.metrics` and
`mer-hf --help` too. As it is it takes .07 s: an import hook registers each class when its registry is loaded, before
anyone can look into it, and only in programs that use it.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

# `register_for_auto_class` makes every `save_pretrained`, the Trainer's included, write the code files and `auto_map`
# with the weights. Where mer_hf is imported, transformers prefers the registered classes to those files, without asking
# and whatever `trust_remote_code` says. Each function asks only for what its registry needs; others may be half loaded.


def _register_config() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    from mer_hf.rcn.configuration_rcn import RcnConfig

    AutoConfig.register("rcn", RcnConfig, exist_ok=True)
    RcnConfig.register_for_auto_class()


def _register_models() -> None:
    from transformers.models.auto.modeling_auto import AutoModel, AutoModelForVideoClassification

    from mer_hf.rcn.configuration_rcn import RcnConfig
    from mer_hf.rcn.modeling_rcn import RcnForVideoClassification, RcnModel

    AutoModel.register(RcnConfig, RcnModel, exist_ok=True)
    AutoModelForVideoClassification.register(RcnConfig, RcnForVideoClassification, exist_ok=True)
    RcnModel.register_for_auto_class("AutoModel")
    RcnForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")


def _register_video_processor() -> None:
    from transformers.models.auto.video_processing_auto import AutoVideoProcessor

    from mer_hf.rcn.configuration_rcn import RcnConfig
    from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor

    AutoVideoProcessor.register(RcnConfig, RcnVideoProcessor, exist_ok=True)
    RcnVideoProcessor.register_for_auto_class()


def _register_pipeline() -> None:
    from transformers import AutoModelForVideoClassification
    from transformers.pipelines import PIPELINE_REGISTRY

    from mer_hf.hub.packaged import PACKAGED
    from mer_hf.rcn.pipeline_rcn import TASK, MicroExpressionClassificationPipeline

    PIPELINE_REGISTRY.register_pipeline(
        TASK,
        MicroExpressionClassificationPipeline,
        pt_model=AutoModelForVideoClassification,
        default={"model": (str(PACKAGED["default"]), None)},
        type="video",
    )


def _register_spotting_config() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    from mer_hf.rcn.configuration_spotting_rcn import RcnSpottingConfig

    AutoConfig.register("rcn_spotting", RcnSpottingConfig, exist_ok=True)
    RcnSpottingConfig.register_for_auto_class()


def _register_spotter() -> None:
    from transformers.models.auto.modeling_auto import AutoModel

    from mer_hf.rcn.configuration_spotting_rcn import RcnSpottingConfig
    from mer_hf.rcn.spotting_rcn import RcnForSpotting

    AutoModel.register(RcnSpottingConfig, RcnForSpotting, exist_ok=True)
    RcnForSpotting.register_for_auto_class("AutoModel")


def _register_spotting_pipeline() -> None:
    from transformers import AutoModel
    from transformers.pipelines import PIPELINE_REGISTRY

    from mer_hf.hub.packaged import SPOTTER
    from mer_hf.rcn.pipeline_spotting_rcn import TASK, MicroExpressionSpottingPipeline

    PIPELINE_REGISTRY.register_pipeline(
        TASK,
        MicroExpressionSpottingPipeline,
        pt_model=AutoModel,
        default={"model": (str(SPOTTER), None)},
        type="video",
    )


# a registry of transformers, the modules of ours that its entry needs, and how it is entered
_ENTRIES: list[tuple[str, tuple[str, ...], Callable[[], None]]] = [
    ("transformers.models.auto.configuration_auto", ("configuration_rcn",), _register_config),
    ("transformers.models.auto.modeling_auto", ("modeling_rcn",), _register_models),
    ("transformers.models.auto.video_processing_auto", ("video_processing_rcn",), _register_video_processor),
    ("transformers.pipelines", ("pipeline_rcn",), _register_pipeline),
    (
        "transformers.models.auto.configuration_auto",
        ("configuration_rcn", "configuration_spotting_rcn"),
        _register_spotting_config,
    ),
    ("transformers.models.auto.modeling_auto", ("modeling_rcn", "spotting_rcn"), _register_spotter),
    (
        "transformers.pipelines",
        ("pipeline_rcn", "video_processing_rcn", "modeling_rcn", "spotting_rcn", "pipeline_spotting_rcn"),
        _register_spotting_pipeline,
    ),
]
_ENTRIES = [(registry, tuple(f"mer_hf.rcn.{name}" for name in ours), enter) for registry, ours, enter in _ENTRIES]


class _RegisterWhenLoaded(MetaPathFinder):
    """Finds the modules of `_ENTRIES` as usual, and registers when they have been executed.

    Ours are watched too: one that is imported first brings its registry in, and can be registered only when it is whole
    itself. Nobody else gets a module before that, for its import holds a lock until it is registered.
    """

    def __init__(self) -> None:
        self.pending = set(_ENTRIES)
        self.whole: set[str] = set()  # the modules that have been executed

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's own specification, with registering added to its execution; None for all other modules."""
        if not any(name in (registry, *ours) for registry, ours, _ in self.pending):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                self.whole.add(name)
                self.register()

            spec.loader.exec_module = execute_and_register
        return spec

    def register(self) -> None:
        """Register what can be, once: its registry is whole, and our modules are each whole or not yet begun."""
        for entry in sorted(self.pending, key=_ENTRIES.index):
            registry, modules, enter = entry
            ready = all(ours in self.whole or sys.modules.get(ours) is None for ours in modules)
            if registry in self.whole and ready and entry in self.pending:
                self.pending.discard(entry)
                _or_warn(registry, enter)


def _or_warn(registry: str, enter: Callable[[], None]) -> None:
    """Leave transformers usable where something of ours cannot be imported."""
    try:
        enter()
    except Exception as error:
        warnings.warn(
            f"mer_hf could not be registered with {registry}, so transformers will not know its models or its pipeline "
            f"task there: {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=2,
        )


def register_now_or_when_loaded() -> None:
    """Register with the registries that are loaded, and with the others as soon as they are."""
    finder = _RegisterWhenLoaded()
    sys.meta_path.insert(0, finder)  # first the hook, then the look: another thread may import transformers meanwhile
    finder.whole |= {registry for registry, _, _ in _ENTRIES if registry in sys.modules}
    finder.register()


__all__ = ["register_now_or_when_loaded"]
