"""From a corpus on disk to clips: `load_corpus` is the way in."""

import difflib
import os
from typing import cast

import datasets

from mer_hf.corpora.builder import CorpusBuilder
from mer_hf.corpora.casme import Casme
from mer_hf.corpora.casme2 import Casme2, Synthetic
from mer_hf.corpora.casme3 import Casme3
from mer_hf.corpora.casme_squared import CasmeSquared
from mer_hf.corpora.composite import Megc2019
from mer_hf.corpora.errors import AnnotationError, CorpusNotFoundError, LicenceError, MerDataError
from mer_hf.corpora.fourdme import FourDme
from mer_hf.corpora.licence import check_publishable
from mer_hf.corpora.mmew import Mmew
from mer_hf.corpora.reading import DataDir
from mer_hf.corpora.samm import Samm
from mer_hf.corpora.smic import Smic, SmicNir, SmicVis
from mer_hf.errors import MerHfError

__all__ = [
    "CORPORA",
    "AnnotationError",
    "CorpusBuilder",
    "CorpusNotFoundError",
    "LicenceError",
    "MerDataError",
    "check_publishable",
    "load_corpus",
]

CORPORA: dict[str, type[CorpusBuilder]] = {
    corpus.corpus: corpus
    for corpus in (
        *(Smic, SmicVis, SmicNir, Casme, Casme2, Samm, Mmew, CasmeSquared, Casme3, FourDme),
        *(Megc2019, Synthetic),
    )
}


def load_corpus(
    name: str,
    data_dir: DataDir | None = None,
    label_set: str = "3class",
    corrections: bool = True,
    fps: float | None = None,
    cache_dir: str | os.PathLike | None = None,
    num_proc: int | None = None,
) -> datasets.Dataset:
    """The clips of a corpus, one a row, sorted by subject, name and onset.

    What is made of a gated corpus must not be published: call `check_publishable(dataset)` before
    `dataset.push_to_hub(...)`.

    Args:
        name: A key of `CORPORA`: `"smic"`, `"smic-vis"`, `"smic-nir"`, `"casme"`, `"casme2"`, `"samm"`, `"mmew"`,
            `"casme_squared"`, `"casme3"`, `"4dme"`, `"megc2019"`, `"synthetic"`. `mer-hf corpora` describes them.
        data_dir: The folder of the corpus, a folder that holds it, or the folder of its frames (which says which
            release is meant, where both are there). `"megc2019"` also takes a mapping of its three corpora to their
            folders.
        label_set: `"3class"` (MEGC 2019), `"4class"` (CASME), `"5class"` (CASME II, SAMM), `"native"`: all emotions of
            the corpus, or `"any"`: one class of all clips, for action units. Clips whose emotion has no class are left
            out; `info.description` counts them.
        corrections: Whether known mistakes of the sheet are put right; each is logged.
        fps: The frame rate of the frames on disk where it is not the corpus's own.
        cache_dir: Where the result is kept; the cache of `datasets` by default. The key is made of the sheet, the
            frames and the other arguments, so a change of any of them is read anew.
        num_proc: Processes to write with.

    Returns:
        A Dataset with the columns `clip_id` (`casme2/sub01/EP02_01f@46`), `corpus`, `subject` (`casme2/sub01`; the
        people of `smic-vis` and `smic-nir` are those of `smic`, and named so), `frames` (the paths of the frames from
        onset to offset, inclusive, not decoded), `fps`, `onset`, `apex`, `offset` (frame numbers as released; the apex
        is None where none is known, or the released one lies outside the clip), `emotion`, `action_units`, and `label`
        (a ClassLabel). Its licence is in `info.license`.

    Raises:
        CorpusNotFoundError: The folder, the sheet or the frames are not there; never an empty Dataset.
        AnnotationError: The sheet cannot be understood, or does not fit the frames.
        ValueError: Another argument is wrong.
    """
    builder = find_corpus(name)(data_dir, label_set, corrections, fps, cache_dir)
    builder.download_and_prepare(num_proc=num_proc)
    return cast(datasets.Dataset, builder.as_dataset(split="train"))


def find_corpus(name: str) -> type[CorpusBuilder]:
    """The corpus of a name.

    Raises:
        ValueError: There is none; with the known ones.
    """
    if name not in CORPORA:
        nearest = difflib.get_close_matches(str(name).lower(), CORPORA, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise MerHfError(f"There is no corpus {name!r}.{hint} The corpora are: {', '.join(CORPORA)}.")
    return CORPORA[name]
