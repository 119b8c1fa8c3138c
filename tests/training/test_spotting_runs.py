"""Training the network that finds expressions on recordings: who is held out, what is kept, what is refused."""

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset

import mer_hf
from mer_hf.analysis.recordings import beside_truth
from mer_hf.commands import main
from mer_hf.errors import MerHfError
from mer_hf.evaluation.spotted import score_spotted
from mer_hf.rcn.spotting_rcn import RcnForSpotting
from mer_hf.training import spotting_runs
from mer_hf.training.recipe import RecipeError, parse_recipe
from mer_hf.training.recordings import load_motion, motion_path
from mer_hf.training.spotting_runs import best_threshold, train_on_recordings, watched_by
from recorded import recorded_people
from recordings_replicas import rendered_casme_squared
from tiny import weights_of

TINY = {"backbone_kwargs": {"width": 4}, "moment_size": 6, "hidden_size": 8, "offsets": [-4, -2, -1, 0, 1, 2, 4, 8]}
PICTURE = cv2.imencode(".png", np.full((32, 32), 90, np.uint8))[1].tobytes()


def options(folder, **more):
    given = {
        **{"task": "spotting", "dataset": "smic-e", "output_dir": folder, "use_cpu": True, "model": json.dumps(TINY)},
        **{"max_steps": 2, "per_device_train_batch_size": 4, "warmup_steps": 2, "learning_rate": 0.01},
        **more,
    }
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


@pytest.fixture
def recordings(tmp_path):
    return written(tmp_path / "frames", recorded_people(3, 8.0))


def written(folder, people):
    """A Dataset of recordings on disk, whose motion is known already: that of the pictures themselves is nothing."""
    rows = []
    for number, (row, moments, _) in enumerate(people):
        (folder / str(number)).mkdir(parents=True, exist_ok=True)
        paths = [folder / str(number) / f"{index}.png" for index in (1, 2)]
        for path in paths:
            path.write_bytes(PICTURE)
        rows.append(row | {"frames": [{"path": str(path), "bytes": None} for path in paths]})
        kept = motion_path(rows[-1])
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, moments)
    return Dataset.from_list(rows)


def run(folder, recordings, **more):
    return train_on_recordings(*parse_recipe(options(folder, **more)), recordings)


@pytest.fixture
def trained(monkeypatch):
    """The weights of every network that a run trains, in their order."""
    weights, real = [], spotting_runs.train_side

    def train_side(*args):
        model = real(*args)
        weights.append(weights_of(model))
        return model

    monkeypatch.setattr(spotting_runs, "train_side", train_side)
    return weights


def test_those_who_are_held_out_have_no_part_in_a_fold(recordings, tmp_path, trained):
    whole = run(tmp_path / "one", recordings, folds="smic/s3,smic/s1")
    others = recorded_people(3, 8.0, seed=9)
    changed = [*recorded_people(3, 8.0)[:2], others[2]]
    run(tmp_path / "two", written(tmp_path / "changed", changed), folds="smic/s3,smic/s1")
    third, first, everybody, same, differs, _ = trained
    assert torch.equal(third, same) and not torch.equal(first, differs)
    assert len({tuple(each.tolist()) for each in (first, third, everybody)}) == 3
    fold = [(tmp_path / run / "folds" / "smic" / "s3" / "seed-42.json").read_text() for run in ("one", "two")]
    kept = [{name: json.loads(text)[name] for name in ("curve", "threshold")} for text in fold]
    assert kept[0] == kept[1] and set(whole.thresholds) == {"smic/s1", "smic/s3", "all recordings"}


def test_a_run_that_was_stopped_goes_on_where_it_was(recordings, tmp_path, trained):
    whole = run(tmp_path / "out", recordings, folds="smic/s1,smic/s2")
    kept = sorted((tmp_path / "out").rglob("seed-*.json"))
    before = [path.stat().st_mtime_ns for path in kept]
    kept[1].unlink()
    again = run(tmp_path / "out", recordings, folds="smic/s1,smic/s2")
    assert len(trained) == 3 + 2 and torch.equal(trained[1], trained[3]) and torch.equal(trained[2], trained[4])
    assert kept[0].stat().st_mtime_ns == before[0]
    assert again.scores == whole.scores and again.thresholds == whole.thresholds
    with pytest.raises(MerHfError, match="max_steps was 2, is 4"):
        run(tmp_path / "out", recordings, max_steps=4)


