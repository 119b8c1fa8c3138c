"""Clips of a dataset -> what training keeps in memory, through the processor that the pipeline uses.

    datasets.Dataset -> prepare: dataset.map, cached on disk -> samples: one dictionary of arrays a clip

The cache of `datasets` is keyed by the rows, the processor's options and the code of the Hub room, so none of them can
change and give old sequences.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
import torch
from datasets import Array4D, ClassLabel, Dataset, Features, Image, List, Value

from mer_hf.errors import MerHfError
from mer_hf.rcn.decoding_rcn import VideoError
from mer_hf.rcn.video_processing_rcn import ClipSequence, RcnVideoProcessor
from mer_hf.training import spans

INPUT_COLUMNS = ("video", "frames", "flow", "pixel_values_videos")


class DatasetError(MerHfError):
    """A dataset lacks what training needs; the message names the column and what it should hold."""


def check_dataset(dataset: Dataset) -> str:
    """Find the input column of a dataset, or say what is missing.

    Args:
        dataset: with `label` (ClassLabel), `subject` (text), and one of `video` (a file, see `corpora.folder`),
            `frames` (a clip), `flow` (Image, or a float array, channels first) and `pixel_values_videos` (a ready model
            input).

    Returns:
        The name of the input column, the readiest where there are several.

    Raises:
        DatasetError: for a missing or wrong column, an empty dataset, or a label that is not set.
    """
    columns = ", ".join(dataset.column_names)
    if not len(dataset):
        raise DatasetError("the dataset has no rows")
    if not isinstance(dataset.features.get("label"), ClassLabel):
        raise DatasetError(f"the dataset needs a column 'label' of type ClassLabel; its columns are {columns}")
    if "subject" not in dataset.column_names:
        raise DatasetError(
            f"the dataset needs a column 'subject', by which the folds are split; its columns are {columns}"
        )
    present = [name for name in INPUT_COLUMNS if name in dataset.column_names]
    if not present:
        raise DatasetError(
            f"the dataset needs one of the columns {', '.join(INPUT_COLUMNS)}; its columns are {columns}"
        )
    unset = [row for row, label in enumerate(dataset["label"]) if label is None or label < 0]
    if unset:
        raise DatasetError(f"{len(unset)} rows have no label, the first is row {unset[0]}")
    return present[-1]


def with_identity(dataset: Dataset) -> Dataset:
    """Give a dataset the columns `clip_id` and `corpus` where it has none, and check that clip_id is unique.

    Raises:
        DatasetError: for a clip_id that stands twice, since predictions are joined to labels by it.
    """
    if "corpus" not in dataset.column_names:
        dataset = dataset.add_column("corpus", ["dataset"] * len(dataset))
    if "clip_id" not in dataset.column_names:
        dataset = dataset.add_column("clip_id", [f"{subject}/{row}" for row, subject in enumerate(dataset["subject"])])
    seen: set[str] = set()
    for clip_id in dataset["clip_id"]:
        if clip_id in seen:
            raise DatasetError(f"clip_id {clip_id!r} stands twice; every clip needs its own")
        seen.add(clip_id)
    return dataset


def with_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Number the labels of a dataset as a model does, by the names of the classes; capitals make no difference.

    Raises:
        DatasetError: for clips of a class that is not among them.
    """
    names = dataset.features["label"].names
    numbers = {name.strip().casefold(): number for number, name in enumerate(classes)}
    found = [numbers.get(name.strip().casefold()) for name in names]
    labels = dataset["label"]
    strange = sorted({names[label] for label in labels if found[label] is None})
    if strange:
        raise DatasetError(
            f"the dataset shows {', '.join(strange)}; the saved model tells {', '.join(classes)}. Leave those clips "
            "out, or name the classes as the model does."
        )
    dataset = dataset.remove_columns("label").add_column("label", [found[label] for label in labels])
    return dataset.cast_column("label", ClassLabel(names=list(classes)))


