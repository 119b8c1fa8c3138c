"""A saved model by its name: a folder, `user/name` on the Hub, or one of the package."""

from typing import NamedTuple

from mer_hf.hub import DEFAULT_MODEL, HubError, check_login, fetch, first_line
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor


class Saved(NamedTuple):
    """A saved model, and the video processor that makes its inputs."""

    model: RcnForVideoClassification
    processor: RcnVideoProcessor


def open_model(name: str) -> Saved:
    """Open a saved model."""
    folder = DEFAULT_MODEL if name == "default" else fetch(name)
    try:
        return Saved(RcnForVideoClassification.from_pretrained(folder), RcnVideoProcessor.from_pretrained(folder))
    except (ValueError, OSError) as error:
        raise HubError(f"{name} is no model that can be loaded: {first_line(error)}") from error


__all__ = ["Saved", "check_login", "open_model"]


def model_folder(name):
    return DEFAULT_MODEL if name == "default" else fetch(name)
