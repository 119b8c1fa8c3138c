"""What has to be said of a corpus so that it can be read: facts, and no code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from mer_hf.corpora.sheets import Columns, Lookup
from mer_hf.errors import MerHfError
from mer_hf.labels import ANY, LabelSet, native_label_set


@dataclass(frozen=True)
class Layout:
    """One way in which copies of a corpus lie on disk.

    Args:
        path: The folder that holds the clips, as released: `SMIC_all_raw/HS`. Of several layouts the first that is
            there by name is read.
        clip: The folder of a clip below it, made of `{subject}`, `{name}`, `{number}` (of the subject), `{emotion}`,
            `{onset}` and what `Declaration.lookups` find; `*` is any text.
        image: A frame, made of the same and `{frame}`. For the reader, and for the replicas of the tests: frames are
            found by the last integer of their names, whatever else these are made of.
        sheets: Names of the coding sheet, with wildcards, in any case; none where the folders are the annotation.
        columns: Its columns.
        page: Its page, where it has several with such columns.
        more_clips: Columns of the onset and offset of further clips in the same row.
        recordings: Whether a folder is a recording that may hold several clips, or none.
        by_name_only: Whether the last folder of `path` must have this name, where nothing else tells two corpora apart.
    """

    path: str
    clip: str
    image: str
    sheets: tuple[str, ...] = ()
    columns: Columns | None = None
    page: str | None = None
    more_clips: tuple[tuple[str, str], ...] = ()
    recordings: bool = False
    by_name_only: bool = False


class Counts(NamedTuple):
    """What a release is said to hold."""

    release: str
    clips: int
    subjects: int | None
    classes: Mapping[str, int] = {}  # class -> clips; empty where the source does not tell
    label_set: str = "native"  # whose classes they are
    confirmed: bool = True  # whether a difference is a fault of the copy, or may be one of the source


class Declaration:
    """What has to be said of a corpus so that it can be read. A subclass sets the attributes; it needs no code."""

    corpus: ClassVar[str]  # as it stands in clip ids
    title: ClassVar[str]
    citation: ClassVar[str]
    homepage: ClassVar[str]
    license: ClassVar[str]
    request: ClassVar[str]  # how a copy is come by
    fps: ClassVar[float]
    resolution: ClassVar[tuple[int, int]]  # width, height
    tree: ClassVar[str]  # what the folder looks like, for the reader of an error
    layouts: ClassVar[tuple[Layout, ...]]  # the preferred one first
    subject: ClassVar[str]  # a subject's name, of {number} or {released}, the cell of the sheet as it is, or a lookup
    emotions: ClassVar[tuple[str, ...]]
    label_sets: ClassVar[tuple[LabelSet, ...]]
    counts: ClassVar[tuple[Counts, ...]] = ()  # of every known release

    # what only some corpora need
    people: ClassVar[str | None] = None  # the corpus that has the same people under the same names
    spelling: ClassVar[tuple[tuple[str, str], ...]] = ()  # emotion, or its folder, as released -> as spelt here
    blends: ClassVar[bool] = False  # whether a clip may show several emotions: positive+surprise
    kind: ClassVar[str | None] = None  # what `Columns.kind` says of a micro-expression
    other_kinds: ClassVar[tuple[str, ...]] = ()  # and of rows that are none
    lookups: ClassVar[tuple[Lookup, ...]] = ()
    no_offset: ClassVar[str | None] = None  # what the sheet writes for an offset that is not known: the apex is meant
    not_in_sheet: ClassVar[
        tuple[tuple[str, str], ...]
    ] = ()  # clip folder -> why the release has it and its sheet does not

    @classmethod
    def labels(cls, name: str) -> LabelSet:
        """A label set of the corpus by its name.

        Raises:
            ValueError: It has none of this name.
        """
        known = {labels.name: labels for labels in (native_label_set(cls.emotions), *cls.label_sets, ANY)}
        if name not in known:
            raise MerHfError(f"{cls.title} has no label set {name!r}; label_set= is one of {', '.join(known)}.")
        return known[name]
