import json

import av
import numpy as np
import pytest
import torch
from PIL import Image

from mer_hf import RcnConfig, RcnForVideoClassification, RcnVideoProcessor
from mer_hf.commands import main
from mer_hf.hub.folder import save_model_folder
from tiny import CLASSES


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
    assert [line.split() for line in lines[1:3]] == [
        [item["label"], f"{item['score']:.4f}"] for item in answer["labels"][:2]
    ]
    assert "the picture jumps" in answer["problems"][0]  # frames of noise
    assert lines[3:] == [f"  doubtful: {text}" for text in answer["problems"]]


def test_predict_takes_the_model_in_the_package_where_none_is_named(clip, capsys):
    assert main(["predict", str(clip), "--align", "none", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {item["label"] for item in answer["labels"]} == {"negative", "positive", "surprise"}


def test_predict_takes_images_as_the_frames_of_one_video(model, clip, capsys):
    main(["predict", str(clip), "--model", str(model), "--json"])
    expected = json.loads(capsys.readouterr().out)
    images = [str(clip.with_name(f"img{index}.png")) for index in range(6)]
    assert main(["predict", *images, "--model", str(model), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {**expected, "video": f"{images[0]} ... {images[-1]}"}


def test_predict_explains_a_bad_video_and_still_answers_for_the_others(model, clip, tmp_path, capsys):
    bad = tmp_path / "text.mp4"
    bad.write_text("no video")
    missing = tmp_path / "missing.mp4"
    assert main(["predict", str(bad), str(clip), str(missing), "--model", str(model), "--json"]) == 2
    printed = capsys.readouterr()
    answers = [json.loads(line) for line in printed.out.splitlines()]
    assert [answer["video"] for answer in answers] == [str(bad), str(clip), str(missing)]
    assert ["error" in answer for answer in answers] == [True, False, True]
    assert f"{missing} does not exist" in answers[2]["error"]
    lines = [line for line in printed.err.splitlines() if line.startswith("mer-hf: ")]
    assert lines == [f"mer-hf: {answers[0]['error']}", f"mer-hf: {answers[2]['error']}"]
    assert main(["predict", str(bad), str(clip), "--model", str(model)]) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == str(clip)
    assert [line for line in printed.err.splitlines() if line.startswith("mer-hf: ") and str(bad) in line]


def test_predict_explains_wrong_options(model, clip, tmp_path, capsys):
    assert main(["predict", str(clip), "--model", str(model), "--top-k", "0"]) == 2
    assert "--top-k is 0" in capsys.readouterr().err
    assert main(["predict", str(clip), "image.png", "--model", str(model)]) == 2
    assert "is an image" in capsys.readouterr().err
    assert main(["predict", str(clip), "--model", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mer-hf: --model {tmp_path} is no model")
