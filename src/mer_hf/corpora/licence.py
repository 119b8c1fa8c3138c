"""What may not be passed on: frames of a gated corpus, and anything made from them.

A dataset carries its licence in `info.license`, which `datasets` keeps through map (even one that replaces all
columns), filter, select, sort, shuffle, splitting, concatenating, save_to_disk and load_from_disk. It is lost where a
dataset is made anew from its values (`from_dict`, `from_pandas`, `to_iterable_dataset`); then the names of the corpora
in `corpus`, `clip_id` and `subject` tell.

Nothing in this package uploads a dataset. Whoever does, calls `check_publishable(dataset)` before
`dataset.push_to_hub(...)`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import datasets

from mer_hf.corpora.errors import LicenceError

# The mark stands in the licence of every gated corpus, whatever else it says.
MARK = "may not be passed on"
GATED = f"Research only, by a signed licence agreement; frames and anything made from them {MARK}."

NAME_COLUMNS = ("corpus", "clip_id", "subject")

Table: TypeAlias = datasets.Dataset | datasets.IterableDataset


def check_publishable(dataset: Table | Mapping[str, Table], gated: frozenset[str] | None = None) -> None:
    """Refuse what holds frames of a gated corpus, or anything made from them: crops, flow, features, thumbnails.

    Text, numbers and classes may be published: predictions, scores, clip names.

    Args:
        dataset: a Dataset, an IterableDataset, or a dict of them.
        gated: names of the gated corpora; those of this package by default.

    Raises:
        LicenceError: it does, or may; with the columns and the reason.
    """
    if isinstance(dataset, Mapping):
        for split in dataset.values():
            check_publishable(split, gated)
        return
    if gated is None:
        from mer_hf.corpora import CORPORA

        gated = frozenset(name for name, corpus in CORPORA.items() if MARK in corpus.license)
    corpora = _gated_corpora(dataset, gated)
    if not (corpora or MARK in (dataset.info.license or "")):
        return
    features = dataset.features
    columns = ["(not known before it is read)"] if features is None else sorted(_pictures(features))
    if columns:
        raise LicenceError(
            f"This dataset must not be published: {', '.join(columns)} may hold frames, or something made from them, "
            f"of {', '.join(sorted(corpora)) or 'a gated corpus'}, and its licence says: {GATED} Remove these columns "
            "(dataset.remove_columns), or keep the dataset to yourself (dataset.save_to_disk)."
        )


def names_a_gated_corpus(path: str) -> bool:
    """Whether a folder or file on a path is called as a gated corpus is: `SAMM_longvideos`, `CAS(ME)^2`."""
    from mer_hf.corpora import CORPORA

    gated = [name.split("-")[0].split("_")[0] for name, corpus in CORPORA.items() if MARK in corpus.license]
    parts = ["".join(filter(str.isalnum, part.lower())) for part in Path(path).absolute().parts]
    return any(part.startswith(name) for part in parts for name in gated)


def _pictures(features: datasets.Features) -> list[str]:
    """The columns that are more than one text, number or class each."""
    return [name for name, feature in features.items() if not _is_plain(feature)]


def _is_plain(feature: object) -> bool:
    if isinstance(feature, datasets.ClassLabel):
        return True
    return isinstance(feature, datasets.Value) and "binary" not in feature.dtype


def _gated_corpora(dataset: Table, gated: frozenset[str]) -> set[str]:
    """The gated corpora that the rows name."""
    columns = [name for name in NAME_COLUMNS if name in (dataset.column_names or [])]
    if isinstance(dataset, datasets.IterableDataset):  # reading all of it is what nobody asked for
        first = next(iter(dataset), {})
        values = [first.get(name) for name in NAME_COLUMNS]
    else:
        values = [value for name in columns for value in set(dataset[name])]
    return {value.split("/")[0] for value in values if isinstance(value, str)} & gated
