"""Clips of a dataset -> what training keeps in memory, through the processor that the pipeline uses.

    a recipe -> clips_of_recipe: datasets, those of two sides joined -> check_dataset, with_identity
        -> prepare: dataset.map, kept on disk -> load_clips: a `Clip` a row

What is kept is named after the rows, the frames on disk, the processor's options and the code that touches pixels, so
none of them can change and give old clips; and it carries checksums, so nothing damaged is believed.
"""

import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import datasets.config
import numpy as np
import torch
from datasets import Array4D, ClassLabel, Dataset, Features, Image, List, Value
from filelock import FileLock
from PIL.Image import Image as Picture

from mer_hf.data import check_names, default_label_set, in_one, load_dataset
from mer_hf.errors import MerHfError
from mer_hf.evaluation.units import CODES, coded_units
from mer_hf.protocols import SIDES, cross
from mer_hf.rcn.decoding_rcn import VideoError
from mer_hf.rcn.video_processing_rcn import ClipFrames, ClipMotion, RcnVideoProcessor
from mer_hf.subjects import subject_name
from mer_hf.training import spans
from mer_hf.training.recipe import Recipe, RecipeError

FROM_PICTURES = ("video", "frames")
"""The columns of clips that are prepared."""
INPUT_COLUMNS = (*FROM_PICTURES, "flow", "pixel_values_videos")
PREPARED_FROM = ("video", "unit", "frames", "fps", "onset", "apex", "offset")
"""The columns that a prepared clip follows from."""
TOUCHES_PIXELS = ("sources", "decoding", "faces", "motion", "temporal", "video_processing")
"""The files of the Hub room that a prepared clip follows from."""

SIDE = "side"
"""The column that says what is trained on and what is tested on, where that is said beforehand."""
OF_BOTH_SIDES = ("clip_id", "corpus", "subject", "label", "emotion", CODES, *PREPARED_FROM, *INPUT_COLUMNS[2:])
"""The columns that two datasets keep when they are joined."""
FITTING = {**dict.fromkeys(("onset", "apex", "offset"), Value("string")), "fps": Value("float64")}
"""The types of columns that one kind of dataset numbers, and another writes as sheets do."""

logger = logging.getLogger(__name__)


class DatasetError(MerHfError):
    """A dataset lacks what training needs; the message names the column and what it should hold."""


class ReadyInput(NamedTuple):
    """A model input that the dataset holds as it is: `pixels` (T, C, H, W), float32."""

    pixels: np.ndarray


class Clip(NamedTuple):
    """A clip in memory, the number of its class and, where they are targets, its action units.

    `units`: (units,) float32, 1 where one moves and 0 where it does not; NaN where nothing was coded.
    """

    content: ClipFrames | ClipMotion | ReadyInput
    label: int
    units: np.ndarray | None = None

    @property
    def frames(self) -> np.ndarray:
        """Its pictures over time, (S, C, H, W): crops, or a ready input.

        Raises:
            TypeError: for a clip of which only the motion was kept.
        """
        if isinstance(self.content, ClipMotion):
            raise TypeError("a clip of geometric connectivity has motion, and no frames")
        return self.content.frames if isinstance(self.content, ClipFrames) else self.content.pixels

    @property
    def apex_motion(self) -> np.ndarray:
        """Its flow from onset to apex, (C, H, W): the measured one, or the first frame of a ready input."""
        if isinstance(self.content, ClipMotion):
            return self.content.motion[self.content.apex]
        return self.frames[0]


# --- the clips of a recipe ---


def clips_of_recipe(recipe: Recipe, clips: Dataset | None = None) -> Dataset:
    """The clips that a recipe names, those that it tests on alone among them, see `crossed`.

    Args:
        recipe: names datasets.
        clips: in place of its `dataset`.

    Raises:
        MerHfError: as `load_dataset` and `crossed`; for a recipe of recordings.
    """
    if recipe.is_spotting:
        raise RecipeError("task is spotting: it learns from long recordings, by `mer-hf train`, and has no clips")
    if clips is None:
        clips = load_dataset(recipe.dataset, recipe.data_dir, recipe.label_set, recipe.fps, recipe.num_proc)
    if recipe.test_dataset is None:
        return clips
    label_set = recipe.label_set if default_label_set(recipe.test_dataset) else None
    return crossed(clips, load_dataset(recipe.test_dataset, recipe.test_data_dir, label_set, num_proc=recipe.num_proc))


