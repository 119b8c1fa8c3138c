import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Features, load_from_disk
from filelock import FileLock
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score
from transformers import pipeline

from mer_hf.commands import main
from mer_hf.rcn.motion_rcn import motion_energy, moving_pixels
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor, collate_sequences
from mer_hf.training import results as results_of_runs
from mer_hf.training import runs
from mer_hf.training import trainer as training
from mer_hf.training.clips import samples
from mer_hf.training.recipe import parse_recipe
from mer_hf.training.runs import Share, build_folds, run
from mer_hf.training.trainer import RunError, build_config, build_processor

CLASSES = ["negative", "positive", "surprise"]
SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
TINY = {"image_size": [12, 12], "backbone_kwargs": {"width": 4}}
OPTIONS = {
    "use_cpu": True,
    "num_train_epochs": 5,
    "learning_rate": 0.03,
    "per_device_train_batch_size": 4,
    "model": {**TINY, "grid_size": 2},
    "processor": {"crop_size": {"height": 32, "width": 32}, "align": "none"},
}
APPEARANCE = {"preset": "strcn-a", "model": {**TINY, "num_frames": 6}}
SEQUENCE = {"model": {**OPTIONS["model"], "connectivity": "sequence", "num_channels": 1, "num_frames": 4}}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Equal numbers in this process and in those that are started with OMP_NUM_THREADS=1."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def argv_of(output_dir, **options):
    options = {**OPTIONS, **options, "output_dir": output_dir}
    return [f"--{name}={json.dumps(value) if isinstance(value, dict) else value}" for name, value in options.items()]


def recipe_of(output_dir, **options):
    return parse_recipe(argv_of(output_dir, **options))


def predictions_of(output_dir):
    return pd.read_csv(output_dir / "predictions.csv", dtype={"subject": str}, keep_default_na=False)


def run_in(output_dir, dataset, **options):
    assert run(dataset, *recipe_of(output_dir, **options)) is not None
    return predictions_of(output_dir)


def with_labels(dataset, labels):
    features = dataset.features
    return dataset.remove_columns("label").add_column("label", labels).cast(features)


@pytest.fixture
def trained(monkeypatch):
    """The trainings of a run: the trainer of each, and the clips that it was given."""
    trainings = []
    real = training.train

    def train(clips, *args):
        trainings.append((real(clips, *args), clips))
        return trainings[-1][0]

    monkeypatch.setattr(runs, "train", train)
    return trainings


def naive_logits(model, processor, clip):
    """What the model says of one clip, on its own."""
    if "sequence" in clip:
        pixels = processor.model_input(**collate_sequences([clip["sequence"]]))
    else:
        pixels = torch.from_numpy(clip["pixel_values_videos"])[None]
    with torch.no_grad():
        return model.eval()(pixels).logits[0]


