import os
import shutil
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from datasets import Array2D, Array3D, Array4D, ClassLabel, Dataset, Features, Image, List, Value, load_from_disk
from PIL import Image as Picture

from mer_hf.rcn.decoding_rcn import VideoError
from mer_hf.rcn.video_processing_rcn import ClipMotion, RcnVideoProcessor, collate
from mer_hf.training import clips as clips_of_training
from mer_hf.training.clips import (
    TOUCHES_PIXELS,
    DatasetError,
    check_dataset,
    load_clips,
    prepare,
    prepared_folder,
    ready_inputs,
    resized,
    with_classes,
    with_identity,
)

CLASSES = ["negative", "positive", "surprise"]
PROCESSORS = {
    "geometric": {"num_channels": 3, "num_frames": 1, "crop_size": {"height": 32, "width": 32}},
    "appearance": {"num_channels": 1, "num_frames": 9, "interpolation": "linear"},
    "sequence": {"num_channels": 3, "num_frames": 4, "interpolation": "tim"},
}


def processor_of(connectivity, **options):
    size = {"height": 16, "width": 12}
    options = {"align": "none", **PROCESSORS[connectivity], **options}
    return RcnVideoProcessor(connectivity=connectivity, size=size, **options)


def replaced(dataset, row, **values):
    """The dataset with other values in one row."""
    rows = dataset.to_list()
    rows[row] = {**rows[row], **values}
    return Dataset.from_list(rows, features=dataset.features)


# --- what a dataset must have ---


@pytest.mark.parametrize(
    ("kind", "column"), [("flow", "flow"), ("picture", "flow"), ("video", "pixel_values_videos"), ("frames", "frames")]
)
def test_the_input_column_is_found(make_clips, kind, column):
    assert check_dataset(make_clips(kind)) == column


def test_the_readiest_of_several_input_columns_is_taken(make_clips):
    frames, flow, video = (make_clips(kind) for kind in ("frames", "flow", "video"))
    both = frames.add_column("flow", flow["flow"][:], feature=flow.features["flow"])
    assert check_dataset(both) == "flow"
    values = video["pixel_values_videos"][:]
    assert check_dataset(both.add_column("pixel_values_videos", values, feature=video.features["pixel_values_videos"]))
    assert check_dataset(video.add_column("flow", flow["flow"][:], feature=flow.features["flow"])) == (
        "pixel_values_videos"
    )


@pytest.mark.parametrize(("column", "message"), [("subject", "'subject'"), ("label", "'label'"), ("flow", "frames, ")])
def test_a_missing_column_is_named_beside_those_that_are_there(make_clips, column, message):
    dataset = make_clips("flow").remove_columns(column)
    with pytest.raises(DatasetError, match=message) as refused:
        check_dataset(dataset)
    assert str(refused.value).endswith("its columns are " + ", ".join(dataset.column_names))


def test_a_label_must_be_a_class_label(make_clips):
    dataset = make_clips("flow").cast_column("label", Value("int64"))
    with pytest.raises(DatasetError, match="ClassLabel"):
        check_dataset(dataset)


def test_an_empty_dataset_is_refused(make_clips):
    with pytest.raises(DatasetError, match="no rows"):
        check_dataset(make_clips("flow").select([]))


@pytest.mark.parametrize("unset", [-1, None])
def test_a_label_that_is_not_set_is_refused_with_its_row(make_clips, unset):
    with pytest.raises(DatasetError, match="1 rows have no label, the first is row 4"):
        check_dataset(replaced(make_clips("frames"), 4, label=unset))


def test_clips_get_an_identity_where_they_have_none(make_clips):
    dataset = with_identity(make_clips("flow").remove_columns(["clip_id", "corpus"]))
    assert len(set(dataset["clip_id"])) == len(dataset)
    assert all(name.startswith(f"{row}/") for name, row in zip(dataset["clip_id"], dataset["subject"], strict=True))
    assert set(dataset["corpus"]) == {"dataset"}


def test_clips_keep_the_identity_they_have(make_clips):
    dataset = make_clips("flow")
    assert with_identity(dataset).to_dict() == dataset.to_dict()


def test_a_repeated_clip_id_is_refused(make_clips):
    dataset = make_clips("frames")
    with pytest.raises(DatasetError, match=f"{dataset['clip_id'][2]!r} stands twice"):
        with_identity(replaced(dataset, 5, clip_id=dataset["clip_id"][2]))