def crossed(trained: Dataset, tested: Dataset) -> Dataset:
    """What is trained on and what is tested on, in one dataset with the column `side`, one of `protocols.SIDES`.

    Args:
        trained: see `check_dataset`.
        tested: likewise; its classes are among those of `trained`, by their names.

    Raises:
        DatasetError: for other classes, inputs of another kind, a clip in both, or columns that do not fit together.
        MerHfError: for a subject in both.
    """
    inputs = [check_dataset(side) for side in (trained, tested)]
    if inputs[0] != inputs[1] and not {*inputs} <= {*FROM_PICTURES}:
        raise DatasetError(
            f"what is trained on holds {inputs[0]}, and what is tested on {inputs[1]}; both need one kind"
        )
    classes = trained.features["label"].names
    tested = with_classes(with_identity(tested), classes, "what is trained on")
    parts = []
    with _no_bar():
        for name, side in zip(SIDES, (with_identity(trained), tested), strict=True):
            side = side.select_columns([column for column in OF_BOTH_SIDES if column in side.column_names])
            for column, kind in FITTING.items():
                if column in side.column_names:
                    side = side.cast_column(column, kind)
            parts.append(side.add_column(SIDE, [name] * len(side)))
    try:
        both = in_one(parts)
    except (ValueError, TypeError) as error:  # of features of other types
        raise DatasetError(f"what is trained on and what is tested on do not fit together: {error}") from error
    cross(both[SIDE][:], both["subject"][:])  # says who is in both
    return with_identity(both)


# --- what a dataset must hold ---


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
        MerHfError: for a name with a line break or a control character.
    """
    check_names(dataset)
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
    """Give a dataset the columns `clip_id` and `corpus` where it has none, and its subjects one spelling.

    Raises:
        DatasetError: for a clip_id that stands twice, since predictions are joined to labels by it; for a row without a
            subject.
    """
    dataset = _with_subject_names(dataset)
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


def _with_subject_names(dataset: Dataset) -> Dataset:
    """Subjects as text, of a ClassLabel its names, each in one spelling."""
    feature, subjects = dataset.features["subject"], dataset["subject"]
    if isinstance(feature, ClassLabel):
        subjects = feature.int2str(list(subjects))
    names = []
    for row, subject in enumerate(subjects):
        try:
            names.append(subject_name(subject))
        except MerHfError as error:
            raise DatasetError(f"row {row} has no subject, by which the folds are split: {error}") from error
    if names == list(dataset["subject"]):
        return dataset
    return dataset.remove_columns("subject").add_column("subject", names)


def with_classes(dataset: Dataset, classes: Sequence[str], teller: str = "the saved model") -> Dataset:
    """Number the labels of a dataset as a model does, by the names of the classes; capitals make no difference.

    Args:
        dataset: with `label`.
        classes: in the order of their numbers.
        teller: who names them, for the error.

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
            f"the dataset shows {', '.join(strange)}; {teller} tells {', '.join(classes)}. Leave those clips out, or "
            "name the classes alike."
        )
    numbered = [found[label] for label in labels]
    return dataset.remove_columns("label").add_column("label", numbered, feature=ClassLabel(names=list(classes)))


def unit_targets(dataset: Dataset, units: Sequence[int]) -> list[np.ndarray]:
    """The action units of every clip as targets, see `Clip`.

    Args:
        dataset: with `action_units` as coders write them, such as `4+L10`, and blank where nothing was coded.
        units: which, by FACS number.

    Raises:
        DatasetError: where no clip shows any of them.
    """
    codes = dataset[CODES] if CODES in dataset.column_names else []
    coded = [coded_units(text) for text in codes]
    if not any(set(units) & moved for moved in coded if moved):
        numbers = ", ".join(map(str, units))
        raise DatasetError(f"no clip of the dataset is coded with one of the action units {numbers}")
    rows = [[np.nan if moved is None else unit in moved for unit in units] for moved in coded]
    return [*np.array(rows, dtype=np.float32)]


# --- clips that are prepared once ---


def prepare(dataset: Dataset, processor: RcnVideoProcessor, num_proc: int | None = None) -> Dataset:
    """The clips of a dataset before their time is resampled, kept on disk for the next time.

    Args:
        dataset: with the column `frames` or `video` (and `fps`, `onset`, `apex`, `offset` where known).
        processor: makes the clips.
        num_proc: number of processes.

    Returns:
        A Dataset in the order of the rows, with the columns of `ClipMotion` (geometric connectivity) or `ClipFrames`.

    Raises:
        VideoError: for a clip that cannot be read, or whose face cannot be used, naming it.
    """
    dataset = _not_decoded(dataset)
    folder = prepared_folder(dataset, processor)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # one process prepares, the others wait for it
        if folder.exists() and not _is_whole(folder):
            logger.warning("%s is damaged; its clips are prepared again", folder)
            shutil.rmtree(folder)
        if not folder.exists():
            _prepare_anew(dataset, processor, num_proc, folder)
        return cast(Dataset, datasets.load_from_disk(folder))