@pytest.fixture(scope="module")
def flow_folder(make_clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow") / "clips"
    make_clips("flow", repeats=2).save_to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def flow_recipe(flow_folder):
    path = flow_folder.with_name("recipe.yaml")
    path.write_text(yaml.safe_dump({**OPTIONS, "dataset": str(flow_folder), "seeds": 2}))
    return path


@pytest.fixture(scope="module")
def flow_run(flow_recipe, tmp_path_factory):
    """A whole run of two seeds in one process, as the command makes it."""
    output_dir = tmp_path_factory.mktemp("run") / "out"
    assert main(["train", str(flow_recipe), "--output_dir", str(output_dir)]) == 0
    return output_dir


# --- what a run writes ---


def test_predictions_have_one_row_for_each_clip_and_seed_with_the_clips_own_values(flow_run, flow_folder):
    table = predictions_of(flow_run)
    scores = [f"score_{name}" for name in CLASSES]
    assert list(table) == ["clip_id", "corpus", "subject", "fold", "seed", "label", "predicted", *scores]
    clips = {row["clip_id"]: row for row in load_from_disk(flow_folder).remove_columns("flow")}
    assert Counter(zip(table.clip_id, table.seed, strict=True)) == Counter(
        (clip_id, seed) for seed in (42, 43) for clip_id in clips
    )
    for row in table.itertuples():
        clip = clips[row.clip_id]
        assert (row.corpus, row.subject, row.label) == (clip["corpus"], clip["subject"], CLASSES[clip["label"]])
        assert row.fold == row.subject
    np.testing.assert_allclose(table[scores].sum(axis=1), 1, atol=1e-6)
    assert (table[scores].to_numpy() >= 0).all()
    assert [CLASSES[index] for index in table[scores].to_numpy().argmax(1)] == list(table.predicted)


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


def test_results_are_the_scores_of_the_predictions(flow_run):
    table = predictions_of(flow_run)
    results = json.loads((flow_run / "results.json").read_text())
    assert results["classes"] == CLASSES
    assert [seed["seed"] for seed in results["seeds"]] == [42, 43]
    parts = [(seed, table[table.seed == seed["seed"]]) for seed in results["seeds"]]
    for scores, rows in [*parts, (results["pooled"], table)]:
        assert_scored(scores, rows)
        assert set(scores["per_corpus"]) == {"even", "odd"}
        for corpus, part in scores["per_corpus"].items():
            assert_scored(part, rows[rows.corpus == corpus])
    each = pd.DataFrame([second_opinion(rows) for _, rows in parts])
    assert results["mean"] == pytest.approx(each.mean().to_dict())
    assert results["sd"] == pytest.approx(each.std().to_dict())
    assert second_opinion(table)["accuracy"] > 0.5  # so that the above compares more than zeros


def test_results_say_what_was_run_on_what(flow_run, flow_folder):
    results = json.loads((flow_run / "results.json").read_text())
    assert results["counts"] == {
        "clips": 18,
        "subjects": 3,
        "per_class": dict.fromkeys(CLASSES, 6),
        "per_corpus": {"even": 12, "odd": 6},
    }
    told = {
        "dataset": str(flow_folder),
        "protocol": "loso",
        "seeds": 2,
        "seed": 42,
        "learning_rate": 0.03,
        "num_train_epochs": 5,
    }
    assert {name: results["recipe"][name] for name in told} == told
    assert results["recipe"]["model"] == OPTIONS["model"]
    assert results["num_processes"] == 1
    assert results["wall_time_s"] > 0
    assert results["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_scores_of_a_run_with_one_seed_have_no_spread():
    told = {"clip_id": ["1", "2"], "subject": "s", "seed": 1, "corpus": "a", "label": ["x", "y"], "predicted": "x"}
    table = pd.DataFrame(told)
    table[["score_x", "score_y"]] = [[0.6, 0.4], [0.7, 0.3]]
    results = results_of_runs.summarise(table, ["x", "y"])
    assert results["sd"] == {"uf1": 0.0, "uar": 0.0, "accuracy": 0.0}
    assert results["mean"] == pytest.approx(second_opinion(table))


# --- nothing is learnt from the held-out side, and clips are joined by their id ---


@pytest.mark.parametrize("kind", ["flow", "frames"])
def test_each_clip_is_judged_by_a_model_that_saw_the_other_subjects_only(make_clips, tmp_path, trained, kind):
    dataset = make_clips(kind, repeats=2).shuffle(seed=1).select(range(15))
    table = run_in(tmp_path / "out", dataset, num_train_epochs=1, model={**OPTIONS["model"], "loss": "class_balanced"})
    processor = build_processor(recipe_of(tmp_path)[0], trained[0][0].model.config)
    clips = samples(dataset, processor)
    folds = dict(zip(["s1", "s2", "s3"], trained, strict=False))
    assert len(trained) == 4  # the folds, and the model of all clips
    for subject, (trainer, learnt) in folds.items():
        seen = [clip for clip, name in zip(clips, dataset["subject"], strict=True) if name != subject]
        assert len(seen) == len(learnt)
        for one, other in zip(seen, learnt, strict=True):
            assert one["label"] == other["label"]
            np.testing.assert_array_equal(one["sequence"].frames, other["sequence"].frames)
        counts = Counter(clip["label"] for clip in seen)
        assert trainer.model.config.class_counts == [counts[label] for label in range(3)]
    assert len(trained[3][1]) == 15
    for clip, clip_id, subject in zip(clips, dataset["clip_id"], dataset["subject"], strict=True):
        scores = naive_logits(folds[subject][0].model, processor, clip).softmax(0)
        row = table[table.clip_id == clip_id].iloc[0]
        np.testing.assert_allclose([row[f"score_{name}"] for name in CLASSES], scores, atol=1e-5)


def test_labels_of_the_held_out_side_do_not_change_its_scores(make_clips, tmp_path):
    dataset = make_clips("flow", repeats=2)
    labels = [
        (label + 1) % 3 if subject == "s1" else label
        for label, subject in zip(dataset["label"], dataset["subject"], strict=True)
    ]
    columns = [f"score_{name}" for name in CLASSES]
    before = run_in(tmp_path / "before", dataset, folds="s1,s2").set_index(["fold", "clip_id"])
    after = run_in(tmp_path / "after", with_labels(dataset, labels), folds="s1,s2").set_index(["fold", "clip_id"])
    assert (before.loc["s1"].label != after.loc["s1"].label).all()
    pd.testing.assert_frame_equal(before.loc["s1"][columns], after.loc["s1"][columns])
    assert not np.allclose(before.loc["s2"][columns], after.loc["s2"][columns])  # where s1 is on the training side


def with_other_frames(dataset, clip_id, donor):
    """The dataset with the frames of another clip, and so other moving pixels, in one."""
    frames = {row["clip_id"]: row["frames"] for row in dataset}
    rows = [{**row, "frames": frames[donor]} if row["clip_id"] == clip_id else row for row in dataset]
    return Dataset.from_list(rows, features=dataset.features)


def test_held_out_clips_change_neither_the_mask_of_their_fold_nor_what_is_said_of_others(make_clips, tmp_path, trained):
    dataset = make_clips("frames", repeats=2)
    changed = "s1/negative@1"
    tables = [
        run_in(tmp_path / name, clips, folds="s1,s2", **APPEARANCE).set_index(["fold", "clip_id"])
        for name, clips in [("before", dataset), ("after", with_other_frames(dataset, changed, "s1/surprise@0"))]
    ]
    masks = [trainer.model.rcn.pixel_index for trainer, _ in trained]
    assert torch.equal(masks[0], masks[3])
    assert not torch.equal(masks[1], masks[4])  # fold s2 learns from the clip that changed
    before, after = (table.loc["s1"] for table in tables)
    pd.testing.assert_frame_equal(before.drop(index=changed), after.drop(index=changed))
    assert before.loc[changed, "score_negative"] != after.loc[changed, "score_negative"]
    for trainer, clips in trained:
        energies = [motion_energy(clip["sequence"].frames[:, 0]) for clip in clips]
        pixels = moving_pixels(np.stack(energies)).T.flatten().nonzero()[0]
        assert trainer.model.rcn.pixel_index.tolist() == pixels.tolist()
        assert trainer.model.config.num_pixels == len(pixels) < 144


def test_ready_videos_get_a_mask_of_moving_pixels_too(make_clips, tmp_path, trained):
    run(make_clips("video"), *recipe_of(tmp_path / "out", protocol="none", num_train_epochs=1, **APPEARANCE))
    ((trainer, clips),) = trained
    energies = [motion_energy(clip["pixel_values_videos"][:, 0]) for clip in clips]
    pixels = moving_pixels(np.stack(energies)).T.flatten().nonzero()[0]
    assert trainer.model.rcn.pixel_index.tolist() == pixels.tolist()


# --- what is random, and when ---


@pytest.fixture(scope="module")
def train_once(make_clips, tmp_path_factory):
    """Train on frames with the options given -> the trainer, its processor, and the clips."""
    dataset = make_clips("frames")
    cache = {}

    def train_once(**options):
        recipe, arguments = recipe_of(tmp_path_factory.mktemp("one"), num_train_epochs=1, **SEQUENCE, **options)
        config = build_config(recipe, dataset)
        processor = build_processor(recipe, config)
        if not cache:
            cache["clips"] = samples(dataset, processor)
        return training.train(cache["clips"], config, processor, recipe, arguments, 5), processor, cache["clips"]

    return train_once


def weights_of(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def test_jitter_and_mirror_change_training_and_nothing_else_does(train_once):
    still = {"jitter": False, "mirror": False}
    plain, again, jittered, single, mirrored = (
        weights_of(train_once(**options)[0])
        for options in (
            still,
            still,
            {**still, "jitter": True},
            {**still, "jitter": True, "drop": "single"},
            {**still, "mirror": True},
        )
    )
    assert torch.equal(plain, again)
    assert not torch.equal(plain, jittered)
    assert not torch.equal(plain, mirrored)
    assert not torch.equal(jittered, single)


def test_a_prediction_is_neither_jittered_nor_mirrored(train_once):
    trainer, processor, clips = train_once(jitter=True, mirror=True)
    first, second = (training.predict(trainer.model, clips, processor).logits for _ in range(2))
    assert torch.equal(first, second)
    expected = torch.stack([naive_logits(trainer.model, processor, clip) for clip in clips])
    np.testing.assert_allclose(first, expected, atol=1e-5)


def test_augmentation_changes_training_and_not_the_prediction(train_once):
    still = {"jitter": False, "mirror": False}
    plain = weights_of(train_once(**still)[0])
    for name, amount in {"rotation": 10, "scale": 0.1, "shift": 0.1, "noise": 0.1, "mixup": 0.5}.items():
        trainer, processor, clips = train_once(**still, augment={name: amount})
        assert not torch.equal(plain, weights_of(trainer)), name
        first, second = (training.predict(trainer.model, clips, processor).logits for _ in range(2))
        assert torch.equal(first, second)


def test_the_loss_of_mixed_clips_is_that_of_their_labels_in_the_same_shares(train_once):
    trainer, _, _ = train_once(augment={"mixup": 0.5})
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels, others = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 1, 0, 1])
    targets = 0.3 * torch.eye(3)[labels] + 0.7 * torch.eye(3)[others]
    expected = torch.nn.functional.cross_entropy(logits, targets)
    found = trainer._mixed_loss(SimpleNamespace(logits=logits), (labels, others, 0.3, None))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        trainer._mixed_loss(SimpleNamespace(logits=logits), labels, 8),
        torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / 8,
    )