SPELLINGS = {
    "whole numbers": ([1, 2, 10], Value("int64")),
    "floats": ([1.0, 2.0, 10.0], Value("float64")),
    "classes": ([2, 0, 1], ClassLabel(names=["2", "10", "1.0"])),
    "text": (["1", "2", "10"], Value("string")),
    "text of floats": (["01", " 2 ", "10.0"], Value("string")),
}


def with_subjects(dataset, names, feature):
    """The dataset with its three subjects called otherwise."""
    numbers = {"s1": 0, "s2": 1, "s3": 2}
    subjects = [names[numbers[subject]] for subject in dataset["subject"]]
    return dataset.remove_columns("subject").add_column("subject", subjects, feature=feature)


@pytest.mark.parametrize("kind", SPELLINGS)
def test_subjects_have_one_spelling_however_a_dataset_holds_them(make_clips, kind):
    dataset = make_clips("flow").remove_columns("clip_id")
    expected = with_identity(with_subjects(dataset, ["1", "2", "10"], Value("string")))
    found = with_identity(with_subjects(dataset, *SPELLINGS[kind]))
    assert list(found["subject"]) == list(expected["subject"]) == ["1"] * 3 + ["2"] * 3 + ["10"] * 3
    assert list(found["clip_id"]) == list(expected["clip_id"])
    assert found.features["subject"] == Value("string")


@pytest.mark.parametrize(
    ("value", "feature"),
    [(None, Value("string")), ("  ", Value("string")), (float("nan"), Value("float64")), (None, Value("int64"))],
)
def test_a_row_without_a_subject_is_refused(make_clips, value, feature):
    names = [1, 2, value] if feature != Value("string") else ["1", "2", value]
    with pytest.raises(DatasetError, match="row 6 has no subject"):
        with_identity(with_subjects(make_clips("flow"), names, feature))


# --- the classes and the size that a saved model has ---


def test_labels_are_numbered_as_the_model_does_by_the_names_of_the_classes(make_clips):
    dataset = make_clips("flow")
    strange = dataset.cast_column("label", ClassLabel(names=["Negative", " positive", "SURPRISE", "others"]))
    found = with_classes(strange, ["surprise", "negative", "positive"])
    names = [CLASSES[label] for label in dataset["label"]]
    assert [found.features["label"].int2str(label) for label in found["label"]] == names
    assert found["clip_id"] == dataset["clip_id"]


def test_clips_of_a_class_that_the_model_does_not_tell_are_refused_by_name(make_clips):
    with pytest.raises(DatasetError, match="the dataset shows surprise; the saved model tells positive, negative"):
        with_classes(make_clips("flow"), ["positive", "negative"])


def test_smaller_flow_is_the_mean_over_areas_in_its_own_pixels():
    flow = np.random.default_rng(0).normal(size=(1, 3, 8, 12)).astype(np.float32)
    blocks = flow.reshape(1, 3, 4, 2, 4, 3).mean((3, 5))
    expected = blocks * np.array([4 / 12, 4 / 8, 1], np.float32)[:, None, None]
    np.testing.assert_allclose(resized(flow, 4, 4, in_pixels=True), expected, atol=1e-6)
    np.testing.assert_allclose(resized(flow, 4, 4, in_pixels=False), blocks, atol=1e-6)
    assert resized(flow, 8, 12, in_pixels=True) is flow
    assert resized(flow, 16, 24, in_pixels=True).shape == (1, 3, 16, 24)


# --- frames ---


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda frames: frames[:1], "at least 2 frames"),
        (lambda frames: [], "empty"),
        (lambda frames: [*frames[:2], {"bytes": b"no picture", "path": None}], "frame 2"),
        (lambda frames: [*frames[:2], {"bytes": None, "path": "/nowhere/img3.jpg"}], "/nowhere/img3.jpg"),
        (lambda frames: None, "clip"),
    ],
    ids=["one frame", "no frames", "damaged frame", "missing file", "no value"],
)
def test_a_clip_that_cannot_be_used_is_named(make_clips, spoil, message):
    dataset = make_clips("frames")
    dataset = replaced(dataset, 3, frames=spoil(dataset[3]["frames"]))
    with pytest.raises(VideoError, match=message) as refused:
        load_clips(dataset, processor_of("sequence"))
    assert str(refused.value).startswith(f"clip {dataset['clip_id'][3]}: ")


@pytest.mark.parametrize("apex", ["99", "the fifth"])
def test_an_apex_that_is_no_frame_of_its_clip_is_refused_with_the_clip(make_clips, apex):
    dataset = replaced(make_clips("frames"), 1, apex=apex)
    with pytest.raises(VideoError, match=f"clip {dataset['clip_id'][1]}: "):
        load_clips(dataset, processor_of("geometric"))


