"""Entering spotting into transformers: its configuration, its network, its pipeline task.

Each function fills one registry, which must have been imported, and asks for no more than that.
"""

from mer_hf.hub.packaged import SPOTTER


def register_config() -> None:
    """Enter the configuration into AutoConfig."""
    from transformers.models.auto.configuration_auto import AutoConfig

    from mer_hf.rcn.configuration_spotting_rcn import RcnSpottingConfig

    AutoConfig.register("rcn_spotting", RcnSpottingConfig, exist_ok=True)
    RcnSpottingConfig.register_for_auto_class()


def register_model() -> None:
    """Enter the network into AutoModel."""
    from transformers.models.auto.modeling_auto import AutoModel

    from mer_hf.rcn.configuration_spotting_rcn import RcnSpottingConfig
    from mer_hf.rcn.spotting_rcn import RcnForSpotting

    AutoModel.register(RcnSpottingConfig, RcnForSpotting, exist_ok=True)
    RcnForSpotting.register_for_auto_class("AutoModel")


def register_pipeline() -> None:
    """Enter the task "micro-expression-spotting" into `transformers.pipeline`."""
    from transformers import AutoModel
    from transformers.pipelines import PIPELINE_REGISTRY

    from mer_hf.rcn.pipeline_spotting_rcn import TASK, MicroExpressionSpottingPipeline

    if TASK not in PIPELINE_REGISTRY.get_supported_tasks():  # registering twice would log a warning
        PIPELINE_REGISTRY.register_pipeline(
            TASK,
            MicroExpressionSpottingPipeline,
            pt_model=AutoModel,
            default={"model": (str(SPOTTER), None)},
            type="video",
        )


def register() -> None:
    """Enter all three; doing it again changes nothing."""
    register_config()
    register_model()
    register_pipeline()


__all__ = ["register", "register_config", "register_model", "register_pipeline"]