@pytest.mark.parametrize("jittered", [True, False])
@pytest.mark.parametrize("connectivity", ["geometric", "sequence"])
def test_a_resident_batch_holds_what_its_clips_hold(make_clips, tmp_path, connectivity, jittered):
    windows = {"processor": {**OPTIONS["processor"], "onset_window": 0.01}}  # of the few frames there are
    recipe, _ = recipe_of(tmp_path, **(windows if connectivity == "geometric" else SEQUENCE))
    dataset = make_clips("frames")
    processor = build_processor(recipe, build_config(recipe, dataset))
    clips = samples(dataset, processor)
    resident = training.ResidentClips(clips, processor, torch.device("cpu"), jittered)
    rows = [7, 0, 3]
    batch = resident.__getitems__(rows)
    sequences = [clips[row]["sequence"] for row in rows]
    assert len(resident) == 9
    assert batch.pop("labels").tolist() == [clips[row]["label"] for row in rows]
    expected = collate_sequences(sequences)
    if not jittered:
        torch.testing.assert_close(batch["pixel_values_videos"], processor.model_input(**expected))
        return
    for part, lengths in [("frames", "lengths"), ("reference", "reference_lengths")]:
        assert torch.equal(batch[lengths], expected[lengths])
        assert batch[part].shape == expected[part].shape
        for found, sequence in zip(batch[part], sequences, strict=True):
            array = getattr(sequence, part)
            np.testing.assert_array_equal(found[: len(array)], array)
    torch.testing.assert_close(processor.model_input(**batch), processor.model_input(**expected))


def test_lone_pictures_of_flow_are_finished_once_though_jitter_is_asked_for(make_clips, tmp_path):
    recipe, _ = recipe_of(tmp_path)
    processor = build_processor(recipe, build_config(recipe, make_clips("flow")))
    clips = samples(make_clips("flow"), processor)
    batch = training.ResidentClips(clips, processor, torch.device("cpu"), jittered=True).__getitems__([4, 1])
    expected = processor.model_input(**collate_sequences([clips[row]["sequence"] for row in (4, 1)]))
    torch.testing.assert_close(batch["pixel_values_videos"], expected)


# --- how it is optimised ---