def prepare(dataset: Dataset, processor: RcnVideoProcessor, num_proc: int | None = None) -> Dataset:
    """The clips of a dataset as sequences before their time is resampled.

    Args:
        dataset: with the column `frames` or `video` (and `fps`, `onset`, `apex`, `offset` where known).
        processor: makes the sequences.
        num_proc: processes.

    Returns:
        A Dataset with the columns `frames`, `reference` and `problems`, as `ClipSequence` has them, in the order of the
        rows.

    Raises:
        VideoError: for a clip that cannot be read, or whose face cannot be used, naming it.
    """
    height, width = processor.size["height"], processor.size["width"]
    flow = processor.connectivity == "geometric"
    shape = (None, 2 if flow else processor.num_channels, height, width)
    array = Array4D(shape, "float32" if flow else "uint8")
    if isinstance(dataset.features.get("video"), datasets.Video):  # it would be decoded whole, and by another library
        dataset = dataset.cast_column("video", datasets.Video(decode=False))
    with _one_thread():
        return dataset.map(
            _prepare_clip,
            fn_kwargs={"processor": processor, "code": _code_digest()},
            remove_columns=dataset.column_names,
            features=Features({"frames": array, "reference": array, "problems": List(Value("string"))}),
            num_proc=num_proc,
            writer_batch_size=16,  # a batch is held in memory before it is written
            desc="motion" if flow else "crops",
        )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread a process, since clips are shared out over processes.

    To be said before they fork: a fork has none of the threads that OpenCV and torch would wait for.
    """
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])


def _prepare_clip(row: dict[str, Any], processor: RcnVideoProcessor, code: str) -> dict[str, np.ndarray]:
    try:
        grey = processor.connectivity == "geometric" or processor.num_channels == 1
        source, apex = spans.clip_of_row(row, grey)
        sequence = processor.clip_sequence(source, apex, row.get("fps"), windows=True)
    except ValueError as error:
        raise VideoError(f"clip {row.get('clip_id')}: {error}") from error
    return {"frames": sequence.frames, "reference": sequence.reference, "problems": list(sequence.problems)}


def _code_digest() -> str:
    digest = hashlib.sha256()
    for path in [Path(spans.__file__), *sorted((Path(__file__).parents[1] / "rcn").glob("*_rcn.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def ready_input(dataset: Dataset, row: int, column: str) -> np.ndarray:
    """The array of a ready input: `flow` -> (1, C, H, W) float32, `pixel_values_videos` -> (T, C, H, W) float32.

    A flow picture (Image) stands for zero at mid-grey; its values become -1 to 1.

    Raises:
        DatasetError: for an array of another rank, or what is no array or picture, naming the clip.
    """
    try:
        return _ready_array(dataset.select_columns([column])[row][column], column)
    except (TypeError, ValueError, OSError) as error:  # also what numpy and Pillow say of ragged and damaged values
        name = dataset["clip_id"][row] if "clip_id" in dataset.column_names else f"of row {row}"
        raise DatasetError(f"clip {name}: {error}") from error


def _ready_array(value: Any, column: str) -> np.ndarray:
    if value is None:
        raise DatasetError(f"{column} is empty")
    if column == "flow" and not isinstance(value, np.ndarray | list):
        array = np.moveaxis(np.asarray(value.convert("RGB"), np.float32) / 127.5 - 1, 2, 0)
    else:
        array = np.asarray(value, np.float32)
    rank = 3 if column == "flow" else 4
    if array.ndim != rank:
        raise DatasetError(f"{column} must have {rank} dimensions, channels before height and width, got {array.shape}")
    return array[None] if column == "flow" else array


def samples(dataset: Dataset, processor: RcnVideoProcessor, num_proc: int | None = None) -> list[dict[str, Any]]:
    """All clips of a dataset, prepared, in memory.

    Args:
        dataset: see `check_dataset`.
        processor: prepares clips; flow of another size than its `size` is brought to it.
        num_proc: processes to prepare clips with.

    Returns:
        One dictionary a clip, in the order of the rows: `label`, and either `sequence` (a `ClipSequence`) or
        `pixel_values_videos` (T, C, H, W).

    Raises:
        DatasetError, VideoError: as above.
    """
    column = check_dataset(dataset)
    labels = dataset["label"]
    if column in ("video", "frames"):
        prepared = prepare(dataset, processor, num_proc).with_format("numpy")
        sequences = [ClipSequence(row["frames"], row["reference"], tuple(row["problems"])) for row in prepared]
        return [{"sequence": sequence, "label": label} for sequence, label in zip(sequences, labels, strict=True)]
    ready = [ready_input(dataset, row, column) for row in range(len(dataset))]
    if column == "flow":
        in_pixels = not isinstance(
            dataset.features["flow"], Image
        )  # the channels of a picture have scales of their own
        size = processor.size["height"], processor.size["width"]
        ready = [resized(array, *size, in_pixels) for array in ready]
    shapes = {array.shape for array in ready}
    if len(shapes) > 1:
        raise DatasetError(f"{column} has several shapes: {sorted(shapes)}; all clips of a dataset must have one")
    if column == "pixel_values_videos":
        return [{"pixel_values_videos": array, "label": label} for array, label in zip(ready, labels, strict=True)]
    return [
        {"sequence": ClipSequence(array, array[:0]), "label": label} for array, label in zip(ready, labels, strict=True)
    ]


def resized(flow: np.ndarray, height: int, width: int, in_pixels: bool) -> np.ndarray:
    """Flow (1, C, H, W) in another size, averaged over areas where it shrinks; u and v in new pixels, if in pixels."""
    rows, columns = flow.shape[2:]
    if (rows, columns) == (height, width):
        return flow
    smaller = rows >= height and columns >= width
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    channels = np.stack([cv2.resize(channel, (width, height), interpolation=method) for channel in flow[0]])[None]
    if in_pixels:
        channels[:, 0] *= width / columns
        channels[:, 1] *= height / rows
    return channels


__all__ = ["DatasetError", "check_dataset", "prepare", "ready_input", "samples", "with_classes", "with_identity"]