def prepared_folder(dataset: Dataset, processor: RcnVideoProcessor) -> Path:
    """Where the prepared clips of a dataset lie, or would lie: in the cache of `datasets`."""
    code = Path(__file__).parents[1] / "rcn"
    digest = hashlib.sha256(json.dumps(processor.to_dict(), sort_keys=True, default=str).encode())
    for path in (Path(spans.__file__), *(code / f"{name}_rcn.py" for name in TOUCHES_PIXELS)):
        digest.update(path.read_bytes())
    kept = dataset.select_columns([name for name in PREPARED_FROM if name in dataset.column_names])
    for rows in kept.with_format("arrow").iter(64):  # undecoded; to cast them would write a copy beside the dataset
        for row in rows.to_pylist():
            for value in row.values():
                feed(digest, value)
    return Path(datasets.config.HF_DATASETS_CACHE) / "mer_hf-prepared" / digest.hexdigest()[:32]


def _not_decoded(dataset: Dataset) -> Dataset:
    """The columns that a clip is prepared from, with videos as files or bytes."""
    dataset = dataset.select_columns([name for name in (*PREPARED_FROM, "clip_id") if name in dataset.column_names])
    if isinstance(dataset.features.get("video"), datasets.Video):  # it would be decoded whole, and by another library
        dataset = dataset.cast_column("video", datasets.Video(decode=False))
    return dataset


def feed(digest: "hashlib._Hash", value: object) -> None:
    """Add a value of a row to a digest; a file on disk stands for its path, size and times of change."""
    if isinstance(value, list):
        digest.update(b"[%d]" % len(value))
        for part in value:
            feed(digest, part)
    elif isinstance(value, dict) and value.get("bytes") is not None:
        digest.update(value["bytes"])
    else:
        text = value.get("path") if isinstance(value, dict) else value
        digest.update(repr(text).encode())
        if isinstance(text, str) and Path(text).is_file():
            status = Path(text).stat()
            digest.update(repr((status.st_size, status.st_mtime_ns, status.st_ctime_ns)).encode())


def _prepare_anew(dataset: Dataset, processor: RcnVideoProcessor, num_proc: int | None, folder: Path) -> None:
    """Write the prepared clips and their checksums into a folder that is there whole or not at all."""
    height, width = processor.size["height"], processor.size["width"]
    problems = List(Value("string"))
    if processor.connectivity == "geometric":
        flow = Array4D((None, 2, height, width), "float32")
        features = Features({"motion": flow, "apex": Value("int64"), "onsets": flow, "problems": problems})
    else:
        crops = Array4D((None, processor.num_channels, height, width), "float32" if processor.sees_flow else "uint8")
        features = Features({"frames": crops, "problems": problems})
    with tempfile.TemporaryDirectory(prefix=".preparing-", dir=folder.parent) as unfinished, _one_thread():
        prepared = dataset.map(
            _prepare_clip,
            fn_kwargs={"processor": processor},
            remove_columns=dataset.column_names,
            features=features,
            num_proc=num_proc,
            writer_batch_size=16,  # a batch is held in memory before it is written
            cache_file_name=f"{unfinished}/clips.arrow",
            new_fingerprint=folder.name,
            desc="motion" if "motion" in features else "crops",
        )
        whole = Path(unfinished) / "whole"
        with _no_bar():  # that of the map was enough
            prepared.save_to_disk(whole)
        (whole / "sha256.json").write_text(json.dumps(_checksums(whole, folder.name)), encoding="utf-8")
        whole.rename(folder)


@contextlib.contextmanager
def _no_bar() -> Generator[None]:
    before = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            datasets.enable_progress_bars()


def _checksums(folder: Path, key: str) -> dict[str, str]:
    """Of each file, and the key that they were prepared for, so that folders cannot be swapped."""
    files = sorted(path for path in folder.iterdir() if path.name != "sha256.json")
    return {"key": key, **{path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}}


def _is_whole(folder: Path) -> bool:
    """Whether the files of a prepared folder are those that were written."""
    try:
        return json.loads((folder / "sha256.json").read_text(encoding="utf-8")) == _checksums(folder, folder.name)
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _one_thread() -> Generator[None]:
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


def _prepare_clip(row: dict[str, object], processor: RcnVideoProcessor) -> dict[str, object]:
    try:
        grey = processor.sees_flow or processor.num_channels == 1
        source, apex = spans.clip_of_row(row, grey)
        clip = processor.clip_sequence(source, apex, cast(float | None, row.get("fps")), windows=True)
    except MerHfError as error:
        raise VideoError(f"clip {row.get('clip_id')}: {error}") from error
    return {**vars(clip), "problems": list(clip.problems)}