def trained_on_flow(make_clips, tmp_path, **options):
    """Train on flow, one step an epoch and nothing drawn, unless the options say otherwise -> the trainer."""
    model = {**OPTIONS["model"], "backbone_kwargs": {"width": 4, "drop_rate": 0.0}, "dropout": 0.0}
    still = {"mirror": False, "per_device_train_batch_size": 9, "model": model, "bf16": False, "num_train_epochs": 3}
    recipe, arguments = recipe_of(tmp_path / "out", **{**still, **options})
    dataset = make_clips("flow")
    config = build_config(recipe, dataset)
    processor = build_processor(recipe, config)
    return training.train(samples(dataset, processor), config, processor, recipe, arguments, 5)


def test_the_learning_rate_falls_in_steps(make_clips, tmp_path):
    options = {"num_train_epochs": 6, "lr_step_epochs": 2, "lr_step_factor": 0.1, "logging_strategy": "epoch"}
    for batch in (9, 3):
        trainer = trained_on_flow(make_clips, tmp_path, per_device_train_batch_size=batch, **options)
        rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
        # logged after the last step of an epoch, before the scheduler's
        assert rates == pytest.approx([0.03, 0.03, 0.003, 0.003, 0.0003, 0.0003])


def test_momentum_is_that_of_the_recipe(make_clips, tmp_path):
    options = {"optim": "sgd", "optim_args": "momentum=0.9", "weight_decay": 0.1}
    optimizer = trained_on_flow(make_clips, tmp_path, **options).optimizer.optimizer
    assert isinstance(optimizer, torch.optim.SGD)
    assert {group["momentum"] for group in optimizer.param_groups} == {0.9}
    assert sorted(group["weight_decay"] for group in optimizer.param_groups) == [0, 0.1]
    assert all(parameter.ndim > 1 for parameter in optimizer.param_groups[0]["params"])  # weights alone decay


def test_the_model_has_the_moving_average_of_its_weights_in_the_end(make_clips, tmp_path, monkeypatch):
    seen = []
    real = training.AverageWeights.on_step_end

    def on_step_end(self, *args, model, **kwargs):
        seen.append({name: value.detach().clone() for name, value in model.state_dict().items()})
        real(self, *args, model=model, **kwargs)

    monkeypatch.setattr(training.AverageWeights, "on_step_end", on_step_end)
    found = trained_on_flow(make_clips, tmp_path, ema_decay=0.5, num_train_epochs=4).model.state_dict()
    torch.manual_seed(0)
    average = None
    for step, state in enumerate(seen, start=1):
        decay = min(0.5, 1 - step ** (-2 / 3))  # timm's warm-up: nothing is kept of the initial weights
        average = {
            name: value if average is None or not value.is_floating_point() else value.lerp(average[name], decay)
            for name, value in state.items()
        }
    assert len(seen) == 4
    for name, value in found.items():
        torch.testing.assert_close(value, average[name], msg=name)
    assert not torch.equal(found["classifier.weight"], seen[-1]["classifier.weight"])


def test_a_step_in_parts_is_the_step_as_a_whole_though_the_last_part_is_smaller(make_clips, tmp_path, monkeypatch):
    """Batch statistics differ between parts, so the norms are fixed; what is left to differ is the loss."""
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", lambda self, maps: self.weight[:, None, None] * maps)
    options = {"num_train_epochs": 1, "optim": "sgd", "max_grad_norm": 0, "learning_rate": 1.0}
    whole = weights_of(trained_on_flow(make_clips, tmp_path, **options))
    parts = {"per_device_train_batch_size": 5, "gradient_accumulation_steps": 2}
    in_parts = weights_of(trained_on_flow(make_clips, tmp_path, **options, **parts))
    start = weights_of(trained_on_flow(make_clips, tmp_path, **{**options, "learning_rate": 0.0}))
    torch.testing.assert_close(in_parts, whole, atol=1e-6, rtol=1e-4)
    assert not torch.allclose(whole, start, atol=1e-4)