def test_what_is_written_is_scored_again_by_the_files_alone(recordings, tmp_path, monkeypatch, capsys):
    def found_in(rows, spot):
        events = [(row["recording_id"], event) for row in rows for event in row["events"]]
        found = [
            {"video": video, **{name: event[name] for name in ("onset", "apex", "offset")}, "score": score}
            for place, (video, event) in enumerate(events)
            for score in [1.0 if place % 2 else 0.0]
        ]
        return pd.DataFrame(found).assign(type="micro", predicted="others")

    monkeypatch.setattr(spotting_runs, "found_in", found_in)
    outcome = run(tmp_path / "out", recordings)
    assert outcome.save(tmp_path / "out") == tmp_path / "out"
    assert main(["scores", str(tmp_path / "out/spotted.csv"), "--truth", str(tmp_path / "out/truth.csv")]) == 0
    total = sum(len(row["events"]) for row in recordings)
    found = sum(len(row["events"]) // 2 for row in recordings)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["spotted"]["per_type"]["all"]["tp"] == found and results["subjects"] == 3
    assert f"{found / total:6.4f}" in capsys.readouterr().out
    assert results["recipe"]["start"] == "none" and results["folds"] == 3 and "strs" not in results["spotted"]
    model = RcnForSpotting.from_pretrained(tmp_path / "out" / "model")
    assert model.config.threshold == results["thresholds"]["all recordings"]
    assert model.config.training_subjects == ["smic/s1", "smic/s2", "smic/s3"]


def test_nobody_held_out_gives_a_model_and_no_scores(recordings, tmp_path):
    outcome = run(tmp_path / "out", recordings, protocol="none")
    assert (outcome.watched, outcome.scores, outcome.record["folds"]) == (None, None, 0)
    outcome.save(tmp_path / "out")
    assert not (tmp_path / "out" / "spotted.csv").exists() and (tmp_path / "out" / "model" / "config.json").exists()


def test_the_network_in_the_package_is_gone_on_with_and_those_it_knows_are_not_held_out(recordings, tmp_path):
    outcome = run(tmp_path / "out", recordings, model=None, folds="smic/s1", max_steps=1)
    assert outcome.record["recipe"]["start"] == "default" and "began as default" in outcome.model.config.trained_on
    start = RcnForSpotting.from_pretrained(mer_hf.hub.packaged.SPOTTER)
    moved = (weights_of(outcome.model) - weights_of(start)).abs()
    assert 0 < moved.max() < 0.1
    norm = outcome.model.layer.recurrent_norm[0]
    assert torch.equal(norm.running_mean, start.layer.recurrent_norm[0].running_mean)
    saved = str(outcome.save(tmp_path / "out") / "model")
    with pytest.raises(MerHfError, match="trained on 3 of the subjects that are held out here, such as smic/s1"):
        run(tmp_path / "next", recordings, model=None, start=saved)


def test_the_threshold_is_the_score_with_the_best_f1():
    generator, people = np.random.default_rng(0), recorded_people(3, 20.0)
    rows = [each.row for each in people]
    found = [
        {"video": row["recording_id"], "onset": onset, "apex": onset + 9, "offset": onset + 60, "score": score}
        for row in rows
        for onset, score in [
            *((event["onset"] + 5, generator.normal(0.6, 0.1)) for event in row["events"]),
            *((int(onset), generator.normal(0.4, 0.1)) for onset in generator.integers(1, 1900, 8)),
        ]
    ]
    found = pd.DataFrame(found).assign(type="micro")
    tables = beside_truth(found.assign(predicted="others"), rows)

    def f1(least):
        return score_spotted(tables.found[tables.found.score >= least], tables.truth)["per_type"]["all"]["f1"]

    chosen = best_threshold(tables, 0.9)
    assert f1(chosen) == max(map(f1, found.score)) > 0
    assert best_threshold(tables._replace(found=tables.found[:0]), 0.9) == 0.9


def test_a_padded_batch_of_spans_is_watched_as_each_alone():
    torch.manual_seed(0)
    model = RcnForSpotting(spotting_runs.RcnSpottingConfig(**TINY)).eval()
    model.outputs.bias.data.fill_(1.0)
    people = recorded_people(3, 12.0)
    people[1] = people[1]._replace(moments=people[1].moments[:120])
    together = watched_by(model, people)
    alone = pd.concat([watched_by(model, [each]) for each in people])
    columns = ["video", "onset"]
    for each in (together, alone):
        each["score"] = each["score"].round(4)
    early = [each[each.offset < 300].sort_values(columns).to_numpy().tolist() for each in (together, alone)]
    assert early[0] == early[1] and len(early[0]) > 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"jitter": False}, "jitter would have no effect: --task spotting learns from long recordings"),
        ({"seeds": 2}, "seeds would have no effect"),
        ({"num_train_epochs": 3}, "num_train_epochs would have no effect: with --task spotting hold .*max_steps"),
        ({"lr_scheduler_type": "cosine"}, "lr_scheduler_type would have no effect"),
        ({"protocol": "lovo"}, "--task spotting holds out by --protocol loso, kfold or none, not lovo"),
        ({"start": "default"}, "model would have no effect: the configuration is that of default"),
        ({"task": "spoting"}, "spoting"),
        ({"task": "classification", "model": None, "start": None, "drawn_fields": 3}, "drawn_fields would have no eff"),
    ],
)
def test_options_of_the_other_task_are_refused(given, words, tmp_path):
    with pytest.raises(RecipeError, match=words):
        parse_recipe(options(tmp_path, **given))


