"""Small runs: options with which a training takes a second, and what several tests ask of it."""

import json
import os

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from mer_hf.action_units import ACTION_UNITS
from mer_hf.hub.folder import save_model_folder
from mer_hf.hub.models import Recogniser
from mer_hf.rcn.configuration_rcn import RcnConfig
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor, collate
from mer_hf.training.clips import ReadyInput, load_clips
from mer_hf.training.plan import make_plan
from mer_hf.training.recipe import parse_recipe
from mer_hf.training.runs import run

CLASSES = ["negative", "positive", "surprise"]
SCORES = [f"score_{name}" for name in CLASSES]
TINY = {"image_size": [12, 12], "backbone_kwargs": {"width": 4}}
OPTIONS = {
    "use_cpu": True,
    "num_train_epochs": 1,
    "learning_rate": 0.03,
    "per_device_train_batch_size": 4,
    "model": {**TINY, "grid_size": 2},
    "processor": {"crop_size": {"height": 32, "width": 32}, "align": "none"},
}
APPEARANCE = {"preset": "strcn-a", "model": {**TINY, "num_frames": 6}}
SEQUENCE = {"model": {**OPTIONS["model"], "connectivity": "sequence", "num_channels": 1, "num_frames": 4}}
DRAWN = {
    "dataset": "action-units",
    "protocol": "none",
    "model": {"image_size": [16, 16], "backbone_kwargs": {"width": 4}},
    "processor": None,
    "drawn_fields": 64,
    "per_device_train_batch_size": 16,
}
CPU = torch.device("cpu")


def argv_of(output_dir, **options):
    """The options of a command line; None leaves one of `OPTIONS` out."""
    given = {**OPTIONS, **options, "output_dir": output_dir}
    texts = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in given.items()}
    return [f"--{name}={text}" for name, text in texts.items() if text is not None]


def recipe_of(output_dir, **options):
    return parse_recipe(argv_of(output_dir, **options))


def plan_of(output_dir, dataset, /, **options):
    return make_plan(*recipe_of(output_dir, **options), dataset)


def planned(output_dir, dataset, /, **options):
    """A plan and its clips in memory."""
    plan = plan_of(output_dir, dataset, **options)
    return plan, load_clips(plan.dataset, plan.processor)


def run_in(output_dir, dataset, /, **options):
    return run(plan_of(output_dir, dataset, **options))


def with_labels(dataset, labels):
    features = dataset.features
    return dataset.remove_columns("label").add_column("label", labels).cast(features)


def weights_of(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def naive_logits(model, processor, clip):
    """What a model says of one clip, alone."""
    if isinstance(clip.content, ReadyInput):
        pixels = torch.from_numpy(clip.content.pixels)[None]
    else:
        pixels = processor.model_input(collate([clip.content]))
    with torch.no_grad():
        return model.eval()(pixels).logits[0]


def states(output_dir):
    """The files of finished folds, when they were written and what they hold."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(output_dir.rglob("seed-*.json"))}


def results_of(output_dir):
    return json.loads((output_dir / "results.json").read_text())


def environment(**variables):
    """Of a process that computes as this one does."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **variables}


# --- scores, a second time ---


def second_opinion(rows):
    present = sorted(set(rows.label))
    kwargs = {"labels": present, "average": "macro", "zero_division": 0}
    return {
        "uf1": f1_score(rows.label, rows.predicted, **kwargs),
        "uar": recall_score(rows.label, rows.predicted, **kwargs),
        "accuracy": accuracy_score(rows.label, rows.predicted),
    }


def assert_scored(scores, rows):
    assert {name: scores[name] for name in ("uf1", "uar", "accuracy")} == pytest.approx(second_opinion(rows))
    assert scores["confusion"] == confusion_matrix(rows.label, rows.predicted, labels=CLASSES).tolist()


# --- a saved model ---


def saved_model(classes=CLASSES, **options):
    """A model with random weights whose answers differ much between clips."""
    torch.manual_seed(1)
    labels = {"id2label": dict(enumerate(classes)), "label2id": {name: index for index, name in enumerate(classes)}}
    units = {"action_units": list(ACTION_UNITS)}
    config = RcnConfig.preset("rcn", **{**OPTIONS["model"], **units, **labels, **options})
    model = RcnForVideoClassification(config).eval()
    model.classifier.weight.data.mul_(100)
    height, width = config.image_size
    return Recogniser(model, RcnVideoProcessor(size={"height": height, "width": width}, align="none"))


def folder_of(folder, saved):
    """Save a model, and name its folder."""
    return str(save_model_folder(saved.model, saved.processor, folder))


def frames_of_a_video(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (5, 64, 64), dtype=np.uint8)
