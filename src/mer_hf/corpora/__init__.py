"""From a corpus on disk to clips: `load_corpus` is the way in."""

import difflib
import os

import datasets

from .builder import AnnotationError, CorpusBuilder, CorpusNotFoundError, MerDataError
from .casme2 import Casme2, Synthetic

__all__ = ["CORPORA", "AnnotationError", "CorpusBuilder", "CorpusNotFoundError", "MerDataError", "load_corpus"]

CORPORA: dict[str, type[CorpusBuilder]] = {corpus.corpus: corpus for corpus in (Casme2, Synthetic)}


def load_corpus(
    name: str,
    data_dir: str | os.PathLike | None = None,
    label_set: str = "3class",
    corrections: bool = True,
    fps: float | None = None,
    cache_dir: str | os.PathLike | None = None,
    num_proc: int | None = None,
) -> datasets.Dataset:
    """The clips of a corpus, one a row, sorted by subject, name and onset.

    Args:
        name: A key of `CORPORA`: `"casme2"`, `"synthetic"`.
        data_dir: The folder of the corpus, a folder that holds it, or the folder of its frames (which says which
            release is meant, where both are there). Without it `"synthetic"` renders its default corpus into the cache.
        label_set: `"3class"` (MEGC 2019), `"5class"`, or `"native"`: all emotions of the corpus. Clips whose emotion
            has no class are left out; `info.description` counts them.
        corrections: Whether known mistakes of the sheet are put right; each is logged.
        fps: The frame rate of the frames on disk where it is not the corpus's own.
        cache_dir: Where the result is kept; the cache of `datasets` by default. The key is made of the sheet, the
            frames and the other arguments, so a change of any of them is read anew.
        num_proc: Processes to write, and to render, with. Those that render start afresh, so a script needs its
            `__main__` guard.

    Returns:
        A Dataset with the columns `clip_id` (`casme2/sub01/EP02_01f@46`), `corpus`, `subject` (`casme2/sub01`),
        `frames` (the paths of the frames from onset to offset, inclusive, not decoded), `fps`, `onset`, `apex` (or
        None), `offset` (frame numbers as released), `emotion`, `action_units`, and `label` (a ClassLabel).

    Raises:
        CorpusNotFoundError: The folder, the sheet or the frames are not there; never an empty Dataset.
        AnnotationError: The sheet cannot be understood, or does not fit the frames.
        ValueError: Another argument is wrong.
    """
    if name not in CORPORA:
        nearest = difflib.get_close_matches(str(name).lower(), CORPORA, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"There is no corpus {name!r}.{hint} The corpora are: {', '.join(CORPORA)}.")
    builder = CORPORA[name](data_dir, label_set, corrections, fps, cache_dir, num_proc)
    builder.download_and_prepare(num_proc=num_proc)
    return builder.as_dataset(split="train")