# --- clips that are ready ---


def ready_inputs(dataset: Dataset, column: str) -> Iterator[np.ndarray]:
    """The array of each ready input: `flow` -> (1, C, H, W) float32, `pixel_values_videos` -> (T, C, H, W) float32.

    A flow picture (Image) stands for zero at mid-grey; its values become -1 to 1.

    Raises:
        DatasetError: for an array of another rank, a value that is not finite, or what is no array or picture, naming
            the clip.
    """
    inputs = dataset.select_columns([column])
    for row in range(len(inputs)):
        try:
            yield _ready_array(inputs[row][column], column)
        except (TypeError, ValueError, OSError) as error:  # also what numpy and Pillow say of ragged and damaged values
            name = dataset["clip_id"][row] if "clip_id" in dataset.column_names else f"of row {row}"
            raise DatasetError(f"clip {name}: {error}") from error


def _ready_array(value: object, column: str) -> np.ndarray:
    if value is None:
        raise DatasetError(f"{column} is empty")
    if isinstance(value, Picture):
        array = np.moveaxis(np.asarray(value.convert("RGB"), np.float32) / 127.5 - 1, 2, 0)
    else:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused below
            array = np.asarray(value, np.float32)
    rank = 3 if column == "flow" else 4
    if array.ndim != rank:
        raise DatasetError(f"{column} must have {rank} dimensions, channels before height and width, got {array.shape}")
    if not np.isfinite(array).all():
        raise DatasetError(f"{column} holds {(~np.isfinite(array)).sum()} values that are not finite numbers")
    return array[None] if column == "flow" else array


def load_clips(
    dataset: Dataset, processor: RcnVideoProcessor, num_proc: int | None = None, units: Sequence[int] = ()
) -> list[Clip]:
    """All clips of a dataset, prepared, in memory.

    Args:
        dataset: see `check_dataset`.
        processor: prepares clips; flow of another size than its `size` is brought to it.
        num_proc: number of processes to prepare clips with.
        units: action units that are targets, by FACS number.

    Returns:
        The clips in the order of the rows.

    Raises:
        DatasetError, VideoError: as above.
    """
    column = check_dataset(dataset)
    labels = dataset["label"]
    if column in FROM_PICTURES:
        kind = ClipMotion if processor.connectivity == "geometric" else ClipFrames
        prepared = prepare(dataset, processor, num_proc)
        crops = {n: f.dtype for n, f in prepared.features.items() if getattr(f, "dtype", None) == "uint8"}
        rows: list[dict[str, Any]] = [
            {**row, **{name: row[name].astype(dtype) for name, dtype in crops.items()}, "problems": (*row["problems"],)}
            for row in prepared.with_format("numpy")  # which reads whole numbers as int64
        ]
        contents = [kind(**row) for row in rows]
    else:
        ready = list(ready_inputs(dataset, column))
        if column == "flow":
            in_pixels = not isinstance(dataset.features["flow"], Image)  # a picture's channels have their own scales
            size = processor.size["height"], processor.size["width"]
            ready = [resized(array, *size, in_pixels) for array in ready]
        shapes = {array.shape for array in ready}
        if len(shapes) > 1:
            raise DatasetError(f"{column} has several shapes: {sorted(shapes)}; all clips of a dataset must have one")
        as_motion = column == "flow"
        contents = [ClipMotion(array, 0, array[:0]) if as_motion else ReadyInput(array) for array in ready]
    targets = unit_targets(dataset, units) if units else [None] * len(contents)
    return [Clip(*each) for each in zip(contents, labels, targets, strict=True)]


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


def digest_of(dataset: Dataset, clips: Sequence[Clip]) -> str:
    """A digest of who is seen in which clip, how it is labelled, and of what training takes of it."""
    columns = [name for name in ("clip_id", "subject", "label", SIDE) if name in dataset.column_names]
    table = dataset.select_columns(columns).to_pandas().to_csv()
    digest = hashlib.sha256(table.encode())
    for clip in clips:
        arrays = (clip.content.motion, clip.content.onsets) if isinstance(clip.content, ClipMotion) else (clip.frames,)
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        if clip.units is not None:
            digest.update(clip.units.data)
    return digest.hexdigest()


__all__ = [
    "Clip",
    "DatasetError",
    "ReadyInput",
    "check_dataset",
    "clips_of_recipe",
    "crossed",
    "digest_of",
    "feed",
    "load_clips",
    "prepare",
    "prepared_folder",
    "ready_inputs",
    "with_classes",
    "with_identity",
]
