"""Models that were pushed by earlier releases still load, and say what they said."""

import json
from pathlib import Path

import pytest
import torch

from mer_hf.hub.models import open_model

MODEL_OF_0_1_0 = Path(__file__).parent / "model-of-0.1.0"
"""An ensemble of two tiny RCN-A with action units, as 0.1.0 saved it; without code and face models, which are fetched
from nowhere."""


def test_a_model_of_the_first_release_predicts_what_it_predicted_then():
    model, processor = open_model(MODEL_OF_0_1_0)
    expected = json.loads((MODEL_OF_0_1_0 / "expected.json").read_text())
    with torch.no_grad():
        outputs = model(torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 1, 3, 16, 16))
    for name, values in expected.items():
        assert outputs[name][0].tolist() == pytest.approx(values, abs=1e-5), name
    assert model.config.training_subjects == ["casme2/sub01"]
    assert (processor.connectivity, processor.size["height"]) == ("geometric", 16)
