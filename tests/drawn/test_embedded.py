import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import openpyxl
import pandas as pd
import pytest

from mer_hf.action_units import UNIT_SHARES
from mer_hf.drawn import embedded, portraits
from mer_hf.drawn.embedded import (
    CODING_ERROR,
    EDGE,
    FRAMES_FOLDER,
    SHEET,
    code_clip,
    default_folder,
    synthesize,
    write_example,
)
from mer_hf.drawn.rendering import RenderedClip, clip_class, render_clip

SMALL = {"fps": 50.0, "size": 64, "progress": False}


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("corpora") / "made" / "here", subjects=2, clips=6, seed=3, **SMALL)


@pytest.fixture(scope="module")
def sheet(corpus):
    return pd.read_excel(corpus / SHEET, dtype={"Subject": str}, engine="openpyxl")


def test_sheet_has_the_columns_of_the_release(corpus, sheet):
    header = [cell.value for cell in next(openpyxl.load_workbook(corpus / SHEET).active.iter_rows(max_row=1))]
    assert header == [
        *("Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None),
        *("Action Units", "Estimated Emotion", "Objective Classes"),
    ]
    assert len(sheet) == 12
    assert sheet["Subject"].tolist() == ["01"] * 6 + ["02"] * 6
    assert not sheet.duplicated(["Subject", "Filename"]).any()
    assert sheet["Filename"].str.fullmatch(r"EP\d\d_\d\df?").all()


def test_action_units_are_numbers_when_single_and_text_when_not(sheet):
    for units in sheet["Action Units"]:
        assert isinstance(units, int) or ("+" in units and all(part.isdecimal() for part in units.split("+")))


def test_frames_run_from_before_the_onset_to_after_the_offset(corpus, sheet):
    for row in sheet.itertuples(index=False):
        folder = corpus / FRAMES_FOLDER / f"sub{row.Subject}" / row.Filename
        numbers = sorted(int(path.stem.removeprefix("img")) for path in folder.iterdir())
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert numbers[0] <= row.OnsetFrame < row.OffsetFrame <= numbers[-1]
        assert cv2.imread(str(folder / f"img{numbers[0]}.jpg")).shape == (64, 64, 3)
        assert row.OnsetFrame < row.ApexFrame < row.OffsetFrame
        assert (row.OffsetFrame - row.OnsetFrame) / SMALL["fps"] < 0.5


def test_every_subject_has_every_class_equally_often(corpus, sheet):
    classes = sheet["Estimated Emotion"].replace({"disgust": "negative", "repression": "negative"})
    assert (pd.crosstab(sheet["Subject"], classes) == 2).all(axis=None)
    # What is on disk is the corpus's own order of classes, in runs of three.
    for subject in (0, 1, 7):
        for block in range(4):
            run = [clip_class(subject, 3 * block + place, seed=3) for place in range(3)]
            assert sorted(run) == sorted(UNIT_SHARES)


def test_same_seed_writes_the_same_bytes_whatever_the_processes(corpus, tmp_path):
    synthesize(tmp_path / "again", subjects=2, clips=6, seed=3, num_proc=2, **SMALL)
    assert digests(tmp_path / "again") == digests(corpus)


def test_a_clip_does_not_depend_on_its_neighbours(corpus, tmp_path):
    synthesize(tmp_path / "less", subjects=1, clips=2, seed=3, **SMALL)
    less, whole = digests(tmp_path / "less"), digests(corpus)
    less.pop(SHEET)
    assert less.items() <= whole.items()
    synthesize(tmp_path / "other", subjects=1, clips=1, seed=4, **SMALL)
    assert not set(digests(tmp_path / "other").values()) & set(whole.values())


def test_nothing_is_written_over_and_nothing_is_left_half_done(corpus, tmp_path, monkeypatch):
    with pytest.raises(FileExistsError, match="not an empty folder"):
        synthesize(corpus, subjects=1, clips=1, **SMALL)

    def interrupted(path, rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "_write_sheet", interrupted)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(KeyboardInterrupt):
        synthesize(target, subjects=1, clips=1, **SMALL)
    assert list(tmp_path.iterdir()) == [target] and not any(target.iterdir())
    monkeypatch.undo()
    synthesize(target, subjects=1, clips=1, **SMALL)
    assert sorted(path.name for path in target.iterdir()) == sorted([FRAMES_FOLDER, SHEET])
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("argument", "value"),
    [("subjects", 0), ("clips", 0), ("size", 63), ("fps", 0.0), ("fps", math.nan), ("num_proc", 0)],
)
def test_arguments_out_of_range_are_named(tmp_path, argument, value):
    with pytest.raises(ValueError, match=f"{argument} is {value}; expected"):
        synthesize(tmp_path / "new", **{**SMALL, argument: value})
    assert not any(tmp_path.iterdir())