@pytest.mark.slow
def test_a_step_that_two_processes_share_is_that_of_one(make_clips, tmp_path):
    make_clips("flow").select(range(8)).save_to_disk(tmp_path / "clips")
    program = tmp_path / "step.py"
    program.write_text(
        "import sys, torch\n"
        "from datasets import load_from_disk\n"
        "from mer_hf import training\n"
        "from mer_hf.training.clips import samples\n"
        "from mer_hf.training.recipe import parse_recipe\n"
        "# batch statistics differ between the processes\n"
        "torch.nn.BatchNorm2d.forward = lambda self, maps: self.weight[:, None, None] * maps\n"
        "recipe, arguments = parse_recipe(sys.argv[2:])\n"
        "dataset = load_from_disk(recipe.dataset)\n"
        "config = training.build_config(recipe, dataset)\n"
        "processor = training.build_processor(recipe, config)\n"
        "clips = samples(dataset, processor)\n"
        "trainer = training.train(clips, config, processor, recipe, arguments, 5)\n"
        "if arguments.process_index == 0:\n"
        "    torch.save((arguments.world_size, trainer.model.state_dict()), sys.argv[1])\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    model = {**OPTIONS["model"], "backbone_kwargs": {"width": 4, "drop_rate": 0.0}, "dropout": 0.0}
    steps = {"optim": "sgd", "max_grad_norm": 0, "learning_rate": 1.0, "num_train_epochs": 1, "bf16": False}
    saved = []
    for processes, batch in [(1, 8), (2, 4)]:
        options = {**steps, "per_device_train_batch_size": batch, "mirror": False, "model": model}
        argv = argv_of(tmp_path / "out", dataset=tmp_path / "clips", **options)
        command = [*launcher, str(processes), str(program), str(tmp_path / str(processes)), *argv]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        world_size, weights = torch.load(tmp_path / str(processes))
        assert world_size == processes
        saved.append(weights)
    torch.testing.assert_close(*saved, atol=1e-6, rtol=1e-4)


def test_training_in_bf16_is_close_to_fp32_and_predicts_in_fp32(make_clips, tmp_path):
    exact, rough = (trained_on_flow(make_clips, tmp_path, bf16=bf16, learning_rate=3e-3) for bf16 in (False, True))
    assert not torch.equal(weights_of(exact), weights_of(rough))
    logits = [
        training.predict(trainer.model, samples(make_clips("flow"), trainer.processor), trainer.processor).logits
        for trainer in (exact, rough)
    ]
    torch.testing.assert_close(*logits, atol=0.1, rtol=0.1)
    opened = type(rough.model)(rough.model.config)
    opened.load_state_dict(rough.model.state_dict())
    again = training.predict(opened, samples(make_clips("flow"), rough.processor), rough.processor).logits
    assert torch.equal(again, logits[1])


# --- ensembles and the control ---


def test_the_saved_model_may_average_the_seeds_and_their_mean_is_scored(make_clips, tmp_path, trained):
    dataset = make_clips("flow", repeats=2)
    options = {"seeds": 2, "average_seeds": True, "num_train_epochs": 1, "bf16": False}
    recipe, arguments = recipe_of(tmp_path / "out", **options)
    model, processor = run(dataset, recipe, arguments)
    assert len(trained) == 2 * 3 + 2
    clips = samples(dataset, processor)
    members = [training.predict(trainer.model, clips, processor).logits.softmax(1) for trainer, _ in trained[-2:]]
    assert not torch.allclose(*members)
    torch.testing.assert_close(training.predict(model, clips, processor).logits.softmax(1), sum(members) / 2)
    table = predictions_of(tmp_path / "out")
    means = table.groupby("clip_id")[[f"score_{name}" for name in CLASSES]].mean()
    rows = table[table.seed == 42].set_index("clip_id").copy()
    rows["predicted"] = [CLASSES[means.loc[clip].to_numpy().argmax()] for clip in rows.index]
    assert_scored(json.loads((tmp_path / "out" / "results.json").read_text())["ensemble"], rows)


def test_the_control_is_fitted_on_the_training_side_of_each_fold(make_clips, tmp_path, monkeypatch):
    dataset = make_clips("frames", repeats=2)
    fits = []
    real = results_of_runs.control_predictions

    def control_predictions(flow, labels, held_out):
        fits.append((flow, labels, held_out))
        return real(flow, labels, held_out)

    monkeypatch.setattr(results_of_runs, "control_predictions", control_predictions)
    recipe, arguments = recipe_of(tmp_path / "out", control=True, num_train_epochs=1, seeds=2)
    _, processor = run(dataset, recipe, arguments)
    apexes = [clip["sequence"].frames[len(clip["sequence"].frames) // 2] for clip in samples(dataset, processor)]
    told = []
    for subject, (flow, labels, held_out) in zip(["s1", "s2", "s3"], fits, strict=True):
        inside = np.array([name == subject for name in dataset["subject"]])
        np.testing.assert_array_equal(flow, np.stack(apexes)[~inside])
        np.testing.assert_array_equal(held_out, np.stack(apexes)[inside])
        np.testing.assert_array_equal(labels, np.array(dataset["label"])[~inside])
        told += [CLASSES[label] for label in real(flow, labels, held_out)]
    rows = pd.DataFrame({"label": [CLASSES[label] for label in dataset["label"]], "predicted": told})
    assert_scored(json.loads((tmp_path / "out" / "results.json").read_text())["control"], rows)


def test_the_control_is_refused_where_there_is_no_flow(make_clips, tmp_path):
    with pytest.raises(RunError, match="control judges flow, and sequence connectivity has none"):
        run(make_clips("frames"), *recipe_of(tmp_path / "out", control=True, **SEQUENCE))


def test_equal_seeds_give_equal_predictions_whatever_else_is_run_and_other_seeds_others(
    flow_run, flow_folder, tmp_path
):
    rows = predictions_of(flow_run).set_index(["seed", "fold"])
    alone = run_in(tmp_path / "alone", load_from_disk(flow_folder), seed=43, folds="s2").set_index(["seed", "fold"])
    pd.testing.assert_frame_equal(alone, rows.loc[[(43, "s2")]])
    assert not np.allclose(rows.loc[(42, "s2")].score_negative, rows.loc[(43, "s2")].score_negative)


# --- protocols ---


def test_lovo_holds_out_clips_and_writes_none_of_their_names_outside_the_output(make_clips, tmp_path):
    dataset = make_clips("flow", subjects=("s1", "s2"))
    names = [str(tmp_path / "clips" / "one.avi"), "../../two", "three@1", "three_1", "..", "six"]
    dataset = dataset.remove_columns("clip_id").add_column("clip_id", names)
    table = run_in(tmp_path / "out", dataset, protocol="lovo", num_train_epochs=1)
    assert list(table.clip_id) == list(table.fold) == names
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(list((tmp_path / "out" / "folds").rglob("seed-42.csv"))) == 6


def test_kfold_holds_out_each_subject_once(make_clips, tmp_path):
    dataset = make_clips("flow", subjects=("s1", "s2", "s3", "s4", "s5"))
    table = run_in(tmp_path / "out", dataset, protocol="kfold", num_folds=2, num_train_epochs=1)
    assert sorted(table.clip_id) == sorted(dataset["clip_id"])
    folds_of = table.groupby("subject").fold.unique()
    assert {subject: len(folds) for subject, folds in folds_of.items()} == dict.fromkeys(set(dataset["subject"]), 1)
    assert set(table.fold) == {"fold-0", "fold-1"}


def test_none_trains_on_all_clips_and_predicts_nothing(make_clips, tmp_path, trained):
    dataset = make_clips("flow")
    model, processor = run(dataset, *recipe_of(tmp_path / "out", protocol="none"))
    assert [len(clips) for _, clips in trained] == [9]
    assert model.config.id2label == dict(enumerate(CLASSES))
    assert (model.config.num_channels, processor.num_channels, model.training) == (2, 2, False)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["counts"]["clips"] == 9
    assert not {"seeds", "pooled", "mean"} & set(results)
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_only_the_named_folds_are_run_each_once(make_clips, tmp_path, trained):
    table = run_in(tmp_path / "out", make_clips("flow"), folds="s3, s1,s3", num_train_epochs=1)
    assert list(table.fold) == ["s3"] * 3 + ["s1"] * 3
    assert len(trained) == 3


def test_an_unknown_fold_is_answered_with_the_known_ones(make_clips, tmp_path):
    recipe, _ = recipe_of(tmp_path, folds="s1,s9")
    with pytest.raises(ValueError, match=r"no fold 's9'.*s1, s2, s3"):
        build_folds(recipe, make_clips("flow"))


def test_a_class_that_only_the_held_out_side_shows_is_named_with_its_fold_before_any_training(
    make_clips, tmp_path, trained
):
    dataset = make_clips("flow").filter(lambda row: row["subject"] == "s2" or row["label"] != 1)
    with pytest.raises(RunError, match="fold s2: no training clip shows positive"):
        run(dataset, *recipe_of(tmp_path / "out"))
    assert trained == []
    assert set(run_in(tmp_path / "out", dataset, folds="s1", num_train_epochs=1).fold) == {"s1"}


def test_a_class_without_any_clip_is_named(make_clips, tmp_path):
    features = Features({**make_clips("flow").features, "label": ClassLabel(names=[*CLASSES, "others"])})
    with pytest.raises(RunError, match="no training clip shows others"):
        build_folds(recipe_of(tmp_path)[0], make_clips("flow").cast(features))


def test_a_last_batch_of_one_clip_is_left_out_for_it_cannot_be_normalised(make_clips, tmp_path, trained):
    dataset = make_clips("flow")
    for batch, steps in [(8, 1), (4, 2), (3, 3), (1, 9)]:
        options = {"protocol": "none", "num_train_epochs": 1, "per_device_train_batch_size": batch}
        run(dataset, *recipe_of(tmp_path / str(batch), **options))
        assert trained[-1][0].state.global_step == steps


def test_batches_that_training_leaves_out_are_predicted_all_the_same(make_clips, tmp_path):
    dataset = make_clips("flow")
    options = {"num_train_epochs": 1, "dataloader_drop_last": True, "per_device_eval_batch_size": 2}
    table = run_in(tmp_path / "out", dataset, folds="s1,s2", **options)
    assert list(table.clip_id) == dataset["clip_id"][:6]


# --- settings that cannot be used ---


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("flow", {"preset": "rnn"}, "no preset 'rnn'; choose from rcn"),
        ("flow", {"model": {"width": 4}}, "no fields.*width"),
        ("flow", {"model": {"grid_size": "five"}}, "grid_size"),
        ("flow", {"model": {"dropout": 2}}, "dropout"),
        ("video", {}, "column 'pixel_values_videos'.*num_frames is 4"),
        ("picture", APPEARANCE, "num_channels is 3"),
        ("picture", SEQUENCE, "'flow' needs a geometric model.*sequence"),
    ],
)
def test_a_setting_of_the_model_that_cannot_be_used_is_explained(make_clips, tmp_path, kind, options, message):
    with pytest.raises(RunError, match=message):
        build_config(recipe_of(tmp_path, **options)[0], make_clips(kind))


@pytest.mark.parametrize("path", sorted((SCRIPT.parent / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_of_the_repository_builds_a_configuration_and_the_processor_of_its_inputs(make_clips, path):
    recipe, _ = parse_recipe([str(path)])
    config = build_config(recipe, make_clips("frames"))
    processor = build_processor(recipe, config)
    assert [config.id2label[label] for label in range(3)] == CLASSES
    for name in ("connectivity", "num_frames", "num_channels"):
        assert getattr(processor, name) == getattr(config, name)
    assert [processor.size["height"], processor.size["width"]] == list(config.image_size)


@pytest.mark.parametrize(("augment", "message"), [({"rotate": 3}, "rotate"), ({"noise": -3}, "noise must be")])
def test_an_augmentation_that_cannot_be_used_is_explained_before_any_training(make_clips, tmp_path, augment, message):
    with pytest.raises(RunError, match=f"augment.*{message}"):
        run(make_clips("flow"), *recipe_of(tmp_path / "out", augment=augment))
    assert not list(tmp_path.rglob("folds"))


def test_an_unknown_option_of_the_processor_is_named(make_clips, tmp_path):
    recipe, _ = recipe_of(tmp_path, processor={"windows": 3})
    with pytest.raises(RunError, match="windows"):
        build_processor(recipe, build_config(recipe, make_clips("flow")))


# --- going on where a run was stopped ---


def states(output_dir):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(output_dir.rglob("seed-*.csv"))}


def test_finished_folds_are_not_trained_again_and_further_folds_and_seeds_may_join(make_clips, tmp_path, trained):
    dataset = make_clips("flow")
    output_dir = tmp_path / "out"
    first = run_in(output_dir, dataset, folds="s1,s2", num_train_epochs=1)
    before = states(output_dir)
    assert (len(before), len(trained)) == (2, 3)
    again = run_in(output_dir, dataset, folds="s1,s2", num_train_epochs=1)
    pd.testing.assert_frame_equal(first, again)
    assert states(output_dir) == before
    assert len(trained) == 4  # the model of all clips alone
    more = run_in(output_dir, dataset, num_train_epochs=1, seeds=2)
    assert len(trained) == 4 + 4 + 1
    assert len(more) == 2 * len(dataset)
    assert before.items() <= states(output_dir).items()


def test_another_recipe_or_other_data_in_the_same_folder_is_refused_with_what_differs(make_clips, tmp_path, trained):
    dataset = make_clips("flow")
    output_dir = tmp_path / "out"
    options = {"folds": "s1", "num_train_epochs": 1}
    run_in(output_dir, dataset, **options)
    before, count = states(output_dir), len(trained)
    other_labels = with_labels(dataset, [*dataset["label"][:-1], 0])
    for message, clips, changes in [
        ("learning_rate was 0.03, is 0.5", dataset, {"learning_rate": 0.5}),
        ("mirror was True, is False", dataset, {"mirror": False}),
        ("seed was 42, is 7", dataset, {"seed": 7}),
        ("model was .*'dropout': 0.1", dataset, {"model": {**OPTIONS["model"], "dropout": 0.1}}),
        ("data_sha256", make_clips("flow", seed=1), {}),
        ("data_sha256", other_labels, {}),
        ("data_sha256", dataset.select(range(8)), {}),
    ]:
        with pytest.raises(RunError, match=message) as refused:
            run(clips, *recipe_of(output_dir, **options, **changes))
        assert str(output_dir) in str(refused.value)
    assert (states(output_dir), len(trained)) == (before, count)


def test_a_run_may_go_on_on_another_device_or_with_another_number_of_processes(make_clips, tmp_path):
    options = {"protocol": "none", "num_train_epochs": 1}
    run(make_clips("flow"), *recipe_of(tmp_path / "out", **options))
    assert run(make_clips("flow"), *recipe_of(tmp_path / "out", **options, use_cpu=False, num_proc=2)) is not None


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.mark.slow
def test_a_run_that_is_killed_loses_the_fold_it_was_at_and_ends_as_if_undisturbed(
    flow_run, flow_recipe, tmp_path, trained
):
    program = tmp_path / "killed.py"
    program.write_text(
        "import os, runpy, signal, sys\n"
        "from mer_hf.training.trainer import RcnTrainer\n"
        "steps, real = iter(range(20)), RcnTrainer.training_step  # fifteen steps a fold\n"
        "def training_step(*args, **kwargs):\n"
        "    if next(steps, None) is None:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(*args, **kwargs)\n"
        "RcnTrainer.training_step = training_step\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    output_dir = tmp_path / "out"
    argv = [str(flow_recipe), "--output_dir", str(output_dir)]
    killed = subprocess.run([sys.executable, program, *argv], env=environment(), capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    before = states(output_dir)
    assert [path.parent.name for path in before] == ["s1"]
    assert not (output_dir / "predictions.csv").exists()
    assert not (output_dir / "model").exists()

    assert main(["train", *argv]) == 0
    assert len(trained) == 5 + 1
    assert before.items() <= states(output_dir).items()
    assert (output_dir / "predictions.csv").read_bytes() == (flow_run / "predictions.csv").read_bytes()


# --- several processes ---


def test_a_process_takes_its_share_from_the_launcher_and_stands_alone(monkeypatch):
    for name, value in {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert runs.take_share() == Share(3, 4)
    assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} & set(os.environ)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6"
    assert runs.take_share() == Share(0, 1)


def test_a_second_process_leaves_folds_alone_that_are_being_trained_and_the_results_to_the_first(
    make_clips, tmp_path, trained
):
    dataset = make_clips("flow")
    recipe, arguments = recipe_of(tmp_path / "out", num_train_epochs=1)
    (tmp_path / "out" / "folds" / "s2").mkdir(parents=True)
    with FileLock(tmp_path / "out" / "folds" / "s2" / "seed-42.lock"):
        assert run(dataset, recipe, arguments, Share(1, 2)) is None
    assert [path.parent.name for path in states(tmp_path / "out")] == ["s1", "s3"]
    assert len(trained) == 2
    assert not list((tmp_path / "out").glob("*s.*"))
    assert run(dataset, recipe, arguments, Share(0, 2)) is not None
    assert len(trained) == 2 + 2
    assert sorted(predictions_of(tmp_path / "out").clip_id) == sorted(dataset["clip_id"])


@pytest.mark.slow
def test_two_processes_of_a_launcher_share_the_folds_and_predict_what_one_does(flow_run, flow_recipe, tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    program = tmp_path / "logged.py"
    program.write_text(
        "import os, pathlib, runpy, time\n"
        "from mer_hf import runs\n"
        f"log, real = pathlib.Path({str(log)!r}), runs.predictions_table\n"
        "own = log / os.environ['RANK']\n"
        "def predictions_table(*args):\n"
        "    with own.open('a') as file:\n"
        "        print(args[-2], args[-1], file=file)\n"
        "    end = time.monotonic() + 60  # neither does all before the other starts\n"
        "    while len(list(log.iterdir())) < 2 and time.monotonic() < end:\n"
        "        time.sleep(0.05)\n"
        "    return real(*args)\n"
        "runs.predictions_table = predictions_table\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    output_dir = tmp_path / "out"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    argv = [str(flow_recipe), "--output_dir", str(output_dir)]
    done = subprocess.run(
        [*launcher, program, *argv], env=environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    by_rank = {path.name: path.read_text().splitlines() for path in log.iterdir()}
    assert set(by_rank) == {"0", "1"}
    assert sorted(by_rank["0"] + by_rank["1"]) == sorted(f"s{n} {seed}" for n in (1, 2, 3) for seed in (42, 43))
    assert json.loads((output_dir / "results.json").read_text())["num_processes"] == 2
    assert (output_dir / "predictions.csv").read_bytes() == (flow_run / "predictions.csv").read_bytes()
    assert (output_dir / "model" / "config.json").is_file()


# --- the command ---


@pytest.fixture(scope="module")
def video():
    generator = np.random.default_rng(0)
    face = generator.integers(0, 155, (24, 24, 3))
    return [Image.fromarray((face + 20 * step).astype(np.uint8)) for step in range(5)]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("picture", {}),
        ("video", APPEARANCE),
        ("video", SEQUENCE),
        ("frames", {}),
    ],
    ids=["flow pictures", "ready matrices", "ready sequences", "frames"],
)
def test_a_saved_dataset_trains_from_the_command_and_its_model_opens_as_a_pipeline(
    make_clips, tmp_path, capsys, video, kind, options
):
    make_clips(kind).save_to_disk(tmp_path / "clips")
    output_dir = tmp_path / "out"
    argv = argv_of(output_dir, dataset=tmp_path / "clips", num_train_epochs=1, folds="s1", **options)
    assert main(["train", *argv]) == 0
    assert "pooled" in capsys.readouterr().out
    labels = pipeline("micro-expression-classification", model=str(output_dir / "model"))(video)
    assert sorted(label["label"] for label in labels) == CLASSES
    assert sum(label["score"] for label in labels) == pytest.approx(1)


def test_the_saved_model_is_the_one_trained_on_all_clips_with_its_processor(make_clips, tmp_path, trained, video):
    make_clips("frames").save_to_disk(tmp_path / "clips")
    argv = argv_of(tmp_path / "out", dataset=tmp_path / "clips", protocol="none", **APPEARANCE)
    assert main(["train", *argv]) == 0
    ((trainer, _),) = trained
    opened = pipeline("micro-expression-classification", model=str(tmp_path / "out" / "model"))
    assert torch.equal(weights_of(trainer), torch.cat([part.detach().flatten() for part in opened.model.parameters()]))
    assert torch.equal(trainer.model.rcn.pixel_index, opened.model.rcn.pixel_index)
    pixels = trainer.processor(video, return_tensors="pt")["pixel_values_videos"]
    with torch.no_grad():
        scores = trainer.model.eval()(pixels).logits[0].softmax(0).tolist()
    expected = dict(zip(CLASSES, scores, strict=True))
    assert {label["label"]: label["score"] for label in opened(video)} == pytest.approx(expected, abs=1e-6)


def test_the_model_folder_is_whole_or_absent_and_an_older_one_stays_until_then(
    make_clips, tmp_path, capsys, monkeypatch
):
    make_clips("flow").save_to_disk(tmp_path / "clips")
    output_dir = tmp_path / "out"
    argv = argv_of(output_dir, dataset=tmp_path / "clips", protocol="none", num_train_epochs=1)

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    def contents():
        timed = ("README.md", "results.json")  # say how long it took
        return {path.name: path.read_bytes() for path in (output_dir / "model").iterdir() if path.name not in timed}

    with monkeypatch.context() as patch:
        patch.setattr(RcnVideoProcessor, "save_pretrained", full_disk)  # after the weights
        assert main(["train", *argv]) == 2
    assert "No space left on device" in capsys.readouterr().err
    left = [path.name for path in output_dir.iterdir()]
    assert not [name for name in left if "model" in name]
    assert main(["train", *argv]) == 0
    whole = contents()
    assert {"config.json", "model.safetensors", "video_preprocessor_config.json"} <= set(whole)
    with monkeypatch.context() as patch:
        patch.setattr(RcnVideoProcessor, "save_pretrained", full_disk)
        assert main(["train", *argv]) == 2
    assert contents() == whole
    (output_dir / "model" / "config.json").write_text("{}")
    assert main(["train", *argv]) == 0
    assert contents() == whole
    assert sorted(path.name for path in output_dir.iterdir()) == sorted([*left, "model"])


@pytest.mark.parametrize("found", ["nothing", "a folder of other things", "splits"])
def test_a_dataset_that_cannot_be_opened_is_explained_in_one_line(make_clips, tmp_path, capsys, found):
    folder = tmp_path / "clips"
    if found == "splits":
        DatasetDict({"first": make_clips("flow"), "second": make_clips("flow")}).save_to_disk(folder)
    elif found == "a folder of other things":
        folder.mkdir()
        (folder / "readme.txt").write_text("no dataset")
    capsys.readouterr()
    assert main(["train", *argv_of(tmp_path / "out", dataset=folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mer-hf: ")
    assert str(folder) in line
    assert {"nothing": "no corpus and no folder", "splits": "first, second"}.get(found, "no saved dataset") in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda clips: clips.remove_columns("subject"), {}, "'subject'"),
        (lambda clips: clips.select([]), {}, "empty or damaged"),
        (lambda clips: clips, {"model": {"grid_size": "five"}}, "grid_size"),
        (lambda clips: clips, {"folds": "s7"}, "no fold 's7'"),
    ],
)
def test_what_a_run_refuses_is_explained_with_status_2(make_clips, tmp_path, capsys, change, options, message):
    change(make_clips("flow")).save_to_disk(tmp_path / "clips")
    capsys.readouterr()
    assert main(["train", *argv_of(tmp_path / "out", dataset=tmp_path / "clips", **options)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("mer-hf: ")
    assert message in printed.err
    assert "Traceback" not in printed.err
