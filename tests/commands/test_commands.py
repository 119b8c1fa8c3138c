import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version

import av
import numpy as np
import pytest
import torch
from datasets import load_from_disk
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, recall_score

from mer_hf import RcnConfig, RcnForVideoClassification, RcnVideoProcessor
from mer_hf.commands import _load_dataset, main
from mer_hf.hub.folder import save_model_folder
from mer_hf.training.clips import samples
from mer_hf.training.recipe import Recipe

COMMANDS = ("corpora", "synthesize", "prepare", "train", "evaluate", "predict", "inspect", "push")


def test_help_and_version_answer_without_loading_anything():
    program = (
        "import sys; from mer_hf.commands import main\ntry: main(sys.argv[1:])\n"
        "finally: assert not {'torch', 'transformers', 'datasets', 'pandas', 'numpy'} & set(sys.modules)"
    )
    answers = {}
    for option in ("--version", "--help"):
        done = subprocess.run([sys.executable, "-c", program, option], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answers[option] = done.stdout
    assert answers["--version"].strip() == f"mer-hf {version('mer-hf')}"
    assert all(command in answers["--help"] for command in COMMANDS)


@pytest.mark.parametrize("command", ["synthesize", "evaluate", "predict"])
def test_every_command_has_an_example_that_its_parser_takes(command, capsys, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    example = capsys.readouterr().out.split("example:")[1].split()
    assert example[:2] == ["mer-hf", command]
    monkeypatch.setattr(f"mer_hf.commands._{command}", lambda arguments: 0)
    assert main(example[1:]) == 0


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["predict"], ["synthesize"]])
def test_a_wrong_command_line_has_status_2_and_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: mer-hf" in capsys.readouterr().err


# --- synthesize ---


def test_synthesize_writes_a_corpus(tmp_path, capsys):
    folder = tmp_path / "corpus"
    options = ["--subjects", "1", "--clips", "1", "--fps", "50", "--size", "64", "--seed", "3", "--num-proc", "1"]
    assert main(["synthesize", str(folder), *options]) == 0
    assert str(folder) in capsys.readouterr().out
    pictures = sorted(folder.rglob("*.jpg"))
    assert pictures
    with Image.open(pictures[0]) as picture:
        assert picture.size == (64, 64)
    assert main(["synthesize", str(folder), *options]) == 2  # it is not written over
    assert "exists" in capsys.readouterr().err


