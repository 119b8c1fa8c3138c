"""What ties mer_hf to transformers: its classes in transformers' registries, and model folders that load anywhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.video_processing_utils import BaseVideoProcessor


DEFAULT_MODEL = Path(__file__).parent / "default_model"
"""The model of a pipeline that is asked for without one: trained on drawn motion, see its README.md."""


def register(registry: str) -> None:
    """Enter our classes into one registry of transformers. Doing it again changes nothing.

    Imports stand inside the functions below: each may run while transformers is half imported, and asks only for what
    its registry needs.

    Args:
        registry: Full name of its module, as `mer_hf.__init__` lists them.
    """
    {
        "transformers.models.auto.configuration_auto": _register_config,
        "transformers.models.auto.modeling_auto": _register_models,
        "transformers.models.auto.video_processing_auto": _register_video_processor,
        "transformers.pipelines": _register_pipeline,
    }[registry]()


# `register_for_auto_class` makes every `save_pretrained`, the Trainer's included, write the code files and `auto_map`
# beside the weights. Where mer_hf is imported, transformers prefers the registered classes to those files, without
# asking and whatever `trust_remote_code` says.


def _register_config() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    from .rcn.configuration_rcn import RcnConfig

    AutoConfig.register("rcn", RcnConfig, exist_ok=True)
    RcnConfig.register_for_auto_class()
    _prefer_the_local_pipeline(RcnConfig)


def _prefer_the_local_pipeline(config_class: type) -> None:
    """Hide `custom_pipelines` of a configuration from `pipeline()`, without losing it.

    The key in config.json is what leads a process without mer_hf to the pipeline's code. But `pipeline()` follows it
    before it looks into its own registry, and then demands `trust_remote_code=True` although the class is registered.
    So where mer_hf is imported, and only there, its own configuration class shows no custom pipelines; the value
    stays in the instance, and is saved and pushed as before.
    """

    def remember(config: Any, pipelines: dict[str, Any]) -> None:
        config.__dict__["custom_pipelines"] = pipelines

    config_class.custom_pipelines = property(lambda config: {}, remember)


def _register_models() -> None:
    from transformers.models.auto.modeling_auto import AutoModel, AutoModelForVideoClassification

    from .rcn.configuration_rcn import RcnConfig
    from .rcn.modeling_rcn import RcnForVideoClassification, RcnModel

    AutoModel.register(RcnConfig, RcnModel, exist_ok=True)
    AutoModelForVideoClassification.register(RcnConfig, RcnForVideoClassification, exist_ok=True)
    RcnModel.register_for_auto_class("AutoModel")
    RcnForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")


def _register_video_processor() -> None:
    from transformers.models.auto.video_processing_auto import AutoVideoProcessor

    from .rcn.configuration_rcn import RcnConfig
    from .rcn.video_processing_rcn import RcnVideoProcessor

    AutoVideoProcessor.register(RcnConfig, RcnVideoProcessor, exist_ok=True)
    RcnVideoProcessor.register_for_auto_class()


def _register_pipeline() -> None:
    from transformers import AutoModelForVideoClassification
    from transformers.pipelines import PIPELINE_REGISTRY

    from .rcn.pipeline_rcn import TASK, MicroExpressionClassificationPipeline

    if TASK not in PIPELINE_REGISTRY.get_supported_tasks():  # registering twice would log a warning
        PIPELINE_REGISTRY.register_pipeline(
            TASK,
            MicroExpressionClassificationPipeline,
            pt_model=AutoModelForVideoClassification,
            default={"model": (str(DEFAULT_MODEL), None)},
            type="video",
        )


def save_model_folder(model: "PreTrainedModel", video_processor: "BaseVideoProcessor", folder: str | Path) -> Path:
    """Save all that a pushed model needs: weights, configurations, and the code that loads them.

    The folder works with `from_pretrained`, with `pipeline("micro-expression-classification", model=folder)` where
    mer_hf is imported, and with `trust_remote_code=True` where it is not installed.

    Args:
        model: A `RcnForVideoClassification`, with its labels in `config.id2label`.
        video_processor: The `RcnVideoProcessor` that made its inputs.
        folder: Created where it does not exist; files of the same names are overwritten.

    Returns:
        The folder.
    """
    from .rcn.pipeline_rcn import TASK, MicroExpressionClassificationPipeline

    pipeline = MicroExpressionClassificationPipeline(
        model=model, video_processor=video_processor, task=TASK, device=model.device
    )
    pipeline.save_pretrained(folder)
    return Path(folder)