def test_what_cannot_be_learnt_from_is_refused_with_words(recordings, tmp_path, capsys):
    assert main(["train", *options(tmp_path / "out", dataset="casme2", data_dir=tmp_path)]) == 2
    assert "there are no recordings 'casme2'; there are samm-lv" in capsys.readouterr().err
    blind = written(tmp_path / "blind", [each._replace(moments=each.moments[:0]) for each in recorded_people(2, 12.0)])
    with pytest.raises(MerHfError, match="no face was seen in the 1 recordings of the training side"):
        run(tmp_path / "out", blind)
    with pytest.raises(MerHfError, match="There is no fold 'smic/s9'"):
        run(tmp_path / "out", recordings, folds="smic/s9")
    with pytest.raises(MerHfError, match="takes 30 moments a second; only 25"):
        run(tmp_path / "out", recordings, model=json.dumps({**TINY, "rate": 30}))
    with pytest.raises(RecipeError, match="task is spotting: it learns from long recordings, by `mer-hf train`"):
        mer_hf.train(parse_recipe(options(tmp_path / "out"))[0], output_dir=tmp_path / "out")


@pytest.mark.slow
def test_a_small_network_learns_from_some_people_what_others_show():
    network = {**TINY, "backbone_kwargs": {"width": 8}, "moment_size": 8, "hidden_size": 12}
    given = {"max_steps": 160, "per_device_train_batch_size": 8, "warmup_steps": 80, "model": json.dumps(network)}
    people, losses = recorded_people(24, 12.0), []
    plan = spotting_runs.make_plan(
        *parse_recipe(options("unused", **given)), Dataset.from_list([each.row for each in people])
    )
    model = spotting_runs.trained(plan, people[:18], 0, losses)
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:10])
    found = watched_by(model, people[18:])
    apexes = {each.row["recording_id"]: [event["apex"] for event in each.row["events"]] for each in people}
    near = [min(abs(row.apex - apex) for apex in apexes[row.video]) <= 20 for row in found.itertuples()]
    events = sum(len(each.row["events"]) for each in people[18:])
    assert sum(near) >= 0.7 * events
    assert found.score[near].mean() > found.score[np.invert(near)].mean() + 0.1


@pytest.mark.slow
def test_recordings_on_disk_are_trained_on_and_tested_by_one_command(tmp_path, capsys):
    copy = rendered_casme_squared(tmp_path / "CASME_sq", people=2, seconds=6, events=2)
    given = {"dataset": "casme_squared", "data_dir": copy, "model": None, "max_steps": 1, "num_proc": 2}
    argv = options(tmp_path / "out", **given)
    assert main(["prepare", *argv]) == 0
    assert "the motion of 2 recordings of casme_squared is prepared" in capsys.readouterr().out
    kept = load_motion(mer_hf.load_recordings("casme_squared", copy))
    assert all(len(each.moments) > 100 for each in kept)
    assert main(["train", *argv]) == 0
    said = capsys.readouterr().out
    assert "2 recordings of 2 subjects, 0.2 minutes, 4 events" in said and "STRS" in said
    shutil.rmtree(copy / "rawpic" / "s15")
    assert main(["train", *argv]) == 2
