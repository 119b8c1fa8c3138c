"""Models by name: a name -> a folder -> the model and its processor.

A name is that of a model in the package (`default`), of a folder (what `pipe.save_pretrained` wrote, or the output
folder of a run, whose `model/` is meant), or of a model on the Hub (`user/name`).
"""

from pathlib import Path
from typing import NamedTuple

from huggingface_hub import snapshot_download

from mer_hf.hub.connection import HubError, explained, first_line
from mer_hf.hub.folder import CONFIGS, INDEX, WEIGHTS, folder_of_model, weight_problems
from mer_hf.hub.packaged import PACKAGED
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor


class Recogniser(NamedTuple):
    """A model, and the video processor that makes its inputs."""

    model: RcnForVideoClassification
    processor: RcnVideoProcessor


def open_model(name: str | Path) -> Recogniser:
    """Load a model and its processor by name.

    Args:
        name: a model in the package (`"default"`, `"default-sequence"`), a folder, the output folder of a run, or
            `"user/name"` on the Hub.

    Raises:
        HubError: where there is no such model, it cannot be had, or its files do not load.
    """
    folder = model_folder(name)
    try:
        model = RcnForVideoClassification.from_pretrained(folder, use_safetensors=True)
        return Recogniser(model, RcnVideoProcessor.from_pretrained(folder))
    except Exception as error:  # whatever a file raises that was cut off, tampered with, or is of something else
        raise HubError(f"{name} is no model that can be loaded: {type(error).__name__}: {first_line(error)}") from error


def model_folder(name: str | Path) -> Path:
    """The folder of a model, see `open_model`; one on the Hub is fetched.

    Raises:
        HubError: where there is no such model, or it cannot be had.
    """
    if name in PACKAGED:
        return PACKAGED[name]
    return folder_of_model(Path(name)) if Path(name).is_dir() else fetch(str(name))


def fetch(repo_id: str) -> Path:
    """Bring the weights and configurations of a model from the Hub; no code, no pickles.

    Args:
        repo_id: `user/name`.

    Returns:
        Their folder in the cache of huggingface_hub.

    Raises:
        HubError: where it cannot be had, or is no model of this package.
    """
    with explained(repo_id):
        parts = [*CONFIGS, WEIGHTS, INDEX, "model-?????-of-?????.safetensors"]
        folder = Path(snapshot_download(repo_id, allow_patterns=parts))
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    problems = [f"{config} is missing" for config in CONFIGS if config not in names] + weight_problems(folder, names)
    if problems:
        raise HubError(f"{repo_id} is on the Hub, but is no model that mer_hf can load: {', '.join(problems)}")
    return folder


__all__ = ["Recogniser", "fetch", "model_folder", "open_model"]
