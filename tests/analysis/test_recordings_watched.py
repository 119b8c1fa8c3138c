"""Recordings of a corpus, watched from their frames on disk: numbers as released, every recording."""

import json
import shutil

import cv2
import pandas as pd
import pytest
from datasets import Dataset

from mer_hf.analysis.recordings import watch_recordings
from mer_hf.commands import main
from recordings_replicas import smic_e


@pytest.fixture(scope="module")
def recording(tmp_path_factory, scene):
    folder = tmp_path_factory.mktemp("frames")
    numbers = [308_000 + index for index in range(250)]  # 2.5 s at 100 frames a second
    paths = [folder / f"image{number}.png" for number in numbers]
    for index, path in enumerate(paths):
        cv2.imwrite(str(path), scene((40, 160), shake=index // 4))
    event = {"onset": 308_050, "apex": None, "offset": 308_070, "kind": "micro", "action_units": None}
    return {
        "recording_id": "smic-e/s01/s1_ne_01",
        "subject": "smic/s01",
        "frames": [{"path": str(path), "bytes": None} for path in paths],
        "numbers": numbers,
        "fps": 100.0,
        "events": [event | {"emotion": "negative"}],
    }


def test_finds_have_the_numbers_of_the_frames_of_the_release(recording, spot):
    quiet = recording | {"recording_id": "smic-e/s01/quiet", "events": []}
    watched = watch_recordings(Dataset.from_list([recording, quiet]), spot)
    assert set(watched.found.video) == {"smic-e/s01/s1_ne_01", "smic-e/s01/quiet"}
    for row in watched.found.itertuples():
        assert 308_000 <= row.onset <= row.apex <= row.offset <= 308_249
    assert watched.truth.video.tolist() == ["smic-e/s01/s1_ne_01", "smic-e/s01/quiet"]
    assert watched.truth.label.tolist() == ["negative", ""] and watched.truth.onset.isna().tolist() == [False, True]
    assert watched.recordings.seconds.tolist() == [2.5, 2.5]


def test_a_recording_with_gaps_keeps_its_times(recording, spot):
    kept = [place for place in range(250) if place < 200 or place >= 212]
    gaps = recording | {name: [recording[name][place] for place in kept] for name in ("frames", "numbers")}
    finds = [watch_recordings(Dataset.from_list([each]), spot).found for each in (recording, gaps)]
    # the network looks .88 s ahead, and events are told apart a quarter of a second later
    early = [found[found.offset < 308_060].drop(columns="score").values.tolist() for found in finds]
    assert early[0] and finds[1].offset.max() <= 308_249 and early[0] == early[1]


def test_the_command_scores_a_copy_on_disk(tmp_path, network, capsys):
    copy = smic_e(tmp_path / "SMIC", count=3)
    given = ["spot-scores", "smic-e", "--data-dir", str(copy), "--model", network, "--out", str(tmp_path / "out")]
    assert main(given) == 0  # in pictures of 8 x 8 pixels nobody is seen, and nothing found
    said = capsys.readouterr().out
    assert "3 recordings of 3 subjects, 0.0 minutes, 3 events" in said and "false finds a minute: 0.00" in said
    assert json.loads((tmp_path / "out" / "results.json").read_text())["spotted"]["per_type"]["all"]["fn"] == 3
    assert len(pd.read_csv(tmp_path / "out" / "truth.csv")) == 3
    (folder,) = [each for each in copy.rglob("s3_sur_01") if each.is_dir()]
    shutil.rmtree(folder)
    assert main(given) == 2  # a copy that is not whole is refused
    assert "mer-hf corpora check smic-e --recordings" in capsys.readouterr().err
