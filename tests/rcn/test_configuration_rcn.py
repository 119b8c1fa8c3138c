"""Configurations that others wrote: what they may say, how much they may ask for, how they are refused."""

import copy
import json
import pickle
import random
import shutil
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForVideoClassification, pipeline

from mer_hf.errors import MerHfError
from mer_hf.hub.packaged import PACKAGED
from mer_hf.rcn import configuration_rcn
from mer_hf.rcn.configuration_rcn import BACKBONE_KWARGS, LIMITS, PRESETS, RcnConfig
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.pipeline_rcn import TASK


class Marker:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def planted(tmp_path):
    """A model folder with a pickle beside it, and the mark that opening the pickle would leave."""
    folder, mark = tmp_path / "model", tmp_path / "opened"
    config = RcnConfig(backbone_kwargs={"width": 8}, image_size=[20, 16], num_labels=3)
    RcnForVideoClassification(config).save_pretrained(folder)
    shutil.copy(PACKAGED["default"] / "video_preprocessor_config.json", folder)
    torch.save({"state_dict": Marker(mark)}, folder / "weights.pth")
    (folder / "plain.pth").write_bytes(pickle.dumps({"state_dict": Marker(mark)}))
    (folder / "local").mkdir()
    (folder / "local" / "config.json").write_text(json.dumps({"architecture": "resnet18", "pretrained_cfg": {}}))
    torch.save(Marker(mark), folder / "local" / "pytorch_model.bin")
    return folder, mark