def test_the_released_apex_decides_which_motion_is_seen_and_none_is_spotted(make_clips):
    dataset = make_clips("frames").select([0])
    processor = processor_of("geometric")
    by_apex = {}
    for apex in ("41", "44", None):
        (clip,) = load_clips(replaced(dataset, 0, apex=apex), processor)
        index = None if apex is None else int(apex) - 40
        expected = processor.clip_sequence(dataset[0]["frames"], index, fps=100.0, windows=True)
        np.testing.assert_array_equal(clip.content.motion, expected.motion)
        np.testing.assert_array_equal(clip.apex_motion, expected.motion[expected.apex])
        by_apex[apex] = clip.content.motion
    assert not np.array_equal(by_apex["41"], by_apex["44"])


def test_released_frame_numbers_may_be_numbers_or_text(make_clips):
    text = make_clips("frames").select([0, 1])
    numbers = text.cast_column("onset", Value("int64")).cast_column("apex", Value("int64"))
    for one, other in zip(
        load_clips(text, processor_of("geometric")), load_clips(numbers, processor_of("geometric")), strict=True
    ):
        np.testing.assert_array_equal(one.content.motion, other.content.motion)


@pytest.mark.parametrize("connectivity", PROCESSORS)
def test_training_clips_and_videos_of_the_pipeline_become_the_same_input(make_clips, connectivity):
    dataset = make_clips("frames").select([0, 4, 8]).remove_columns(["fps", "onset", "apex"])
    processor = processor_of(connectivity)
    for clip, row in zip(load_clips(dataset, processor), dataset, strict=True):
        trained_on = processor.model_input(collate([clip.content]))
        seen = processor(row["frames"], return_tensors="pt")["pixel_values_videos"]
        assert seen.shape == (1, processor.num_frames, processor.num_channels, 16, 12)
        assert seen.std() > 0
        torch.testing.assert_close(trained_on, seen, rtol=0, atol=0)
        assert clip.label == row["label"]


def test_clips_of_any_length_keep_the_order_of_the_rows(make_clips):
    dataset = make_clips("frames")
    lengths = [len(frames) for frames in dataset["frames"]]
    assert len(set(lengths)) > 1
    assert [len(clip.frames) for clip in load_clips(dataset, processor_of("sequence"))] == lengths


# --- the cache ---