def test_a_coder_is_off_by_the_stated_deviations_and_keeps_the_order():
    clip = RenderedClip(np.zeros((120, 1, 1, 3), np.uint8), 10, 50, 100, "positive", "happiness", (12,), 2.0)
    rng = np.random.default_rng(0)
    coded = np.array([code_clip(clip, 200.0, rng) for _ in range(2000)])
    assert (np.diff(coded) > 0).all()
    assert (coded[:, 2] - coded[:, 0] < 100).all()  # half a second
    off = (coded - [10, 50, 100]) / 200.0
    assert np.abs(off).max() <= EDGE + 1e-9
    assert off[:, 0].std() == pytest.approx(CODING_ERROR["onset"], rel=0.15)
    assert off[:, 1].std() == pytest.approx(CODING_ERROR["apex"], rel=0.15)
    shortest = RenderedClip(np.zeros((3, 1, 1, 3), np.uint8), 0, 1, 2, "positive", "happiness", (12,), 2.0)
    assert code_clip(shortest, 10.0, rng) == (0, 1, 2)


def test_the_example_is_a_video_of_the_clip(tmp_path):
    assert write_example(tmp_path / "example.mp4", fps=50.0) == "positive"
    with av.open(str(tmp_path / "example.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    clip = render_clip(subject=99, clip=0, emotion_class="positive", fps=50.0)
    assert len(frames) == len(clip.frames)
    assert np.abs(np.stack(frames).astype(float) - clip.frames).mean() < 6  # noise is what H.264 loses first


# --- the default corpus -----------------------------------------------------------------------------------------------


@pytest.fixture
def rendered(monkeypatch):
    """The calls of a rendering that takes no time."""
    calls = []

    def render(data_dir, **parameters):
        calls.append(parameters)
        data_dir.mkdir()

    monkeypatch.setattr(embedded, "synthesize", render)
    return calls


def test_the_default_corpus_is_rendered_once_into_the_cache(rendered, tmp_path):
    first, second = (default_folder(tmp_path, num_proc=2) for _ in range(2))
    assert rendered == [{"subjects": 8, "clips": 12, "fps": 200.0, "size": 256, "seed": 0, "num_proc": 2}]
    assert first == second and first.parent == tmp_path / "mer_hf-synthetic"


def test_a_second_process_waits_for_the_rendering_of_the_first(rendered, tmp_path):
    with ThreadPoolExecutor(2) as pool:  # the lock is on a file, so threads stand in for processes
        folders = list(pool.map(lambda _: default_folder(tmp_path), range(2)))
    assert folders[0] == folders[1]
    assert len(rendered) == 1


def test_another_frame_rate_is_rendered_anew(rendered, tmp_path):
    assert default_folder(tmp_path) != default_folder(tmp_path, fps=100.0)
    assert [parameters["fps"] for parameters in rendered] == [200.0, 100.0]


@pytest.mark.parametrize("module", ["action_units", "drawn.expression", "drawn.rendering", "drawn.embedded"])
def test_changed_code_is_rendered_anew(rendered, tmp_path, monkeypatch, module):
    before = default_folder(tmp_path)
    changed = tmp_path / "changed.py"
    changed.write_text("# changed")
    monkeypatch.setattr(f"mer_hf.{module}.__file__", str(changed))
    assert default_folder(tmp_path) != before


def test_a_changed_painter_renders_anew(rendered, tmp_path, monkeypatch):
    before = default_folder(tmp_path)
    (tmp_path / "painters").mkdir()
    for source in Path(portraits.__file__).parent.glob("*.py"):
        text = source.read_text()
        (tmp_path / "painters" / source.name).write_text(text + "# changed" if source.name == "flesh.py" else text)
    monkeypatch.setattr(portraits, "__file__", str(tmp_path / "painters" / "__init__.py"))
    assert default_folder(tmp_path) != before
