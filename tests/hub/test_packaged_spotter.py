"""The network in the package that finds micro-expressions: complete, small, and as good as its results say."""

import json

import cv2
import numpy as np
import pytest
from transformers import pipeline

from mer_hf.drawn.videos import RenderedVideo
from mer_hf.hub.packaged import SPOTTER
from mer_hf.rcn.spotting_rcn import RcnForSpotting
from mer_hf.training.spotting import score_watched, watch_drawn
from real_face import astronaut


def test_it_is_complete_and_small():
    files = {path.name: path.stat().st_size for path in SPOTTER.iterdir()}
    assert set(files) == {"README.md", "config.json", "model.safetensors", "results.json"}
    assert sum(files.values()) <= 1_000_000


def test_its_card_and_config_say_what_its_results_say():
    results = json.loads((SPOTTER / "results.json").read_text())
    config = json.loads((SPOTTER / "config.json").read_text())
    card = (SPOTTER / "README.md").read_text()
    assert config["threshold"] == results["threshold"] and config["false_a_minute"] == results["false_a_minute"]
    assert config["trained_on"] in card and f"threshold | {results['threshold']:.3f}" in card
    for name, scores in results["evaluations"].items():
        assert f"| {name} | {scores['f1']:.2f} |" in card


@pytest.mark.slow
def test_it_finds_in_drawn_sequences_what_its_results_say():
    model = RcnForSpotting.from_pretrained(SPOTTER).eval()
    said = json.loads((SPOTTER / "results.json").read_text())["evaluations"]["drawn, as trained"]
    found = score_watched(watch_drawn(model, 128, 2000), model.config.threshold)
    assert found["f1"] == pytest.approx(said["f1"], abs=0.02)


@pytest.mark.slow
def test_expressions_of_a_rendered_video_are_found_through_the_whole_chain():
    spot = pipeline("micro-expression-spotting")
    hits = truths = false = 0
    for subject in (200, 203):
        video = RenderedVideo(subject, 20.0, 4, seed=11)
        events = list(spot.stream(video.frames()))
        assert all(event["kind"] in ("micro", "macro") and event["face"] == 0 for event in events)
        near = [[abs(event["apex"] - true.apex) <= 0.2 for event in events] for true in video.events]
        hits, truths = hits + sum(map(any, near)), truths + len(near)
        false += sum(not any(column) for column in np.array(near).T)
        assert all(event["label"] in spot.classifier.model.config.id2label.values() for event in events)
    assert hits >= truths / 2 and false <= 1


@pytest.mark.slow
def test_a_still_picture_with_noise_flicker_and_re_encoding_has_no_event():
    spot = pipeline("micro-expression-spotting", classifier=None)
    picture = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY)
    picture = cv2.resize(picture[:330, 60:500], (320, 240), interpolation=cv2.INTER_AREA)
    rng = np.random.default_rng(0)

    def camera():
        for index in range(25 * 30):
            light = 1 + 0.02 * np.sin(index / 3) + 0.01 * rng.standard_normal()
            frame = np.clip(picture * light + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
            quality = [cv2.IMWRITE_JPEG_QUALITY, 80 if index % 50 == 0 else int(rng.integers(25, 40))]
            yield cv2.imdecode(cv2.imencode(".jpg", frame, quality)[1], cv2.IMREAD_GRAYSCALE), index / 25

    assert list(spot.stream(camera())) == []
