"""Clips by name: a corpus, a saved dataset, a folder of videos, or a dataset on the Hub."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
from datasets.exceptions import DatasetsError

from mer_hf.corpora import CORPORA, load_corpus
from mer_hf.corpora.folder import METADATA, load_folder
from mer_hf.corpora.reading import DataDir, folders_of
from mer_hf.drawn.embedded import default_folder
from mer_hf.errors import MerHfError
from mer_hf.escaping import check_name

EMBEDDED = "synthetic"
"""The corpus that is rendered where no folder of it is named."""
LABEL_SET = "3class"
"""The classes of a corpus where no others are asked for."""
NAMES = ("label", "corpus", "subject", "clip_id")
"""The columns that hold names, which tables, cards and pages will show."""


class DataError(MerHfError):
    """A dataset cannot be found or opened; the message says what was looked for, and where."""


def load_dataset(
    name: str | Path,
    data_dir: DataDir | None = None,
    label_set: str | None = None,
    fps: float | None = None,
    num_proc: int | None = None,
) -> datasets.Dataset:
    """The clips of a corpus, of several, of a saved dataset, of a folder of videos, or of a dataset on the Hub.

    Args:
        name: a corpus, see `mer_hf.CORPORA`; several that are joined, `"smic+casme2+samm"`; a folder of videos with
            `metadata.csv`, see `mer_hf.corpora.folder`; the folder of a `datasets.Dataset` that was saved by
            `save_to_disk`; or `user/name` on the Hub, whose split `train` is taken.
        data_dir: where the release of a corpus was unpacked. Of several corpora a folder that holds all of them, or
            theirs by name, a mapping or `"smic=DIR,casme2=DIR,samm=DIR"`.
        label_set: `"3class"` (of a corpus by default), `"4class"`, `"5class"`, `"native"` (of a folder by default), or
            `"any"`: one class of all clips, for action units. Corpora that are joined must have the same classes in it.
        fps: frames per second of the frames on disk, where it is not the corpus's (corpora only).
        num_proc: number of processes that write, and render.

    Returns:
        A Dataset with `label` (a ClassLabel), `subject`, and one of `frames`, `video`, `flow` and
        `pixel_values_videos`; see `load_corpus` for the other columns.

    Raises:
        DataError: for a name that is none of these, and a folder that holds no dataset.
        MerHfError: as `load_corpus` and `load_folder`; for names of classes, corpora, subjects or clips with a line
            break or a control character.
    """
    members = corpora_of(str(name))
    if len(members) < 2:
        return check_names(_found(str(name), data_dir, label_set, fps, num_proc))
    if fps is not None:
        raise DataError(f"fps is of one corpus, and {name} joins several, each with its own")
    folders = dict.fromkeys(members) if data_dir is None else folders_of(members, data_dir, str(name))
    return joined({each: _found(each, folders[each], label_set, None, num_proc) for each in members})


def corpora_of(name: str) -> list[str]:
    """The corpora that a name of a dataset joins: `smic+samm`; one for a corpus, none for what is no corpus.

    Raises:
        DataError: for a corpus that stands twice.
    """
    members = name.split("+")
    if any(each not in CORPORA for each in members):
        return []
    if len({*members}) < len(members):
        raise DataError(f"the dataset {name!r} joins a corpus with itself; name each once")
    return members


def joined(parts: Mapping[str, datasets.Dataset]) -> datasets.Dataset:
    """The clips of several corpora in one dataset, with a column for all that any of them has.

    Raises:
        DataError: for corpora with other classes, or with a clip in common.
    """
    (first, reference), *others = parts.items()
    classes = reference.features["label"].names
    for name, part in others:
        if (theirs := part.features["label"].names) != classes:
            raise DataError(
                f"the classes of {first} are {', '.join(classes)}, those of {name} are {', '.join(theirs)}; corpora "
                "are joined under a label set that is the same in all, such as 3class"
            )
    clips = in_one([*parts.values()])
    twice = [clip for clip, count in Counter(clips["clip_id"]).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} clips are in two of {', '.join(parts)}, such as {twice[0]}; name each once")
    return check_names(clips)


def in_one(parts: Sequence[datasets.Dataset]) -> datasets.Dataset:
    """The rows of several datasets in one, with what each says of itself, such as its licence.

    Raises:
        ValueError: for columns of one name and several types.
    """
    clips = datasets.concatenate_datasets([*parts])
    clips.info.homepage = ", ".join(dict.fromkeys(part.info.homepage for part in parts if part.info.homepage))
    return clips


def check_names(dataset: datasets.Dataset) -> datasets.Dataset:
    """Give back a dataset whose names are text in one line.

    Raises:
        MerHfError: for a name with a line break or a control character, with its column.
    """
    for column in dataset.features.keys() & NAMES:
        feature = dataset.features[column]
        # not dataset.unique, which may write into the folder of a saved dataset
        names = feature.names if isinstance(feature, datasets.ClassLabel) else set(dataset[column])
        for name in names:
            check_name(str(name), f"the column {column!r} of the dataset")
    return dataset


def _found(
    name: str, data_dir: DataDir | None, label_set: str | None, fps: float | None, num_proc: int | None
) -> datasets.Dataset:
    if name in CORPORA:
        if name == EMBEDDED and data_dir is None:
            data_dir = default_folder(num_proc=num_proc)
        return load_corpus(name, data_dir, label_set or LABEL_SET, fps=fps, num_proc=num_proc)
    _refuse_for_corpora(name, data_dir=data_dir, fps=fps)
    if Path(name, METADATA).is_file():
        return load_folder(name, label_set or "native")
    _refuse_for_corpora(name, label_set=label_set)
    if Path(name).is_dir():
        return _saved(Path(name))
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _from_hub(name)
    raise DataError(f"the dataset {name!r} is no corpus ({', '.join(CORPORA)}), no folder, and no user/name on the Hub")


def default_label_set(name: str) -> str | None:
    """The label set that `load_dataset` gives a corpus where none is named; None for what is no corpus."""
    return LABEL_SET if corpora_of(name) else None


def _refuse_for_corpora(name: str, **options: object) -> None:
    for option, value in options.items():
        if value is not None:
            raise DataError(f"{option} is for corpora, and {name!r} is none of {', '.join(CORPORA)}")


def _saved(folder: Path) -> datasets.Dataset:
    """What `save_to_disk` wrote."""
    try:
        dataset = datasets.load_from_disk(folder)
    except FileNotFoundError as error:
        raise DataError(f"the folder {folder} holds neither {METADATA} nor a saved datasets.Dataset") from error
    except Exception as error:  # whatever datasets raises of one that was saved without rows, cut short, or edited
        raise DataError(f"the folder {folder} holds a dataset that is empty or damaged: {error}") from error
    if not isinstance(dataset, datasets.Dataset):
        raise DataError(f"the folder {folder} holds the splits {', '.join(map(str, dataset))}; name the folder of one")
    return dataset


def _from_hub(name: str) -> datasets.Dataset:
    """The split `train` of a dataset on the Hub; no code of it is run."""
    try:
        return datasets.load_dataset(name, split="train")
    except (OSError, ValueError, DatasetsError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{name!r} is no folder here, and no dataset that can be had from the Hub: {reason}") from error


__all__ = ["DataError", "check_names", "corpora_of", "default_label_set", "in_one", "joined", "load_dataset"]