def test_synthesize_explains_a_wrong_number(tmp_path, capsys):
    assert main(["synthesize", str(tmp_path / "corpus"), "--subjects", "0"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mer-hf: ")
    assert "subjects" in error


# --- evaluate ---

CLASSES = ["negative", "positive", "surprise"]


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    return [
        {
            "clip_id": f"{corpus}/sub01/clip{number}",
            "corpus": corpus,
            "subject": f"{corpus}/sub01",
            "fold": f"{corpus}/sub01",
            "seed": seed,
            "label": CLASSES[number % 3],
            "predicted": CLASSES[number % 3] if generator.random() < 0.6 else CLASSES[generator.integers(3)],
            **{f"score_{name}": 0.5 for name in CLASSES},
        }
        for seed in (10, 2)
        for corpus, clips in (("casme2", 20), ("samm", 15))
        for number in range(clips)
    ]


@pytest.fixture
def evaluate(tmp_path, capsys):
    def evaluate(rows):
        path = tmp_path / "predictions.csv"
        lines = [",".join(rows[0])] + [",".join(str(value) for value in row.values()) for row in rows]
        path.write_text("\n".join(lines) + "\n")
        status = main(["evaluate", str(path)])
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err

    return evaluate


def second_opinion(rows):
    labels, predicted = [row["label"] for row in rows], [row["predicted"] for row in rows]
    return [
        f1_score(labels, predicted, average="macro"),
        recall_score(labels, predicted, average="macro"),
        accuracy_score(labels, predicted),
    ]


def printed_scores(lines, name):
    (line,) = [line for line in lines if line.startswith(f"{name} ")]
    return [float(value) for value in line.split()[-3:]]


def test_evaluate_prints_the_scores_of_all_of_each_corpus_and_of_each_seed(evaluate, rows):
    status, lines, _ = evaluate(rows)
    assert status == 0
    seeds = [[row for row in rows if row["seed"] == seed] for seed in (10, 2)]
    expected = {
        "pooled": second_opinion(rows),
        "corpus casme2": second_opinion([row for row in rows if row["corpus"] == "casme2"]),
        "corpus samm": second_opinion([row for row in rows if row["corpus"] == "samm"]),
        "seed 10": second_opinion(seeds[0]),
        "seed 2": second_opinion(seeds[1]),
        "mean over seeds": np.mean([second_opinion(seed) for seed in seeds], axis=0),
    }
    for name, scores in expected.items():
        np.testing.assert_allclose(printed_scores(lines, name), scores, atol=6e-5)
    header = next(index for index, line in enumerate(lines) if line.startswith("true \\ predicted"))
    assert lines[header].split()[3:] == CLASSES
    for label, line in zip(CLASSES, lines[header + 1 :], strict=True):
        counts = [sum(row["label"] == label and row["predicted"] == other for row in rows) for other in CLASSES]
        assert line.split() == [label, *map(str, counts)]


def test_evaluate_needs_three_columns_only(evaluate, rows):
    rows = [{name: row[name] for name in ("clip_id", "label", "predicted")} for row in rows if row["seed"] == 2]
    status, lines, _ = evaluate(rows)
    assert status == 0
    np.testing.assert_allclose(printed_scores(lines, "pooled"), second_opinion(rows), atol=6e-5)
    assert not any(line.startswith("corpus") for line in lines)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: [{"clip_id": "a", "label": "b"}], "lacks the columns predicted"),
        (lambda rows: [*rows, rows[0]], r"line 72: clip casme2/sub01/clip0 is there twice for seed 10"),
        (lambda rows: [{**rows[0], "predicted": ""}], "line 2: one of"),
        (lambda rows: [{**rows[0], "label": "anger"}], "the class anger has no score column"),
    ],
)
def test_evaluate_explains_what_is_wrong_with_a_table(evaluate, rows, spoil, message):
    status, lines, error = evaluate(spoil(rows))
    assert (status, lines) == (2, [])
    assert error.startswith("mer-hf: ")
    assert message in error


def test_evaluate_explains_what_is_wrong_with_a_file(tmp_path, capsys):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("clip_id,label,predicted\n")
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    for name, message in [("none.csv", "No such file"), ("empty.csv", "not a CSV"), ("header.csv", "no rows")]:
        assert main(["evaluate", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "binary.csv")]) == 2
    assert "not a CSV" in capsys.readouterr().err


# --- prepare ---


