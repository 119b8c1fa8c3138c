"""CASME."""

from functools import partial

from mer_hf.corpora.builder import CorpusBuilder
from mer_hf.corpora.declaration import Counts, Layout
from mer_hf.corpora.licence import GATED
from mer_hf.corpora.sheets import Columns
from mer_hf.labels import CASME_4CLASS, MEGC2019_3CLASS

layout = partial(
    Layout,
    sheets=("CASME-cod*.xls*", "CASME.xls*"),
    columns=Columns("Subject", "Filename", "OnsetF", "ApexF1", "OffsetF", "AU", "Emotion"),
)


class Casme(CorpusBuilder):
    """CASME (Yan et al., 2013): 189 clips of 18 subjects, or 193 of 19, at 60 frames a second.

    A clip name may stand for several clips of a subject, which differ by their onset. The sheet has two apex frames;
    the first is read, the second is missing for many clips.
    """

    corpus = "casme"
    title = "CASME"
    citation = (
        "W.-J. Yan, Q. Wu, Y.-J. Liu, S.-J. Wang, X. Fu: CASME Database: A Dataset of Spontaneous Micro-Expressions "
        "Collected from Neutralized Faces. FG 2013. doi:10.1109/FG.2013.6553799"
    )
    homepage = "http://casme.psych.ac.cn/casme/e1"
    license = GATED
    request = "apply with a signed licence agreement at http://casme.psych.ac.cn/casme/e1"
    fps = 60.0
    resolution = (640, 480)  # a part of it is said to be 1280x720
    tree = """
CASME/
  CASME-coded-20190721.xls
  CASME_raw_selected/           (or Cropped/ with reg_EP01_12-73.jpg)
    sub01/
      EP01_12/
        EP01_12-73.jpg
or, by emotion,
  CASME/tense/EP01_12/EP01_12-73.jpg
"""
    layouts = (
        layout("CASME_raw_selected", "{subject}/{name}", "{name}-{frame}.jpg"),
        layout("Cropped", "{subject}/{name}", "reg_{name}-{frame}.jpg"),
        layout("CASME", "{emotion}/{name}", "{name}-{frame:03d}.jpg"),
    )
    subject = "sub{number:02d}"
    emotions = ("tense", "disgust", "repression", "surprise", "happiness", "sadness", "fear", "contempt")
    label_sets = (MEGC2019_3CLASS, CASME_4CLASS)
    spelling = (("comtempt", "contempt"),)
    counts = (
        Counts("the sheet of 189 rows", 189, 18, dict(zip(emotions, (68, 45, 39, 20, 7, 6, 2, 2), strict=True))),
        Counts("the sheet of 193 rows", 193, 19, dict(zip(emotions, (71, 42, 43, 19, 10, 5, 2, 1), strict=True))),
    )
