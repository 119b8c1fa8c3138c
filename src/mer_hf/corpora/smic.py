"""SMIC, filmed by three cameras at once: HS, and for half of the subjects VIS and NIR."""

from functools import partial

from mer_hf.corpora.builder import CorpusBuilder
from mer_hf.corpora.declaration import Counts, Layout
from mer_hf.corpora.licence import GATED
from mer_hf.corpora.sheets import Columns
from mer_hf.labels import MEGC2019_3CLASS

COLUMNS = Columns("Subject", "Filename", "OnsetF", "ApexF", "OffsetF", None, "Emotion")

# The long videos of SMIC-E hold up to three micro-expressions of one emotion; these columns follow the first one's.
MORE_CLIPS = (("Onset2F", "Offset2F"), ("Onset3F", "Offset3F"))


def layouts(camera: str) -> tuple[Layout, ...]:
    """How the recordings of one camera lie on disk; the names of folders alone tell cameras apart."""
    folders = partial(Layout, clip="s{number}/micro/{emotion}/{name}", by_name_only=True)
    extended = partial(
        Layout,
        path=f"SMIC-E_raw image/{camera}_long/SMIC-{camera}-E",
        clip="s{number:02d}/{name}",
        image="image{frame:06d}.jpg",
        more_clips=MORE_CLIPS,
        by_name_only=True,
    )
    sheet = f"SMIC[-_]{camera}[-_]E_annotation"
    return (
        folders(f"SMIC_all_raw/{camera}", image="image{frame:06d}.bmp"),
        folders(f"SMIC_all_cropped/{camera}", image="reg_image{frame:06d}.bmp"),
        extended(sheets=(f"{sheet}_2019.xls*",), columns=COLUMNS),
        # the sheets before 2019 have no apex
        extended(sheets=(f"{sheet}*.xls*",), columns=COLUMNS._replace(apex=None)),
    )


def tree(camera: str) -> str:
    """The same for a reader."""
    return f"""
SMIC/
  SMIC_all_raw/{camera}/              (or SMIC_all_cropped/{camera}/ with reg_image559740.bmp)
    s1/micro/negative/s1_ne_01/
      image559740.bmp
or
  SMIC-E_raw image/{camera}_long/
    SMIC-{camera}-E_annotation_2019.xlsx
    SMIC-{camera}-E/s03/s3_sur_01/image308866.jpg
"""


class Smic(CorpusBuilder):
    """SMIC HS (Li et al., 2013): 164 clips of 16 subjects at 100 frames a second, without an official apex.

    The folders are the labels; only SMIC-E, whose videos go on before and after the clip, has sheets.
    """

    corpus = "smic"
    title = "SMIC HS"
    citation = (
        "X. Li, T. Pfister, X. Huang, G. Zhao, M. Pietikäinen: A Spontaneous Micro-expression Database: Inducement, "
        "Collection and Baseline. FG 2013. doi:10.1109/FG.2013.6553717"
    )
    homepage = "https://www.oulu.fi/cmvs/node/41319"
    license = GATED
    request = "apply to the Center for Machine Vision, University of Oulu: https://www.oulu.fi/cmvs/node/41319"
    fps = 100.0
    resolution = (640, 480)
    tree = tree("HS")
    layouts = layouts("HS")
    subject = "s{number:02d}"  # as the list of MEGC 2019 has it; the folders have s1
    people = "smic"
    emotions = ("negative", "positive", "surprise")
    label_sets = (MEGC2019_3CLASS,)
    counts = (Counts("SMIC HS", 164, 16, {"negative": 70, "positive": 51, "surprise": 43}),)


class SmicVis(Smic):
    """SMIC VIS: 71 clips of 8 of the subjects of HS by a colour camera at 25 frames a second."""

    corpus = "smic-vis"
    title = "SMIC VIS"
    fps = 25.0
    tree = tree("VIS")
    layouts = layouts("VIS")
    counts = (Counts("SMIC VIS", 71, 8, confirmed=False),)


class SmicNir(Smic):
    """SMIC NIR: 71 clips of 8 of the subjects of HS by a near-infrared camera at 25 frames a second."""

    corpus = "smic-nir"
    title = "SMIC NIR"
    fps = 25.0
    tree = tree("NIR")
    layouts = layouts("NIR")
    counts = (Counts("SMIC NIR", 71, 8, confirmed=False),)
