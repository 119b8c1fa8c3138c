"""Clips by name: a corpus, a saved dataset, a folder of videos, or a dataset on the Hub."""

from pathlib import Path

import datasets

from mer_hf.corpora import CORPORA, load_corpus
from mer_hf.drawn.embedded import default_folder
from mer_hf.errors import MerHfError

EMBEDDED = "synthetic"
"""The corpus that is rendered where no folder of it is named."""


class DataError(MerHfError):
    """A dataset cannot be found or opened; the message says what was looked for, and where."""


def load_dataset(
    name: str | Path,
    data_dir: str | Path | None = None,
    label_set: str = "3class",
    fps: float | None = None,
    num_proc: int | None = None,
) -> datasets.Dataset:
    """The clips of a corpus, of a saved dataset, of a folder of videos, or of a dataset on the Hub.

    Args:
        name: a corpus, see `mer_hf.CORPORA`; the folder of a `datasets.Dataset` that was saved by `save_to_disk`; a
            folder of videos with `metadata.csv`; or `user/name` on the Hub.
        data_dir: where the release of a corpus was unpacked.
        label_set: `"3class"`, `"4class"`, `"5class"` or `"native"` (corpora only).
        fps: frames per second of the frames on disk, where it is not the corpus's (corpora only).
        num_proc: number of processes that write, and render.

    Returns:
        A Dataset with `label` (a ClassLabel), `subject`, and one of `frames`, `flow` and `pixel_values_videos`; see
        `load_corpus` for the other columns.

    Raises:
        DataError: for a name that is none of these, and a folder that holds no dataset.
        MerHfError: as `load_corpus`.
    """
    if str(name) in CORPORA:
        if str(name) == EMBEDDED and data_dir is None:
            data_dir = default_folder(num_proc=num_proc)
        return load_corpus(str(name), data_dir, label_set, fps=fps, num_proc=num_proc)
    for_corpora = {"data_dir": data_dir is not None, "label_set": label_set != "3class", "fps": fps is not None}
    for option, is_given in for_corpora.items():
        if is_given:
            raise DataError(f"{option} is for corpora, and {str(name)!r} is none of {', '.join(CORPORA)}")
    folder = Path(name)
    known = f"expected a corpus ({', '.join(CORPORA)}) or the folder of a saved datasets.Dataset"
    if not folder.is_dir():
        raise DataError(f"the dataset {str(name)!r} is no corpus and no folder; {known}")
    try:
        dataset = datasets.load_from_disk(folder)
    except FileNotFoundError as error:
        raise DataError(f"the folder {folder} holds no saved dataset; {known}") from error
    except Exception as error:  # whatever datasets raises of one that was saved without rows, cut short, or edited
        raise DataError(f"the folder {folder} holds a dataset that is empty or damaged: {error}") from error
    if not isinstance(dataset, datasets.Dataset):
        raise DataError(f"the folder {folder} holds the splits {', '.join(dataset)}; name the folder of one")
    return dataset


__all__ = ["DataError", "load_dataset"]
