"""The composite database of MEGC 2019: three corpora as one, in three classes."""

from collections import Counter
from collections.abc import Callable

from mer_hf.corpora.builder import CorpusBuilder
from mer_hf.corpora.casme2 import Casme2
from mer_hf.corpora.declaration import Counts
from mer_hf.corpora.licence import GATED
from mer_hf.corpora.reading import DataDir, Reading, count_problems, folders_of, keep_all
from mer_hf.corpora.samm import Samm
from mer_hf.corpora.sheets import Annotation
from mer_hf.corpora.smic import Smic
from mer_hf.labels import MEGC2019_3CLASS

MEMBERS: dict[str, type[CorpusBuilder]] = {member.corpus: member for member in (Smic, Casme2, Samm)}

# What the list of the challenge (combined_3class_gt.csv on its site) leaves out beyond the emotions without a class.
LEFT_OUT_EMOTIONS = {"casme2": ("sadness", "fear")}
LEFT_OUT_CLIPS = {
    "casme2": (
        "sub04/EP12_01f",  # without an apex
        "sub05/EP09_05f",  # its apex is its onset
        *("sub24/EP07_01", "sub24/EP07_04f", "sub24/EP10_03"),  # surprise only since the sheet of 2019
    )
}


class Megc2019(CorpusBuilder):
    """The composite of MEGC 2019 (See et al., 2019): 442 clips of 68 subjects from SMIC HS, CASME II and SAMM.

    `data_dir` is a folder that holds the three corpora, or a mapping of `smic`, `casme2` and `samm` to theirs, which a
    command line writes as `smic=DIR,casme2=DIR,samm=DIR`.
    """

    corpus = "megc2019"
    title = "MEGC 2019 composite"
    citation = (
        "J. See, M. H. Yap, J. Li, X. Hong, S.-J. Wang: MEGC 2019 - The Second Facial Micro-Expressions Grand "
        "Challenge. FG 2019. doi:10.1109/FG.2019.8756611"
    )
    homepage = "https://facial-micro-expressiongc.github.io/MEGC2019/"
    license = GATED
    request = "; ".join(f"{member.title}: {member.request}" for member in MEMBERS.values())
    fps = 200.0  # of two of them; every clip carries its own
    resolution = (640, 480)
    tree = "".join(member.tree for member in MEMBERS.values())
    layouts = ()
    emotions = tuple(dict.fromkeys(emotion for member in MEMBERS.values() for emotion in member.emotions))
    label_sets = (MEGC2019_3CLASS,)
    counts = (Counts("the challenge", 442, 68, {"negative": 250, "positive": 109, "surprise": 83}, "3class"),)

    @classmethod
    def read(
        cls,
        data_dir: DataDir,
        corrections: bool = True,
        left_out: Callable[[Annotation], str | None] = keep_all,
    ) -> Reading:
        """The three corpora on disk, without the clips that the challenge left out.

        Raises:
            CorpusNotFoundError: One of them is not there.
            AnnotationError: One of the sheets cannot be read.
        """
        whole = Reading(cls.title, [])
        for name, folder in folders_of(MEMBERS, data_dir, cls.title).items():
            member = MEMBERS[name]
            part = member.read(folder, corrections, lambda clip, name=name: left_out(clip) or _left_out(name, clip))
            whole.sources += part.sources
            whole.annotations += part.annotations
            whole.clips += part.clips
            whole.left_out += Counter({f"{member.title} {why}": clips for why, clips in part.left_out.items()})
            whole.corrections += part.corrections
            whole.problems += [problem._replace(text=f"{member.title}: {problem.text}") for problem in part.problems]
            whole.notes += [f"{member.title}: {note}" for note in part.notes]
        whole.problems += count_problems(cls, whole.annotations)
        return whole


def _left_out(corpus: str, clip: Annotation) -> str | None:
    """Why the challenge has no such clip; None where it has."""
    if MEGC2019_3CLASS.class_of(clip.emotion) is None or clip.emotion in LEFT_OUT_EMOTIONS.get(corpus, ()):
        return clip.emotion
    name = f"{clip.subject}/{clip.name}"
    return name if name in LEFT_OUT_CLIPS.get(corpus, ()) else None