def rewrite(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


ATTACKS = [
    lambda folder: {"backbone_kwargs": {"checkpoint_path": str(folder / "weights.pth")}},
    lambda folder: {"backbone_kwargs": {"checkpoint_path": str(folder / "plain.pth")}},
    lambda folder: {"backbone_kwargs": {"pretrained_cfg_overlay": {"file": str(folder / "weights.pth")}}},
    lambda folder: {"backbone_kwargs": {"pretrained_cfg": {"file": str(folder / "plain.pth"), "custom_load": True}}},
    lambda folder: {"backbone_kwargs": {"pretrained_cfg_overlay": {"hf_hub_id": "mallory/evil"}}},
    lambda folder: {"backbone_kwargs": {"cache_dir": str(folder)}},
    lambda folder: {"backbone_kwargs": {"feature_cls": "fx"}},
    lambda folder: {"backbone": f"local-dir:{folder / 'local'}"},
    lambda folder: {"backbone": str(folder / "local")},
    lambda folder: {"backbone": "hf-hub:mallory/evil"},
    lambda folder: {"backbone": "hf_hub:mallory/evil"},
    lambda folder: {"backbone": "resnet18\n"},
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("in_member", [False, True])
def test_a_configuration_opens_and_fetches_nothing(planted, attack, in_member):
    folder, mark = planted
    changes = attack(folder)
    rewrite(folder, **({"members": [{}, changes]} if in_member else changes))
    loaders = [
        RcnForVideoClassification.from_pretrained,
        AutoModelForVideoClassification.from_pretrained,
        RcnConfig.from_pretrained,
        lambda name: pipeline(TASK, model=str(name), device="cpu"),
    ]
    for load in loaders:
        with pytest.raises(MerHfError, match=rf"configuration of {folder}: .*backbone"):
            load(folder)
    with pytest.raises(MerHfError, match="backbone"):
        RcnForVideoClassification(RcnConfig(**changes))
    assert not mark.exists()


@pytest.mark.parametrize("attack", ATTACKS[:4])
def test_the_pickles_of_this_test_do_leave_a_mark_where_they_are_opened(planted, attack):
    folder, mark = planted
    assert attack(folder)
    for name in ("weights.pth", "plain.pth"):
        if name == "weights.pth":
            torch.load(folder / name, weights_only=False)
        else:
            pickle.loads((folder / name).read_bytes())
        assert mark.exists()
        mark.unlink()


def test_a_file_says_nothing_but_what_is_on_the_list(planted, caplog):
    folder, _ = planted
    unknown = {
        "quantization_config": {"quant_method": "torchao"},
        "transformers_weights": "weights.pth",
        "attn_implementation": "mallory/kernel",
        "attribute_map": {"backbone_kwargs": "evil"},
        "validate": 3,
        "evil": {"checkpoint_path": "weights.pth"},
    }
    rewrite(folder, **unknown)
    config = RcnConfig.from_pretrained(folder)
    assert not {"quantization_config", "transformers_weights", "evil", "validate"} & set(vars(config))
    assert config._attn_implementation is None
    assert config.attribute_map == {}
    assert "quantization_config" in caplog.text


def test_a_saved_configuration_names_no_code_but_that_beside_it(planted, tmp_path):
    folder, _ = planted
    impl = {"impl": "mallory/evil--pipeline_rcn.Pipe", "pt": ["AutoModelForVideoClassification"]}
    missing = {"impl": "pipeline_rcn.MicroExpressionClassificationPipeline", "pt": ["AutoModelForVideoClassification"]}
    rewrite(
        folder,
        auto_map={"AutoModelForCausalLM": "mallory/evil--x.Y", "AutoModel": "elsewhere.Z"},
        custom_pipelines={"theft": impl, TASK: missing},
    )
    RcnForVideoClassification.from_pretrained(folder).save_pretrained(tmp_path / "again")
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert "mallory" not in json.dumps(written)
    assert set(written["auto_map"]) <= {"AutoConfig", "AutoModelForVideoClassification"}
    assert not written.get("custom_pipelines")
    for code in written["auto_map"].values():
        assert (tmp_path / "again" / f"{code.split('.')[0]}.py").exists()


def test_weights_of_timm_are_no_part_of_a_configuration(planted):
    folder, _ = planted
    with pytest.raises(MerHfError, match="with_pretrained_backbone"):
        RcnConfig(backbone="resnet18", backbone_kwargs={"pretrained": True})
    # a folder of earlier versions, whose weights lie beside
    rewrite(folder, backbone_kwargs={"width": 8, "pretrained": True})
    assert RcnConfig.from_pretrained(folder).backbone_kwargs == {"width": 8}
    assert RcnForVideoClassification.from_pretrained(folder).config.backbone_kwargs == {"width": 8}


# --- sizes ---

TOO_MUCH = [
    {"num_labels": 10**9},
    {"num_labels": -1},
    {"num_labels": True},
    {"image_size": [10**6, 10**6]},
    {"image_size": [2**16, 2**16], "num_channels": 2**16},
    {"connectivity": "appearance", "num_channels": 1, "num_pixels": 10**12},
    {"members": [{}] * 100_000},
    {"members": [{}] * 1_000, "section_pools": [1] * 100},
    {"section_pools": [1] * 10**4},
    {"hidden_size": 10**9},
    {"hidden_size": 60_000},
    {"grid_size": 60_000, "num_labels": 10_000},
    {"recurrent_steps": 10**6, "shared_weights": False},
    {"backbone_kwargs": {"width": 10**9}},
    {"backbone_kwargs": {"width": 60_000}},
    {"backbone_kwargs": {"kernel_size": 60_000}},
    {"action_units": list(range(1, 10**4))},
    {"backbone": "vit_tiny_patch16_224", "backbone_kwargs": {"depth": 10**6}},
    {"backbone": "vit_tiny_patch16_224", "backbone_kwargs": {"img_size": [60_000, 60_000], "patch_size": 1}},
    {"backbone": "vit_large_patch16_224", "members": [{}] * 5},
]


@pytest.mark.parametrize("fields", TOO_MUCH)
def test_what_would_take_all_memory_is_refused_before_it_is_allocated(fields, monkeypatch):
    started = time.process_time()
    monkeypatch.setattr(torch.nn.init, "kaiming_normal_", pytest.fail)  # no weights were made to be initialised
    with pytest.raises(MerHfError, match=r"LIMITS|must be 1 to|most|more than"):
        RcnForVideoClassification(RcnConfig(**fields))
    assert time.process_time() - started < 20


def test_the_same_holds_for_a_file_and_who_needs_more_can_have_it(planted, monkeypatch):
    folder, _ = planted
    rewrite(folder, hidden_size=400)
    monkeypatch.setitem(LIMITS, "weights", 100_000)
    with pytest.raises(MerHfError, match=r"weights or more, .* than 100000; who needs them sets LIMITS"):
        RcnForVideoClassification.from_pretrained(folder, ignore_mismatched_sizes=True)
    monkeypatch.setitem(LIMITS, "weights", 10_000_000)
    RcnForVideoClassification.from_pretrained(folder, ignore_mismatched_sizes=True)


# --- the package's own errors ---


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dropout": "much"}, "dropout"),
        ({"image_size": ["a", 3]}, "image_size"),
        ({"image_size": [60]}, "image_size"),
        ({"dtype": "load"}, "dtype"),
        ({"id2label": {"a": "x"}}, "id2label"),
        ({"id2label": {"0": "x", "5": "y"}}, "id2label"),
        ({"id2label": {"0": "x", "1": "y\nlicense: mit"}}, "id2label: .* has a line break or a control character"),
        ({"training_subjects": ["a", "b\x1b[2J"]}, "training_subjects: .* has a line break or a control character"),
        ({"focal_gamma": float("nan")}, "focal_gamma"),
        ({"logit_adjustment": float("inf")}, "logit_adjustment"),
        ({"members": [{"votes": [1.0]}]}, r"members\[0\] cannot have"),
        ({"members": [{}, {"dropout": 2.0}]}, r"members\[1\]: dropout"),
        ({"members": [{}, {}], "votes": [float("nan"), 1.0]}, "votes"),
        ({"problem_type": "regression"}, "problem_type is 'regression'"),
        ({"problem_type": "multi_label_classification"}, "problem_type is 'multi_label_classification'"),
        ({"backbone": "resnet19"}, "timm has no model 'resnet19'"),
        ({"backbone_kwargs": {"width": "x"}}, "width"),
        ({"backbone_kwargs": {"img_size": [224]}}, "img_size"),
        ({"backbone_kwargs": {"drop_rate": 1.5}}, "drop_rate"),
        ({"trained_on": "x" * 10**6, "dropout": "y" * 10**6}, "dropout"),
    ],
)
def test_wrong_fields_are_the_package_s_own_error_and_named(fields, says):
    with pytest.raises(MerHfError, match=says) as caught:
        RcnConfig(**fields)
    assert len(str(caught.value)) < 2000


