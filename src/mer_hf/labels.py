"""Label sets: which emotions make which class, each defined once.

A corpus releases emotions ("repression", "others"); a recogniser learns classes. A label set stands between them: it
names its classes in the order of their numbers and says which emotions belong to each. An emotion that belongs to no
class is left out of the experiment.

A corpus lists the label sets it can be read with; `native_label_set` and `ANY` are there for every corpus.
"""

from collections.abc import Iterable
from dataclasses import dataclass


def normalize_emotion(text: str) -> str:
    """The released spelling without its accidents: `" Disgust "` is `"disgust"`."""
    return " ".join(text.split()).lower()


@dataclass(frozen=True)
class LabelSet:
    """Classes, and the emotions that belong to them.

    Args:
        name: How the set is asked for, e.g. `"3class"`.
        classes: (class, its emotions) pairs in the order of the class numbers; emotions as `normalize_emotion` spells
            them. No emotion belongs to two classes.
    """

    name: str
    classes: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def class_names(self) -> list[str]:
        """The names of the classes; a class's number is its place in this list."""
        return [name for name, _ in self.classes]

    def class_of(self, emotion: str) -> str | None:
        """The class of an emotion, or None where the set leaves the emotion out."""
        for name, emotions in self.classes:
            if emotion in emotions:
                return name
        return None


def native_label_set(emotions: Iterable[str]) -> LabelSet:
    """Every emotion of a corpus a class of its own, in the order in which the corpus declares them."""
    return LabelSet("native", tuple((emotion, (emotion,)) for emotion in emotions))


class _Any(LabelSet):
    """One class, which every emotion belongs to, blends and unlisted ones too."""

    def class_of(self, emotion: str) -> str | None:
        """The only class."""
        return self.class_names[0]


ANY = _Any("any", (("expression", ()),))
"""For what is not asked by classes: every clip of a corpus is there, to be told by its action units."""

# See et al., "MEGC 2019 - The Second Facial Micro-Expressions Grand Challenge", FG 2019: what is neither of the three
# (others, tense) is left out. SMIC, CAS(ME)^2 and 4DME release the classes themselves.
MEGC2019_3CLASS = LabelSet(
    "3class",
    (
        ("negative", ("negative", "repression", "anger", "contempt", "disgust", "fear", "sadness")),
        ("positive", ("positive", "happiness")),
        ("surprise", ("surprise",)),
    ),
)


def _same_names(name: str, emotions: Iterable[str]) -> LabelSet:
    return LabelSet(name, native_label_set(emotions).classes)


# Yan et al., "CASME Database", FG 2013: the emotions that papers keep; the others have ten clips or fewer.
CASME_4CLASS = _same_names("4class", ("disgust", "surprise", "repression", "tense"))

# Yan et al., "CASME II", PLoS ONE 9(1), 2014: the five classes of its baseline; sadness and fear are too rare.
CASME2_5CLASS = _same_names("5class", ("happiness", "disgust", "repression", "surprise", "others"))

# The five emotions of SAMM with ten clips or more: 136 of 159 clips.
SAMM_5CLASS = _same_names("5class", ("anger", "other", "happiness", "surprise", "contempt"))