def test_what_was_prepared_is_what_training_finds(make_clips, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "clips"
    make_clips("frames").save_to_disk(folder)
    options = ["--num-proc", "1", "--processor", '{"align": "none"}', "--model", '{"image_size": [24, 24]}']
    assert main(["prepare", str(folder), *options]) == 0
    said = capsys.readouterr().out
    assert "9 clips of" in said
    assert str(folder) in said

    def prepared_anew(*args, **kwargs):
        raise AssertionError("what was prepared is not found")

    monkeypatch.setattr(RcnVideoProcessor, "clip_sequence", prepared_anew)
    assert main(["prepare", str(folder), *options]) == 0
    size = {"height": 24, "width": 24}
    assert len(samples(load_from_disk(folder), RcnVideoProcessor(size=size, align="none"))) == 9
    with pytest.raises(AssertionError, match="not found"):
        samples(load_from_disk(folder), RcnVideoProcessor(size=size, align="none", margin=0.2))


def test_prepare_names_the_clips_with_problems(make_clips, tmp_path, capsys):
    folder = tmp_path / "clips"
    dataset = make_clips("frames").select([4])
    dataset.save_to_disk(folder)
    assert main(["prepare", str(folder), "--num_proc", "1"]) == 2
    error = capsys.readouterr().err
    assert f"clip {dataset['clip_id'][0]}: no face" in error
    assert main(["prepare", str(folder), "--num_proc", "1", "--processor", '{"face_problems": "flag"}']) == 0
    assert f"{dataset['clip_id'][0]}: no face" in capsys.readouterr().out


def test_prepare_takes_a_recipe_and_explains_what_it_cannot_prepare(make_clips, tmp_path, capsys):
    make_clips("flow").save_to_disk(tmp_path / "flow")
    (tmp_path / "recipe.yaml").write_text(f"dataset: {tmp_path / 'flow'}\n")
    assert main(["prepare", str(tmp_path / "recipe.yaml")]) == 2
    assert "ready inputs" in capsys.readouterr().err
    assert main(["prepare", str(tmp_path / "nothing")]) == 2
    assert "no corpus and no folder" in capsys.readouterr().err
    assert main(["prepare"]) == 2
    assert main(["prepare", "--help"]) == 0
    assert "example:" in capsys.readouterr().out


# --- predict ---


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    config = RcnConfig(backbone_kwargs={"width": 4}, id2label=dict(enumerate(CLASSES)))
    return save_model_folder(
        RcnForVideoClassification(config).eval(), RcnVideoProcessor(align="none"), tmp_path_factory.mktemp("model")
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("media") / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "bgr0"
        for index in range(6):
            frame = np.random.default_rng(index).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(frame).save(path.with_name(f"img{index}.png"))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_predict_prints_a_table_or_json(model, clip, capsys):
    assert main(["predict", str(clip), "--model", str(model), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["video"] == str(clip)
    assert sorted(item["label"] for item in answer["labels"]) == CLASSES
    assert sum(item["score"] for item in answer["labels"]) == pytest.approx(1)

    assert main(["predict", str(clip), "--model", str(model), "--top-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(clip)
    assert [line.split() for line in lines[1:]] == [
        [item["label"], f"{item['score']:.4f}"] for item in answer["labels"][:2]
    ]


def test_predict_takes_the_model_in_the_package_where_none_is_named(clip, capsys):
    assert main(["predict", str(clip), "--align", "none", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {item["label"] for item in answer["labels"]} == {"negative", "positive", "surprise"}


def test_predict_takes_images_as_the_frames_of_one_video(model, clip, capsys):
    main(["predict", str(clip), "--model", str(model), "--json"])
    expected = json.loads(capsys.readouterr().out)["labels"]
    images = [str(clip.with_name(f"img{index}.png")) for index in range(6)]
    assert main(["predict", *images, "--model", str(model), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"video": f"{images[0]} ... {images[-1]}", "labels": expected}


def test_predict_explains_a_bad_video_and_still_answers_for_the_others(model, clip, tmp_path, capsys):
    bad = tmp_path / "text.mp4"
    bad.write_text("no video")
    missing = tmp_path / "missing.mp4"
    assert main(["predict", str(bad), str(clip), str(missing), "--model", str(model), "--json"]) == 2
    printed = capsys.readouterr()
    assert [json.loads(line)["video"] for line in printed.out.splitlines()] == [str(clip)]
    errors = [line for line in printed.err.splitlines() if line.startswith("mer-hf: ")]
    assert len(errors) == 2
    assert str(bad) in errors[0]
    assert f"{missing} does not exist" in errors[1]


def test_predict_explains_wrong_options(model, clip, tmp_path, capsys):
    assert main(["predict", str(clip), "--model", str(model), "--top-k", "0"]) == 2
    assert "--top-k is 0" in capsys.readouterr().err
    assert main(["predict", str(clip), "image.png", "--model", str(model)]) == 2
    assert "is an image" in capsys.readouterr().err
    assert main(["predict", str(clip), "--model", str(tmp_path)]) == 2
    assert f"--model {tmp_path} is no model" in capsys.readouterr().err


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch, tmp_path):
    def faulty(folder, **options):
        return json.loads("{")

    monkeypatch.setattr("mer_hf.drawn.embedded.synthesize", faulty)
    with pytest.raises(ValueError, match="line 1 column 2"):
        main(["synthesize", str(tmp_path / "corpus")])


def test_train_reads_a_corpus_at_the_frame_rate_of_the_recipe(tmp_path):
    main(["synthesize", str(tmp_path / "corpus"), "--subjects", "1", "--clips", "3", "--fps", "50", "--size", "64"])
    own = Recipe(data_dir=str(tmp_path / "corpus"))
    assert set(_load_dataset(own)["fps"]) == {200.0}
    assert set(_load_dataset(replace(own, fps=50.0))["fps"]) == {50.0}