def test_a_field_that_is_set_later_is_held_to_the_same(tmp_path):
    config = RcnConfig()
    with pytest.raises(MerHfError, match="dropout"):
        config.dropout = "much"
    config.image_size = [0, 0]
    with pytest.raises(MerHfError, match="image_size"):
        config.validate()
    with pytest.raises(MerHfError, match="image_size"):
        config.save_pretrained(tmp_path)
    with pytest.raises(MerHfError, match="image_size"):
        RcnForVideoClassification(config)


@pytest.mark.parametrize("text", ["[]", "3", "null", '{"model_type": "resnet"}', '{"model_type": 3}', "[" * 100_000])
def test_a_file_that_is_no_configuration_is_named(planted, text):
    folder, _ = planted
    (folder / "config.json").write_text(text)
    with pytest.raises(MerHfError, match=f"configuration of {folder}: "):
        RcnForVideoClassification.from_pretrained(folder)


def test_weights_that_are_damaged_or_of_another_shape_are_named(planted):
    folder, _ = planted
    rewrite(folder, backbone_kwargs={"width": 9})
    with pytest.raises(MerHfError, match=f"weights of {folder} cannot be used"):
        RcnForVideoClassification.from_pretrained(folder)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(MerHfError, match=f"weights of {folder} cannot be used"):
        RcnForVideoClassification.from_pretrained(folder)


VALUES = [None, True, False, 0, 1, -1, 10**9, 10**30, 0.5, float("nan"), float("inf"), "", "x", "a" * 10_000, "load"]
VALUES += [[], [1], [[]], [None], [10**6, 10**6], {}, {"a": 1}, {"0": None}, {"width": "x"}, [{}], [{"a": 1}]]
BESIDE = ["rope_scaling", "per_layer_config", "problem_type", "num_labels", "torch_dtype", "return_dict", "layer_types"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(5))
def test_whatever_a_file_says_it_loads_or_is_refused_in_the_package_s_words(planted, seed):
    folder, _ = planted
    path = folder / "config.json"
    original = json.loads(path.read_text())
    rng = random.Random(seed)
    outcomes = set()
    for _ in range(30):
        changed, (name, value) = copy.deepcopy(original), (rng.choice([*original, *BESIDE]), rng.choice(VALUES))
        changed[name] = value
        if rng.random() < 0.2:
            changed["members"] = [{name: value}, {}]
        path.write_text(json.dumps(changed))
        try:
            RcnForVideoClassification.from_pretrained(folder)
            outcomes.add("loaded")
        except MerHfError as error:
            assert str(folder) in str(error)
            outcomes.add("refused")
    assert outcomes == {"loaded", "refused"}


# --- what holds all the same ---


@pytest.mark.parametrize("preset", PRESETS)
def test_every_published_setting_is_within_the_list_and_survives_a_file(preset, tmp_path):
    config = RcnConfig.preset(preset, num_labels=3)
    assert set(config.backbone_kwargs) <= set(BACKBONE_KWARGS)
    config.save_pretrained(tmp_path)
    assert RcnConfig.from_pretrained(tmp_path).differences(config) == {}
    assert AutoConfig.from_pretrained(tmp_path).differences(config) == {}


def test_a_folder_of_the_first_format_still_loads():
    config = RcnConfig.from_pretrained(PACKAGED["default"])
    assert config.backbone_kwargs == {"width": 64}
    assert [config.id2label[number] for number in range(3)] == ["negative", "positive", "surprise"]
    assert len(config.member_configs()) == len(config.members) > 1


def test_a_backbone_on_the_list_is_built_with_what_the_configuration_says():
    config = RcnConfig(
        backbone="vit_tiny_patch16_224",
        backbone_kwargs={"img_size": [32, 48], "patch_size": 8, "depth": 3, "embed_dim": 24},
        image_size=[32, 48],
    )
    vit = RcnForVideoClassification(config).rcn.backbone.model
    assert vit.feature_info.channels()[-1] == 24


def test_what_a_backbone_does_not_take_is_refused_with_its_words():
    with pytest.raises(MerHfError, match=r"timm cannot build backbone 'resnet18' .*img_size"):
        RcnForVideoClassification(RcnConfig(backbone="resnet18", backbone_kwargs={"img_size": 32}))


def test_limits_are_read_where_they_are_set(monkeypatch):
    monkeypatch.setitem(configuration_rcn.LIMITS, "labels", 2)
    with pytest.raises(MerHfError, match="1 to 2"):
        RcnConfig(num_labels=3)
