"""A network as one file for programs without mer_hf: ONNX, or a program of torch.export.

    a model by name -> Answering or Watching: tensors in, tensors out -> torch.export, any number of clips -> a file

What is exported begins where numbers begin: the model input. How a video becomes one (the face, its crop, the flow) is
OpenCV's and Python's, and no part of the file; `scripts/answer_onnx.py` shows it from crops on.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from mer_hf.hub.connection import HubError, first_line
from mer_hf.hub.models import open_model
from mer_hf.hub.packaged import SPOTTER
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification, RcnPreTrainedModel
from mer_hf.rcn.spotting_rcn import OUTPUTS, RcnForSpotting, SpottingState

FORMATS = {"onnx": ".onnx", "pt2": ".pt2"}
ABOUT = "mer_hf.json"
"""Where a file says what it is: an entry of the metadata of ONNX, an extra file of a .pt2."""
OPSET = 20
MOST = 2**16  # clips at once


class Answering(nn.Module):
    """A network that names clips: pixel_values_videos (B, T, C, H, W) -> scores (B, classes), as a pipeline gives them.

    Where it knows action units, also their probabilities, (B, units).
    """

    def __init__(self, model: RcnForVideoClassification) -> None:
        super().__init__()
        config = model.config
        self.model = model
        self.names = ["pixel_values_videos"], ["scores", *(["action_units"] if config.action_units else [])]
        self.example = (torch.zeros(2, config.num_frames, config.num_channels, *config.image_size),)

    def forward(self, pixel_values_videos: Tensor) -> tuple[Tensor, ...]:
        """Probabilities of classes, and perhaps of action units."""
        told = self.model(pixel_values_videos, return_dict=True)
        units = told.action_unit_logits
        return (told.logits.softmax(1), *([] if units is None else [units.sigmoid()]))


class Watching(nn.Module):
    """A network that watches faces, one moment of each at a time: state in, state out.

    motion (B, C, rows, columns), maps, moments, begins (B,), ends (B,)
      -> outputs (B, 11), probabilities in the order of `spotting_rcn.OUTPUTS`; maps, moments

    `maps` and `moments` are those of the moment before, anything at first. `begins` is true for the first moment of a
    face. The outputs tell of the moment `config.offsets[-1]` before; to hear of the last ones, go on for as many
    moments with `ends` true and any motion.
    """

    def __init__(self, model: RcnForSpotting) -> None:
        super().__init__()
        config = model.config
        self.model = model
        self.names = ["motion", "maps", "moments", "begins", "ends"], ["outputs", "next_maps", "next_moments"]
        motion = torch.zeros(2, config.num_channels, *config.image_size)
        with torch.no_grad():
            maps, _ = model._told_by(motion[:, None], None)
        moments = torch.zeros(2, config.offsets[-1] - config.offsets[0] + 1, config.moment_size)
        self.example = (motion, maps, moments, torch.tensor([True, False]), torch.tensor([False, False]))

    def forward(
        self, motion: Tensor, maps: Tensor, moments: Tensor, begins: Tensor, ends: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next moment."""
        first, first_told = self.model._told_by(motion[:, None], None)
        later, later_told = self.model._told_by(motion[:, None], maps)
        maps = torch.where(begins[:, None, None, None], first, later)
        told = torch.where(begins[:, None, None], first_told, later_told) * ~ends[:, None, None]
        moments = torch.where(begins[:, None, None], torch.zeros_like(moments), moments)
        moments = torch.cat([moments[:, 1:], told], 1)
        state = SpottingState(None, moments, self.model.config.offsets[-1] + 1)  # one of them can be told about
        logits: list[Tensor] = []
        self.model._look(state, logits)
        return logits[0][:, 0].sigmoid(), maps, moments


def export_model(name: str | Path, path: str | Path, to: str = "onnx") -> Path:
    """Write a network, which takes any number of clips (or faces) at once, as one file.

    Args:
        name: of a model, as `open_model` takes it, or `"spotter"`.
        path: of the file; its folder exists.
        to: `"onnx"` (opset 20, the extra `onnx`), or `"pt2"`, which `torch.export.load` opens.

    Returns:
        The path. The file says what it is, under `ABOUT`: name and version, classes, action units or outputs, what the
        network was trained on, from which score on it is confident, and the options of its video processor.

    Raises:
        HubError: for another format, a model that cannot be had or exported, or where the extra is not installed.
    """
    if to not in FORMATS:
        raise HubError(f"a network cannot be exported to {to!r}; there are {', '.join(FORMATS)}")
    network, about = _network(name)
    text, path = json.dumps(about), Path(path)
    batch = torch.export.Dim("batch", min=1, max=MOST)
    try:
        with _quiet(), torch.no_grad():
            shapes = tuple({0: batch} for _ in network.example)
            program = torch.export.export(network.eval(), network.example, dynamic_shapes=shapes, strict=False)
            if to == "pt2":
                torch.export.save(program, path, extra_files={ABOUT: text})
                return path
            inputs, outputs = network.names
            exported = torch.onnx.export(
                program, dynamo=True, input_names=inputs, output_names=outputs, opset_version=OPSET
            )
            exported = cast(torch.onnx.ONNXProgram, exported)  # None where a file is given
            exported.model.metadata_props[ABOUT] = text
            exported.save(path, external_data=False)
    except ImportError as error:
        raise HubError(
            f'ONNX needs the extra of that name ({first_line(error)}): pip install "mer-hf[onnx]"'
        ) from error
    except Exception as error:  # whatever torch cannot trace in one of a thousand backbones
        raise HubError(f"{name} cannot be exported to {to}: {type(error).__name__}: {first_line(error)}") from error
    return path


def _network(name: str | Path) -> tuple[Answering | Watching, dict[str, object]]:
    """What is exported of a model, and what the file says of it."""
    if str(name) == SPOTTER.name:
        spotter = RcnForSpotting.from_pretrained(SPOTTER)
        config = spotter.config
        return Watching(spotter), {
            **_about(spotter),
            "outputs": OUTPUTS,
            "threshold": config.threshold,
            "offsets": config.offsets,
            "rate": config.rate,
        }
    model, processor = open_model(name)
    return Answering(model), {
        **_about(model),
        "classes": model.config.class_names(),
        "action_units": model.config.action_units,
        "abstain_below": model.config.abstain_below,
        "video_processor": json.loads(processor.to_json_string()),
    }


def _about(model: RcnPreTrainedModel) -> dict[str, object]:
    return {"name_and_version": model.config.name_and_version, "trained_on": model.config.trained_on}


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep what torch's exporters print of their progress, and warn of their own code, to themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


__all__ = ["ABOUT", "FORMATS", "Answering", "Watching", "export_model"]
