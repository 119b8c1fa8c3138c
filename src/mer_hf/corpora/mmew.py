"""MMEW."""

from mer_hf.corpora.builder import CorpusBuilder
from mer_hf.corpora.declaration import Counts, Layout
from mer_hf.corpora.licence import GATED
from mer_hf.corpora.sheets import Columns
from mer_hf.labels import MEGC2019_3CLASS


class Mmew(CorpusBuilder):
    """MMEW (Ben et al., 2022): 300 micro-expressions of 36 subjects; the names of clips tell whose they are."""

    corpus = "mmew"
    title = "MMEW"
    citation = (
        "X. Ben, Y. Ren, J. Zhang, S.-J. Wang, K. Kpalma, W. Meng, Y.-J. Liu: Video-based Facial Micro-Expression "
        "Analysis: A Survey of Datasets, Features and Algorithms. IEEE Transactions on Pattern Analysis and Machine "
        "Intelligence 44(9): 5826-5846, 2022. doi:10.1109/TPAMI.2021.3067464"
    )
    homepage = "http://www.dpailab.com/database.html"
    license = GATED
    request = "apply with a signed licence agreement: http://www.dpailab.com/database.html"
    fps = 90.0  # by the literature; the sheet does not say
    resolution = (1920, 1080)
    tree = """
MMEW_Final/
  MMEW_Micro_Exp.xlsx
  Micro_Expression/
    anger/
      S13-07-001/
        1.jpg
"""
    layouts = (
        Layout(
            "Micro_Expression",
            "{emotion}/{name}",
            "{frame}.jpg",
            ("MMEW_Micro_Exp*.xls*",),
            Columns(
                subject="Subject",
                name="Filename",
                onset="OnsetFrame",
                apex="ApexFrame",
                offset="OffsetFrame",
                action_units="Action Units",
                emotion="Estimated Emotion",
            ),
        ),
    )
    subject = "S{number:02d}"
    emotions = ("happiness", "surprise", "anger", "disgust", "fear", "sadness", "others")
    spelling = (("repression", "others"),)  # what the folder of the sheet's "others" is called
    label_sets = (MEGC2019_3CLASS,)
    counts = (Counts("MMEW", 300, 36),)
