import shutil

import pytest
import torch
from client import Client
from local_hub import LocalHub

from mer_hf import RcnConfig, RcnForVideoClassification, RcnVideoProcessor
from mer_hf.hub.folder import save_model_folder

LABELS = ["negative", "positive", "surprise"]


@pytest.fixture(scope="session")
def served_hub():
    with LocalHub() as hub:
        yield hub


@pytest.fixture
def hub(served_hub):
    """The Hub, in order, and with no request behind it."""
    served_hub.faults.clear()
    served_hub.requests.clear()
    yield served_hub
    served_hub.faults.clear()


@pytest.fixture(scope="session")
def client(served_hub, tmp_path_factory):
    client = Client(served_hub, tmp_path_factory.mktemp("home"))
    yield client
    client.close()


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A model folder, not to be changed."""
    torch.manual_seed(0)
    config = RcnConfig(
        backbone_kwargs={"width": 8},
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        mirror_averaging=True,
    )
    model = RcnForVideoClassification(config).eval()
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.1, 0.1)  # buffers travel too
    return save_model_folder(model, RcnVideoProcessor(align="none"), tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def folder(saved, tmp_path):
    """A model folder of a test's own, with a card."""
    shutil.copytree(saved, tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\nlibrary_name: transformers\n---\n# A model\n")
    return tmp_path / "model"
