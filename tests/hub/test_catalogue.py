"""The models in the package: what is listed of them is what their files say, and a version has one set of weights."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import pipeline

from mer_hf.commands import main
from mer_hf.hub import catalogue
from mer_hf.hub.catalogue import describe_models, description_lines, put_version, sha256_of_weights
from mer_hf.hub.packaged import PACKAGED, SPOTTER, VERSIONS
from mer_hf.rcn.pipeline_rcn import TASK

FOLDERS = [*PACKAGED.values(), SPOTTER]
CARDS = Path(__file__).parents[2] / "hub_cards" / "models"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_weights_are_those_of_the_version_that_the_configuration_names(folder):
    """After a training, `put_version` of mer_hf.hub.catalogue counts on."""
    weights = json.loads(VERSIONS.read_text())[folder.name]
    assert len(set(weights)) == len(weights)
    named = json.loads((folder / "config.json").read_text())["name_and_version"]
    assert named == f"{folder.name} {weights.index(sha256_of_weights(folder)) + 1}"


def test_new_weights_are_another_version_and_old_ones_the_one_that_they_were(tmp_path, monkeypatch):
    folder = Path(shutil.copytree(SPOTTER, tmp_path / "spotter"))
    versions = Path(shutil.copy(VERSIONS, tmp_path / "versions.json"))
    monkeypatch.setattr(catalogue, "VERSIONS", versions)
    config = (folder / "config.json").read_text()
    before = put_version(folder)
    assert (folder / "config.json").read_text() == config and versions.read_text() == VERSIONS.read_text()
    (folder / "model.safetensors").write_bytes(b"other weights")
    number = int(before.split()[1])
    assert put_version(folder) == f"spotter {len(json.loads(versions.read_text())['spotter'])}" != f"spotter {number}"
    shutil.copy(SPOTTER / "model.safetensors", folder)
    assert put_version(folder) == before


def test_every_model_is_listed_with_its_scores_and_where_they_come_from(capsys):
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    for model in describe_models():
        folder = Path(model["folder"])
        results = json.loads((folder / "results.json").read_text())
        lines = description_lines(model)
        assert "\n".join(lines) in printed
        for name, scored in results["evaluations"].items():
            (line,) = [line for line in lines if f" on {name} (" in line]
            assert f"{scored.get('uf1', scored.get('f1')):.3f}" in line
            if "interval" in scored:
                assert "[{:.3f}, {:.3f}]".format(*scored["interval"]["uf1"]) in line
        assert sha256_of_weights(folder) == model["sha256"] and model["sha256"] in printed
        assert model["inputs"] and model["inputs"] in printed and model["licence"] == "apache-2.0"
    assert main(["models", "--json"]) == 0
    assert [model["name"] for model in json.loads(capsys.readouterr().out)] == [folder.name for folder in FOLDERS]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_card_among_those_for_the_hub_is_the_one_in_the_package(folder):
    assert (CARDS / f"{folder.name}.md").is_symlink()
    assert (CARDS / f"{folder.name}.md").read_bytes() == (folder / "README.md").read_bytes()


def test_a_pipeline_says_which_version_answers():
    classify = pipeline(TASK, model=str(PACKAGED["default"]), device="cpu")
    assert classify.model.config.name_and_version == describe_models()[0]["name"] + " 1"
