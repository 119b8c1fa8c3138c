"""A network that says what chance gave it, and small videos of a real face: events without training."""

import av
import cv2
import numpy as np
import pytest
import torch
from transformers import pipeline

import real_face
from mer_hf.rcn.configuration_spotting_rcn import RcnSpottingConfig
from mer_hf.rcn.spotting_rcn import RcnForSpotting

RATE = 25


@pytest.fixture(scope="session")
def portrait():
    return real_face.portrait(160)


@pytest.fixture(scope="session")
def scene(portrait):
    """One frame: faces of a height at places from the left, before a wall."""

    def draw(*faces, size=(180, 240), shake=0):
        y, x = np.indices(size)
        frame = (90 + 20 * np.sin(x / 40) + 20 * np.cos(y / 30 + x / 90)).astype(np.uint8)
        for left, side in faces:
            picture = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
            top = (size[0] - side) // 2
            frame[top : top + side, left : left + side] = picture
        noise = np.random.default_rng(shake).normal(0, 4, size)
        return np.clip(frame + noise, 0, 255).astype(np.uint8)

    return draw


@pytest.fixture(scope="session")
def encoded():
    """Write grey frames as a video."""

    def write(path, frames, rate=RATE):
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": "12", "g": "10"})
            stream.height, stream.width = frames[0].shape
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(np.repeat(frame[..., None], 3, 2), format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """The folder of a small network that finds an event wherever its score has a peak."""
    torch.manual_seed(0)
    config = RcnSpottingConfig(backbone_kwargs={"width": 6}, moment_size=5, hidden_size=7, threshold=0.0)
    folder = tmp_path_factory.mktemp("network")
    RcnForSpotting(config).eval().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def spot(network):
    return pipeline("micro-expression-spotting", model=network, classifier=None)
