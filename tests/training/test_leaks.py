"""A run that learns from those whom it holds out is found out, and one that does not is left in peace."""

import json

import numpy as np
import pytest
import torch
import yaml
from datasets import load_from_disk

from mer_hf.commands import main
from mer_hf.protocols import Fold
from mer_hf.training import leaks, runs
from mer_hf.training.leaks import audit_run, recipe_of_run, shuffle_within_subjects, with_other_clips
from mer_hf.training.plan import RunError
from mer_hf.training.trainer import Predicted
from tiny import OPTIONS

LEARNT, KNOWN = "held-out clips learnt from", "held-out labels known"


@pytest.fixture(scope="module")
def folder(make_clips, tmp_path_factory):
    """Of a run, its dataset next to it."""
    folder = tmp_path_factory.mktemp("audited")
    make_clips("flow", subjects=("s1", "s2", "s3", "s4"), repeats=2).save_to_disk(folder / "clips")
    recipe = {**OPTIONS, "dataset": str(folder / "clips"), "seeds": 2, "average_seeds": True, "control": True}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["train", str(folder / "recipe.yaml"), "--output-dir", str(folder / "out")]) == 0
    return folder / "out"


def kinds(audit):
    return [finding.kind for finding in audit.findings]


def test_an_honest_run_has_nothing_to_be_found(folder, capsys):
    before = sorted(path.name for path in folder.rglob("*"))
    assert main(["audit", str(folder)]) == 0
    assert "24 clips, the pictures of 24 compared: nothing found" in capsys.readouterr().out
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_a_run_in_the_bf16_of_a_processor_is_trained_again_on_the_processor(folder, tmp_path):
    results = json.loads((folder / "results.json").read_text())
    results["recipe"] |= {"bf16": True, "use_cpu": False}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert recipe_of_run(tmp_path)[1].bf16


def test_what_depends_on_held_out_labels_is_found_by_the_weights(folder, monkeypatch, capsys):
    real = leaks.train

    def weighted_by_all(plan, clips, seed, *args):
        return real(plan, clips, seed + sum(row * label for row, label in enumerate(plan.dataset["label"])), *args)

    monkeypatch.setattr(leaks, "train", weighted_by_all)
    monkeypatch.setattr(leaks, "shuffled_labels", lambda *args: [])
    assert main(["audit", str(folder), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["kind"] == LEARNT
    assert "fold s1 has other weights" in finding["text"]


def test_who_knows_the_held_out_labels_scores_too_well_on_shuffled_ones(folder, monkeypatch):
    def knows(model, clips, *args):
        return Predicted(torch.eye(3)[[clip.label for clip in clips]], None)

    monkeypatch.setattr(runs, "predict", knows)
    monkeypatch.setattr(leaks, "changed_clips", lambda *args: [])
    audit = audit_run(folder)
    assert kinds(audit) == [KNOWN]
    assert "reach UF1 1.000" in audit.findings[0].text


def test_a_training_that_does_not_repeat_itself_says_nothing(folder, monkeypatch):
    real, calls = leaks.train, []

    def other_each_time(plan, clips, seed, *args):
        calls.append(seed)
        return real(plan, clips, seed + len(calls), *args)

    monkeypatch.setattr(leaks, "train", other_each_time)
    with pytest.raises(RunError, match="other weights twice here; say --use-cpu true"):
        audit_run(folder)


def test_the_names_of_a_run_are_looked_at_too_and_alone_where_it_shall_be_quick(folder, monkeypatch, capsys):
    monkeypatch.setattr(leaks, "audit_run", None)
    assert main(["audit", str(folder), "--quick"]) == 0
    assert "24 clips, no pictures compared: nothing found" in capsys.readouterr().out


def test_labels_are_shuffled_within_subjects(folder):
    clips = load_from_disk(folder.parent / "clips")
    shuffled = shuffle_within_subjects(clips)
    assert shuffled["clip_id"][:] == clips["clip_id"][:]
    assert shuffled.features == clips.features
    assert shuffled["label"][:] != clips["label"][:]
    for subject in set(clips["subject"]):
        rows = [n for n, name in enumerate(clips["subject"]) if name == subject]
        assert sorted(shuffled["label"][n] for n in rows) == sorted(clips["label"][n] for n in rows)


def test_held_out_clips_are_replaced_and_no_others(folder):
    clips = load_from_disk(folder.parent / "clips")
    fold = Fold("s2", (*range(6), *range(12, 24)), tuple(range(6, 12)))
    changed = with_other_clips(clips, fold)
    assert all(changed[name][:] == clips[name][:] for name in ("clip_id", "subject", "corpus"))
    for row in range(24):
        same = np.array_equal(changed[row]["flow"], clips[row]["flow"])
        assert same == (row in fold.train)
        assert (changed["label"][row] == clips["label"][row]) == (row in fold.train)


def test_what_was_run_is_what_is_audited(folder):
    recipe, arguments = recipe_of_run(folder)
    assert (recipe.dataset, recipe.seeds, recipe.average_seeds) == (str(folder.parent / "clips"), 1, False)
    assert recipe.config_fields == OPTIONS["model"]
    names = ("learning_rate", "num_train_epochs", "per_device_train_batch_size")
    assert {name: getattr(arguments, name) for name in names} == {name: OPTIONS[name] for name in names}


@pytest.mark.parametrize(
    ("results", "message"),
    [("{", "holds no run that trained"), ('{"scored": {}}', "no run"), ('{"recipe": {"protocol": "none"}}', "nobody")],
)
def test_what_is_no_run_that_held_somebody_out_is_refused(tmp_path, results, message):
    (tmp_path / "results.json").write_text(results)
    with pytest.raises(RunError, match=message):
        audit_run(tmp_path)


def test_predictions_of_a_saved_model_are_audited_by_their_names(tmp_path, capsys):
    rows = ["clip_id,subject,label,predicted", "a,s1,x,x", "b,s2,y,y", "c,s2,x,x", "d,s1,y,y"]
    (tmp_path / "predictions.csv").write_text("\n".join(rows))
    (tmp_path / "results.json").write_text('{"scored": {"model": "default"}}')
    assert main(["audit", str(tmp_path)]) == 0
    assert "4 clips, no pictures" in capsys.readouterr().out
