"""From a corpus on disk to a `datasets.Dataset`.

A corpus is a declaration: a subclass of `CorpusBuilder` with class attributes and no code. Everything is read and
checked (`reading`) when the builder is made, before the cache is looked at, because the cache key is made of what was
read: a changed sheet, changed frames or changed code cannot give old clips. No image is decoded.
"""

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator

import datasets

from mer_hf.corpora.declaration import Declaration
from mer_hf.corpora.errors import AnnotationError, CorpusNotFoundError
from mer_hf.corpora.reading import Clip, DataDir, Reading, how_to, keep_all, read_corpus
from mer_hf.corpora.sheets import Annotation
from mer_hf.errors import MerHfError

logger = logging.getLogger(__name__)


class CorpusBuilder(Declaration, datasets.GeneratorBasedBuilder):
    """The clips of one corpus as a `datasets.Dataset`. A subclass declares what it is; it needs no code."""

    def __init__(
        self,
        data_dir: DataDir | None = None,
        label_set: str = "3class",
        corrections: bool = True,
        fps: float | None = None,
        cache_dir: str | os.PathLike | None = None,
    ):
        """Read and check the corpus; nothing is written yet.

        Args:
            data_dir: The folder of the corpus, a folder that holds it, or the folder of its frames.
            label_set: `"native"`, or the name of one of the declared label sets.
            corrections: Whether known mistakes of the sheet are put right (`corrections/<corpus>.csv`).
            fps: The frame rate of the frames on disk where it is not the corpus's own, e.g. of a thinned copy.
            cache_dir: Where the Arrow files are kept; the cache of `datasets` by default.

        Raises:
            CorpusNotFoundError: The folder, the sheet or the frames are not there.
            AnnotationError: The sheet cannot be understood or does not fit the frames.
            ValueError: An argument is wrong.
        """
        rate = self.fps if fps is None else fps
        if not (math.isfinite(rate) and rate > 0):
            raise MerHfError(f"fps={fps!r}: the frame rate must be a positive number of frames a second.")
        self.frame_rate = fps
        self.label_set = self.labels(label_set)
        if data_dir is None:
            raise CorpusNotFoundError(
                f"{self.title} is not downloaded for you: pass data_dir=, the folder of a copy.\n{how_to(type(self))}"
            )
        reading = self.read(data_dir, corrections, self._left_out)
        reading.raise_problems(f"`mer-hf corpora check {self.corpus} --data-dir ...` tells everything.")
        self.summary = _summary(reading, label_set)
        if not reading.clips:
            raise AnnotationError(f"{self.summary} No clip is left; choose another label_set.")
        logger.info(self.summary)
        self.rows = [self._row(clip) for clip in reading.clips]

        info = self._info()
        # With every row in the key the cache never gives what would not be read again now. Sizes and times of change
        # are in it because what is computed from the frames is cached under this key as well.
        described = [info.description, info.citation, info.homepage, info.license, repr(info.features)]
        key = json.dumps([described, self.rows, [_stamps(clip) for clip in reading.clips]])
        super().__init__(
            cache_dir=None if cache_dir is None else str(cache_dir),
            dataset_name=self.corpus,
            config_name=label_set,
            hash=hashlib.sha256(key.encode()).hexdigest()[:32],
        )

    @classmethod
    def read(
        cls,
        data_dir: DataDir,
        corrections: bool = True,
        left_out: Callable[[Annotation], str | None] = keep_all,
    ) -> Reading:
        """The corpus on disk with all that is wrong with it; see `read_corpus`."""
        return read_corpus(cls, data_dir, corrections, left_out)

    def _left_out(self, annotation: Annotation) -> str | None:
        return annotation.emotion if self.label_set.class_of(annotation.emotion) is None else None

    def _row(self, clip: Clip) -> dict[str, object]:
        corpus, annotation = clip.corpus, clip.annotation
        return {
            "clip_id": f"{corpus.corpus}/{annotation}",
            "corpus": corpus.corpus,
            "subject": f"{corpus.people or corpus.corpus}/{annotation.subject}",
            "frames": [frame.path for frame in clip.frames],
            "fps": float(corpus.fps if self.frame_rate is None else self.frame_rate),
            "onset": annotation.onset,
            "apex": clip.apex,
            "offset": annotation.offset,
            "emotion": annotation.emotion,
            "action_units": annotation.action_units,
            "label": self.label_set.class_of(annotation.emotion),
        }

    def _info(self) -> datasets.DatasetInfo:
        width, height = self.resolution
        rate = self.fps if self.frame_rate is None else self.frame_rate
        released = f"{self.title}: {width}x{height} as released, {rate:g} frames a second."
        return datasets.DatasetInfo(
            description=f"{released} {self.summary}",
            citation=self.citation,
            homepage=self.homepage,
            license=self.license,
            features=datasets.Features(
                {
                    "clip_id": datasets.Value("string"),
                    "corpus": datasets.Value("string"),
                    "subject": datasets.Value("string"),
                    "frames": datasets.List(datasets.Image(decode=False)),
                    "fps": datasets.Value("float32"),
                    "onset": datasets.Value("int64"),
                    "apex": datasets.Value("int64"),
                    "offset": datasets.Value("int64"),
                    "emotion": datasets.Value("string"),
                    "action_units": datasets.Value("string"),
                    "label": datasets.ClassLabel(names=self.label_set.class_names),
                }
            ),
        )

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        # a list among the arguments is what `datasets` deals out to its processes
        return [datasets.SplitGenerator(name=str(datasets.Split.TRAIN), gen_kwargs={"rows": self.rows})]

    def _generate_examples(self, rows: list[dict[str, object]]) -> Iterator[tuple[str, dict[str, object]]]:
        for row in rows:
            yield str(row["clip_id"]), row


def _stamps(clip: Clip) -> list[tuple[int, int]]:
    """Size and time of change of every frame, which stand in for its content."""
    stamps = [os.stat(frame.path) for frame in clip.frames]  # noqa: PTH116 - a Path for each of 18 000 frames is slow
    return [(stamp.st_size, stamp.st_mtime_ns) for stamp in stamps]


def _summary(reading: Reading, label_set: str) -> str:
    counted = ", ".join(f"{why} {clips}" for why, clips in sorted(reading.left_out.items()))
    return (
        f"{len(reading.clips)} of the {len(reading.clips) + reading.left_out.total()} clips of {reading.title} have a "
        f"class in the label set {label_set!r}; left out: {counted or 'none'}."
    )
