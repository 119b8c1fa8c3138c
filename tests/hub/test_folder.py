"""Model folders: what of one goes to the Hub and what never does, and which are refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from parts import PARTS, contents
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainingArguments, pipeline

from mer_hf.hub.cards import card_text
from mer_hf.hub.connection import HubError
from mer_hf.hub.folder import CODE, FRAMES, NO_PART, PICKLE, check_whole, pack, save_model_folder
from mer_hf.hub.models import open_model
from mer_hf.hub.packaged import PACKAGED
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.pipeline_rcn import TASK

# --- what goes and what stays ---


def test_a_saved_folder_is_whole_however_it_was_saved(saved, tmp_path):
    assert set(pack(saved).files) == PARTS == {path.name for path in saved.iterdir()}
    check_whole(pack(saved))
    pipeline(TASK, model=saved, device="cpu").save_pretrained(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(saved)


def test_the_code_that_travels_is_that_of_the_package(saved):
    assert {name: (saved / name).read_bytes() for name in CODE} == {n: p.read_bytes() for n, p in CODE.items()}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("data-00000-of-00001.arrow", FRAMES),
        ("onset.png", FRAMES),
        ("example.mp4", FRAMES),
        ("thumbnails/a/b.JPG", FRAMES),
        ("cache/data.arrow", FRAMES),
        ("optimizer.pt", PICKLE),
        ("pytorch_model.bin", PICKLE),
        ("training_args.bin", PICKLE),
        ("predictions.csv", "name the clips"),
        ("folds/s1/seed-0.csv", NO_PART),
        ("events.out.tfevents.1", NO_PART),
        ("other.safetensors", NO_PART),
        ("setup.py", NO_PART),
        ("config.json.png", FRAMES),
    ],
)
def test_what_is_no_part_of_a_model_stays_and_is_told(folder, name, reason):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"0")
    parcel = pack(folder)
    assert set(parcel.files) == PARTS | {"README.md"}
    ((left_out, why),) = parcel.left_out.items()
    assert left_out == (name if path.parent == folder else f"{name.split('/')[0]}/")
    assert reason in why


def test_a_folder_with_the_name_of_a_part_is_none(folder):
    (folder / "results.json").mkdir()
    assert pack(folder).left_out == {"results.json/": NO_PART}


def test_the_output_folder_of_a_run_means_its_model(folder):
    for name in ("predictions.csv", "results.json", "model/notes.md"):
        (folder.parent / name).write_text("{}")
    (folder.parent / "folds").mkdir()
    parcel = pack(folder.parent)
    assert parcel.folder == folder
    assert set(parcel.files) == PARTS | {"README.md"}
    assert set(parcel.left_out) == {"folds/", "model/notes.md", "predictions.csv", "results.json"}


def test_what_is_no_folder_is_refused(tmp_path):
    with pytest.raises(HubError, match=r"missing is no folder; name the output folder of a run"):
        pack(tmp_path / "missing")


# --- a model that others could not load ---


def change_json(name, **changes):
    def change(folder):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def change_weights(change):
    def changed(folder):
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return changed


def shard(folder, index):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


ELSEWHERE = {"AutoVideoProcessor": "mallory/evil--video_processing_rcn.RcnVideoProcessor"}
ABOVE = {"AutoVideoProcessor": "../video_processing_rcn.RcnVideoProcessor"}


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (cut, "the model does not load: MerHfError: the weights of "),
        (change_weights(lambda weights: weights.pop("classifier.bias")), "missing_keys classifier.bias"),
        (change_weights(lambda weights: weights.update(more=torch.zeros(1))), "unexpected_keys more"),
        (change_json("config.json", num_labels=4, id2label=None, label2id=None), "the model does not load"),
        (change_json("config.json", connectivity="telepathic"), "the model does not load"),
        (change_json("config.json", auto_map={}), "does not say where the code of AutoModel is"),
        (change_json("config.json", custom_pipelines={}), "where the code of micro-expression-classification is"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (change_json("video_preprocessor_config.json", flow="guessed"), "the video processor does not load"),
        (change_json("video_preprocessor_config.json", auto_map=ELSEWHERE), "leads AutoVideoProcessor to mallory/evil"),
        (change_json("video_preprocessor_config.json", auto_map=ABOVE), "which does not lie beside it"),
        (lambda folder: (folder / "modeling_rcn.py").write_text("import os"), "modeling_rcn.py is not that of mer_hf"),
        (lambda folder: (folder / "face_landmark.tflite").write_bytes(b"0"), "its sha256 is another"),
        (lambda folder: (folder / "NOTICE").write_text(""), "NOTICE is not that of mer_hf"),
        (lambda folder: (folder / "README.md").write_bytes(b"\xff\xd8\xff"), "README.md cannot be read"),
        (lambda folder: (folder / "results.json").write_text("no JSON"), "results.json cannot be read"),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("{}"), "which of them is meant"),
        (lambda folder: shard(folder, {}), "model.safetensors.index.json cannot be read"),
        (lambda folder: shard(folder, {"weight_map": {"a": "../evil.safetensors"}}), "'../evil.safetensors', which"),
    ],
)
def test_a_damaged_folder_is_refused_with_what_is_wrong(folder, damage, problem):
    damage(folder)
    with pytest.raises(HubError) as refused:
        check_whole(pack(folder))
    assert problem in str(refused.value)
    assert ".save_pretrained(NEW_FOLDER)" in str(refused.value)


def test_all_that_is_missing_is_told_at_once(folder):
    for name in PARTS - {"config.json"}:
        (folder / name).unlink()
    with pytest.raises(HubError) as refused:
        check_whole(pack(folder))
    assert all(f"{name} is missing" in str(refused.value) for name in PARTS - {"config.json"})


def test_shards_go_with_their_index(saved, tmp_path):
    pipeline(TASK, model=saved, device="cpu").save_pretrained(tmp_path / "sharded", max_shard_size="4KB")
    parcel = pack(tmp_path / "sharded")
    shards = {name for name in parcel.files if name.startswith("model-")}
    assert len(shards) > 1
    assert set(parcel.files) == PARTS - {"model.safetensors"} | shards | {"model.safetensors.index.json"}
    check_whole(parcel)
    (tmp_path / "sharded" / min(shards)).unlink()
    with pytest.raises(HubError, match=r"'model-00001-of-.*', which model\.safetensors\.index\.json names"):
        check_whole(pack(tmp_path / "sharded"))


# --- a model that is trained further ---


def test_a_model_that_a_plain_trainer_trained_further_claims_nothing_and_leads_to_no_missing_file(tmp_path):
    folder = Path(shutil.copytree(PACKAGED["default"], tmp_path / "model"))
    model, processor = open_model(folder)
    assert "on no recording of a face" in model.config.trained_on
    clip = {"pixel_values_videos": torch.zeros(1, 3, 28, 28), "labels": 0}
    options = {"per_device_train_batch_size": 2, "max_steps": 1, "use_cpu": True, "report_to": "none"}
    trainer = Trainer(
        model, TrainingArguments(tmp_path / "out", save_strategy="no", **options), train_dataset=[clip] * 2
    )
    trainer.train()
    trainer.save_model(folder)
    config = json.loads((folder / "config.json").read_text())
    assert config.get("trained_on") is None
    assert "custom_pipelines" not in config and not (folder / "pipeline_rcn.py").exists()
    whole = save_model_folder(model, processor, tmp_path / "whole")
    check_whole(pack(whole))
    assert "What it was trained on is not stated." in card_text(whole)


def test_a_model_that_only_answers_keeps_what_is_said_of_its_training():
    model, _ = open_model("default")
    said = model.config.trained_on
    model.eval()
    assert model.config.trained_on == said
    assert RcnForVideoClassification.average([model, model]).config.trained_on == said


def test_an_average_claims_what_is_true_of_all_its_networks(saved):
    model = open_model("default").model
    other, _ = open_model("default")
    other.config.trained_on = None
    for member in other.members:
        member.config.trained_on = None
    assert RcnForVideoClassification.average([model, other]).config.trained_on is None


def test_the_pipeline_alone_says_where_its_code_is(saved, tmp_path):
    pipe = pipeline(TASK, model=saved, device="cpu")
    assert not hasattr(pipe.model.config, "custom_pipelines")
    pipe.save_pretrained(tmp_path / "pipe")
    assert TASK in json.loads((tmp_path / "pipe" / "config.json").read_text())["custom_pipelines"]
    pipe.model.save_pretrained(tmp_path / "model")
    assert "custom_pipelines" not in json.loads((tmp_path / "model" / "config.json").read_text())
    assert type(pipeline(TASK, model=pipe.model, video_processor=pipe.video_processor)) is type(pipe)
