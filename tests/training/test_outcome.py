"""What a run writes, and that every figure of it is one computation."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import load_from_disk

from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.training import outcome as outcomes
from mer_hf.training.outcome import claim, data_record, predictions_table, recipe_record
from mer_hf.training.plan import RunError
from mer_hf.training.runs import score
from mer_hf.training.trainer import Predicted
from tiny import (
    CLASSES,
    OPTIONS,
    SCORES,
    assert_scored,
    plan_of,
    planned,
    recipe_of,
    results_of,
    run_in,
    saved_model,
    second_opinion,
)


def predictions_of(output_dir):
    return pd.read_csv(output_dir / "predictions.csv", dtype={"subject": str}, keep_default_na=False)


# --- what a run writes ---


def test_predictions_have_one_row_for_each_clip_and_seed_with_the_clips_own_values(flow_run, flow_folder):
    table = predictions_of(flow_run)
    assert list(table) == ["clip_id", "corpus", "subject", "fold", "seed", "label", "predicted", *SCORES]
    clips = {row["clip_id"]: row for row in load_from_disk(flow_folder).remove_columns("flow")}
    assert Counter(zip(table.clip_id, table.seed, strict=True)) == Counter(
        (clip_id, seed) for seed in (42, 43) for clip_id in clips
    )
    for row in table.itertuples():
        clip = clips[row.clip_id]
        assert (row.corpus, row.subject, row.label) == (clip["corpus"], clip["subject"], CLASSES[clip["label"]])
        assert row.fold == row.subject
    np.testing.assert_allclose(table[SCORES].sum(axis=1), 1, atol=1e-6)
    assert (table[SCORES].to_numpy() >= 0).all()
    assert [CLASSES[index] for index in table[SCORES].to_numpy().argmax(1)] == list(table.predicted)


def test_results_are_the_scores_of_the_predictions(flow_run):
    table = predictions_of(flow_run)
    results = results_of(flow_run)
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
    results = results_of(flow_run)
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
    assert not any(name.startswith(("hub_", "push")) for name in results["recipe"])


def test_predictions_keep_the_places_of_the_rows_and_the_spelling_of_the_names(make_clips):
    dataset = make_clips("flow").select([4, 0, 8])
    logits = torch.tensor([[0.0, 3, 1], [5, 1, 1], [9, 1, 2]])
    table = predictions_table(dataset, Predicted(logits, None), "a fold", 3)
    assert list(table.clip_id) == list(dataset["clip_id"])
    assert list(table.predicted) == ["positive", "negative", "negative"]
    np.testing.assert_allclose(table[SCORES], logits.double().softmax(1), atol=1e-8)
    assert set(table.fold) == {"a fold"}


# --- what is kept, and where ---


@pytest.fixture
def scored(make_clips):
    return score(saved_model(), make_clips("flow"))


def test_saved_files_are_the_outcome(scored, tmp_path):
    assert scored.save(tmp_path / "a" / "folder") == tmp_path / "a" / "folder"
    folder = tmp_path / "a" / "folder"
    assert {path.name for path in folder.iterdir()} == {"recipe.json", "predictions.csv", "results.json"}
    assert results_of(folder) == json.loads(json.dumps(scored.results))
    pd.testing.assert_frame_equal(predictions_of(folder), scored.predictions)
    scored.save(str(folder))
    assert not scored.is_trained


def test_a_folder_of_another_run_is_refused_with_what_differs(tmp_path):
    digest = claim(tmp_path, {"a": 1, "b": {"c": [1, 2]}, "d": "x"})
    assert claim(tmp_path, {"d": "x", "b": {"c": (1, 2)}, "a": 1}) == digest
    with pytest.raises(RunError, match=r"holds another run \(a was 1, is 2; e was None, is 3\)") as refused:
        claim(tmp_path, {"a": 2, "b": {"c": [1, 2]}, "d": "x", "e": 3})
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"3", b"[1]"])
def test_a_claim_that_cannot_be_read_is_refused(tmp_path, content):
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(RunError, match=r"recipe\.json cannot be read: .*Delete the folder, or name another one"):
        claim(tmp_path, {"a": 1})


def test_a_model_folder_is_whole_or_absent_and_notes_by_hand_stay(make_clips, tmp_path, monkeypatch):
    outcome = run_in(tmp_path / "run", make_clips("flow"), protocol="none")
    folder = tmp_path / "saved"

    def contents():
        return {path.name: path.read_bytes() for path in (folder / "model").iterdir()}

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RcnVideoProcessor, "save_pretrained", full_disk)  # after the weights
        with pytest.raises(OSError, match="No space"):
            outcome.save(folder)
    assert not [path for path in folder.iterdir() if "model" in path.name]
    outcome.save(folder)
    (folder / "model" / "notes.md").write_text("by hand")
    outcome.save(folder)
    assert {"config.json", "model.safetensors", "video_preprocessor_config.json", "README.md"} <= set(contents())
    whole = contents()
    assert whole["notes.md"] == b"by hand"
    assert b"by hand" in whole["README.md"]
    with monkeypatch.context() as patch:
        patch.setattr(RcnVideoProcessor, "save_pretrained", full_disk)
        with pytest.raises(OSError, match="No space"):
            outcome.save(folder)
    assert contents() == whole


# --- what a record says ---


def test_a_record_holds_the_recipe_and_what_differs_from_the_defaults(tmp_path):
    options = {"seeds": 2, "hub_model_id": "u/n", "weight_decay": 0.1, "bf16": False}
    record = recipe_record(*recipe_of(tmp_path, **options))
    assert (record["seeds"], record["seed"], record["weight_decay"]) == (2, 42, 0.1)
    assert record["model"] == OPTIONS["model"]
    assert not {"hub_model_id", "adam_beta1", "hub_token"} & set(record)
    json.dumps(record)


@pytest.mark.parametrize(
    ("options", "label_set"),
    [
        ({"dataset": "casme2"}, "3class"),
        ({"dataset": "casme2", "label_set": "5class"}, "5class"),
        ({"dataset": "some/clips"}, None),
        ({"dataset": "some/clips", "label_set": "native"}, "native"),
    ],
)
def test_a_record_names_the_label_set_of_a_corpus(tmp_path, options, label_set):
    assert recipe_record(*recipe_of(tmp_path, **options))["label_set"] == label_set


def test_counts_are_of_clips_subjects_classes_and_corpora(make_clips):
    record = data_record(make_clips("flow", subjects=("a", "b")).select(range(4)))
    assert record["counts"] == {
        "clips": 4,
        "subjects": 2,
        "per_class": {"negative": 2, "positive": 1, "surprise": 1},
        "per_corpus": {"even": 1, "odd": 3},
    }
    assert set(record["data"]) == {"description", "license", "citation", "homepage"}


# --- other scores ---


def test_the_control_is_fitted_on_the_training_side_of_each_fold(make_clips, tmp_path, monkeypatch):
    dataset = make_clips("frames", repeats=2)
    fits = []
    real = outcomes.control_predictions

    def control_predictions(flow, labels, held_out):
        fits.append((flow, labels, held_out))
        return real(flow, labels, held_out)

    monkeypatch.setattr(outcomes, "control_predictions", control_predictions)
    outcome = run_in(tmp_path / "out", dataset, control=True, seeds=2)
    _, clips = planned(tmp_path, dataset)
    apexes = [clip.content.motion[len(clip.content.motion) // 2] for clip in clips]
    told = []
    for subject, (flow, labels, held_out) in zip(["s1", "s2", "s3"], fits, strict=True):
        inside = np.array([name == subject for name in dataset["subject"]])
        np.testing.assert_array_equal(flow, np.stack(apexes)[~inside])
        np.testing.assert_array_equal(held_out, np.stack(apexes)[inside])
        np.testing.assert_array_equal(labels, np.array(dataset["label"])[~inside])
        told += [CLASSES[label] for label in real(flow, labels, held_out)]
    rows = pd.DataFrame({"label": [CLASSES[label] for label in dataset["label"]], "predicted": told})
    assert_scored(outcome.scores["control"], rows)
    assert plan_of(tmp_path, dataset).config.num_labels == 3