@pytest.fixture
def count_preparations(monkeypatch, tmp_path):
    """The clips that are prepared, into a cache that holds none before."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    counted = []
    real = RcnVideoProcessor.clip_sequence

    def counting(processor, frames, *args, **kwargs):
        counted.append(len(frames))
        return real(processor, frames, *args, **kwargs)

    monkeypatch.setattr(RcnVideoProcessor, "clip_sequence", counting)
    return counted


def test_what_was_prepared_is_found_again_and_other_options_code_or_rows_prepare_anew(
    make_clips, tmp_path, count_preparations, monkeypatch
):
    folder = tmp_path / "clips"
    make_clips("frames").save_to_disk(folder)

    def prepared(processor=None, select=None):
        dataset = load_from_disk(folder)
        dataset = dataset if select is None else dataset.select(select)
        before = len(count_preparations)
        made = prepare(dataset, processor or processor_of("sequence"))
        return len(count_preparations) - before, made.with_format("numpy")[0]["frames"]

    first, frames = prepared()
    again, found = prepared()
    assert (first, again) == (9, 0)
    np.testing.assert_array_equal(found, frames)
    narrower, other = prepared(RcnVideoProcessor(**{**processor_of("sequence").to_dict(), "num_channels": 1}))
    assert narrower == 9
    assert other.shape[1] == 1
    assert prepared(select=[0, 1])[0] == 2
    assert prepared()[0] == 0
    monkeypatch.setattr(clips_of_training, "__file__", str(code_elsewhere(tmp_path)))
    assert prepared()[0] == 0
    (tmp_path / "rcn" / "motion_rcn.py").write_text("the code of tomorrow")
    assert prepared()[0] == 9


def code_elsewhere(folder):
    """Copy the Hub room, and name the place of `training/clips.py` beside it."""
    shutil.copytree(Path(clips_of_training.__file__).parents[1] / "rcn", folder / "rcn")
    return folder / "training" / "clips.py"


def test_the_key_of_the_cache_follows_the_files_that_touch_pixels_alone(make_clips, tmp_path, monkeypatch):
    dataset, processor = make_clips("frames"), processor_of("sequence")
    before = prepared_folder(dataset, processor)
    monkeypatch.setattr(clips_of_training, "__file__", str(code_elsewhere(tmp_path)))
    assert prepared_folder(dataset, processor) == before
    for path in sorted((tmp_path / "rcn").glob("*.py")):
        path.write_text(path.read_text() + "# tomorrow\n")
        changed = prepared_folder(dataset, processor) != before
        assert changed == (path.name.removesuffix("_rcn.py") in TOUCHES_PIXELS), path.name
        before = prepared_folder(dataset, processor)


def spoil_zeros(folder):
    path = max(folder.glob("*.arrow"), key=lambda each: each.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)


def spoil_parts(folder):
    """The parts of another corpus of as many clips, with its own list of checksums left out."""
    for path in folder.glob("*.arrow"):
        path.write_bytes(path.read_bytes()[::-1])


SPOILT = {
    "cut off": lambda folder: next(folder.glob("*.arrow")).write_bytes(next(folder.glob("*.arrow")).read_bytes()[:-99]),
    "emptied": lambda folder: next(folder.glob("*.arrow")).write_bytes(b""),
    "lost": lambda folder: next(folder.glob("*.arrow")).unlink(),
    "without its state": lambda folder: (folder / "state.json").unlink(),
    "without checksums": lambda folder: (folder / "sha256.json").unlink(),
    "checksums that are none": lambda folder: (folder / "sha256.json").write_bytes(b"\xff["),
    "zeros inside": spoil_zeros,
    "other content": spoil_parts,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_was_prepared_and_does_not_hold_is_made_again_which_one_line_says(
    make_clips, count_preparations, caplog, spoil
):
    dataset, processor = make_clips("frames").select(range(3)), processor_of("sequence")
    before = [clip.frames for clip in load_clips(dataset, processor)]
    spoil(prepared_folder(dataset, processor))
    assert len(count_preparations) == 3
    after = [clip.frames for clip in load_clips(dataset, processor)]
    assert len(count_preparations) == 6
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    (line,) = caplog.messages
    assert line == f"{prepared_folder(dataset, processor)} is damaged; its clips are prepared again"
    load_clips(dataset, processor)
    assert len(count_preparations) == 6


def test_prepared_clips_that_were_swapped_with_others_are_made_again(make_clips, count_preparations, caplog):
    processor = processor_of("sequence")
    first, other = make_clips("frames").select(range(3)), make_clips("frames", seed=1).select(range(3))
    before = [clip.frames for clip in load_clips(first, processor)]
    load_clips(other, processor)
    shutil.rmtree(prepared_folder(first, processor))
    shutil.copytree(prepared_folder(other, processor), prepared_folder(first, processor))
    after = [clip.frames for clip in load_clips(first, processor)]
    for one, again in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, again)
    assert "is damaged" in caplog.text


def test_a_frame_that_was_replaced_at_the_same_size_and_time_is_noticed(make_clips, tmp_path, count_preparations):
    clips = make_clips("frames").select(range(3))
    rows = clips.to_list()
    for row in rows:
        for step, frame in enumerate(row["frames"]):
            path = tmp_path / f"{row['clip_id'].replace('/', '-')}-{step}.png"
            path.write_bytes(frame["bytes"])
            frame.update(bytes=None, path=str(path))
    dataset, processor = Dataset.from_list(rows, features=clips.features), processor_of("sequence")
    load_clips(dataset, processor)
    load_clips(dataset, processor)
    assert len(count_preparations) == 3
    path = Path(rows[1]["frames"][2]["path"])
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1  # of the same length
    time.sleep(0.02)  # a tick of the clock of the file system
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    folder = prepared_folder(dataset, processor)
    assert not folder.exists()


def test_nothing_is_written_into_the_folder_of_a_dataset(make_clips, tmp_path):
    """It may be read-only."""
    folder = tmp_path / "clips"
    make_clips("frames").save_to_disk(folder)
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    dataset = with_classes(with_identity(load_from_disk(folder).remove_columns(["clip_id", "corpus"])), CLASSES[::-1])
    load_clips(dataset.select([0, 4, 8]), processor_of("sequence"))
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]} == before


# --- ready inputs ---


def test_a_ready_flow_is_the_motion_of_an_apex_without_onsets(make_clips):
    dataset = make_clips("flow")
    processor = RcnVideoProcessor(align="none", size={"height": 12, "width": 12})
    for clip, row in zip(load_clips(dataset, processor), dataset.with_format("numpy"), strict=True):
        assert isinstance(clip.content, ClipMotion)
        np.testing.assert_array_equal(clip.content.motion, row["flow"][None])
        np.testing.assert_array_equal(clip.apex_motion, row["flow"])
        assert clip.content.onsets.shape == (0, 2, 12, 12)
        assert clip.label == row["label"]


def test_ready_flow_of_several_sizes_is_brought_to_that_of_the_model():
    flow = [np.ones((2, 3, 3)), np.ones((2, 32, 24))]
    first, second = load_clips(with_input("flow", flow, NESTED), processor_of("geometric"))
    np.testing.assert_allclose(first.apex_motion[:, 0, 0], [4, 16 / 3], rtol=1e-6)
    np.testing.assert_allclose(second.apex_motion[:, 0, 0], [0.5, 0.5], rtol=1e-6)
    assert first.content.motion.shape == second.content.motion.shape == (1, 2, 16, 12)


def test_mid_grey_of_a_flow_picture_is_no_motion():
    picture = np.full((2, 3, 3), 127, np.uint8)
    picture[0, 0], picture[1, 2] = (0, 255, 51), 128
    label = {"label": 0, "subject": "s1"}
    features = Features({"label": ClassLabel(names=["a"]), "subject": Value("string"), "flow": Image()})
    dataset = Dataset.from_list([{**label, "flow": Picture.fromarray(picture)}], features=features)
    flow = next(ready_inputs(dataset, "flow"))
    assert flow.shape == (1, 3, 2, 3)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow[0, :, 0, 0], [-1, 1, -0.6])
    np.testing.assert_allclose(flow[0, :, 0, 1:], -flow[0, :, 1, 2:].repeat(2, 1), atol=1e-6)


def test_a_ready_video_is_taken_as_it_is(make_clips):
    dataset = make_clips("video")
    for clip, row in zip(load_clips(dataset, processor_of("appearance")), dataset.with_format("numpy"), strict=True):
        np.testing.assert_array_equal(clip.frames, row["pixel_values_videos"])
        assert clip.frames.dtype == np.float32


def with_input(column, values, feature):
    features = {"label": ClassLabel(names=["a"]), "subject": Value("string"), "clip_id": Value("string")}
    rows = [{"label": 0, "subject": "s1", "clip_id": f"clip{row}", column: value} for row, value in enumerate(values)]
    return Dataset.from_list(rows, features=Features({**features, column: feature}))


NESTED, NESTED64 = (List(List(List(Value(kind)))) for kind in ("float32", "float64"))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (with_input("flow", [np.zeros((3, 3))], Array2D((3, 3), "float32")), "clip clip0: flow must have 3 dimensions"),
        (with_input("flow", [np.zeros((1, 2, 3, 3))], Array4D((1, 2, 3, 3), "float32")), "3 dimensions.*1, 2, 3, 3"),
        (with_input("pixel_values_videos", [np.zeros((2, 3, 3))], Array3D((2, 3, 3), "float32")), "4 dimensions"),
        (with_input("flow", [np.zeros((2, 3, 3)), np.zeros((3, 3, 3))], NESTED), r"shapes.*1, 2, 16.*1, 3, 16"),
        (
            with_input(
                "pixel_values_videos",
                [np.zeros((2, 1, 3, 3)), np.zeros((4, 1, 3, 3))],
                Array4D((None, 1, 3, 3), "float32"),
            ),
            r"shapes.*2, 1, 3, 3.*4, 1, 3, 3",
        ),
        (with_input("flow", [np.zeros((2, 3, 3)), [[[1.0], [1.0, 2.0]]]], NESTED), "clip clip1: "),
        (with_input("flow", [np.zeros((2, 3, 3)), None], NESTED), "clip clip1: flow is empty"),
        *(
            (with_input("flow", [np.zeros((2, 3, 3)), np.full((2, 3, 3), value)], NESTED), "clip clip1: flow holds 18")
            for value in (np.nan, np.inf, -np.inf)
        ),
        (with_input("flow", [np.full((2, 3, 3), 1e308)], NESTED64), "clip clip0: flow holds 18 values that are not"),
        (
            with_input("flow", [Picture.new("RGB", (3, 3)), {"bytes": b"no picture", "path": None}], Image()),
            "clip clip1: .*cannot identify",
        ),
    ],
    ids=[
        *("rank 2", "rank 4", "video of rank 3", "two depths", "two lengths", "ragged", "none"),
        *("not a number", "infinite", "minus infinite", "too large for float32", "damaged picture"),
    ],
)
def test_a_ready_input_of_a_wrong_shape_is_refused_with_what_was_found(dataset, message):
    with pytest.raises(DatasetError, match=message):
        load_clips(dataset, processor_of("geometric"))
