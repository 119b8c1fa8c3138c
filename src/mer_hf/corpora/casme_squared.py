"""CAS(ME)^2, whose sheet has no header, and names subjects and recordings otherwise than the folders do."""

from functools import partial

from mer_hf.corpora.builder import CorpusBuilder
from mer_hf.corpora.declaration import Counts, Layout
from mer_hf.corpora.licence import GATED
from mer_hf.corpora.sheets import Columns, Lookup
from mer_hf.labels import MEGC2019_3CLASS

layout = partial(
    Layout,
    sheets=("CAS(ME)^2code_final*.xls*",),
    columns=Columns(subject=0, name=1, onset=2, apex=3, offset=4, action_units=5, emotion=6, kind=7),
    recordings=True,  # rawpic holds whole recordings; the other two hold macro-expressions as well
)


class CasmeSquared(CorpusBuilder):
    """CAS(ME)^2 (Qu et al., 2018): the 57 micro-expressions of 14 subjects among its 357 expressions."""

    corpus = "casme_squared"
    title = "CAS(ME)^2"
    citation = (
        "F. Qu, S.-J. Wang, W.-J. Yan, H. Li, S. Wu, X. Fu: CAS(ME)^2: A Database for Spontaneous Macro-Expression and "
        "Micro-Expression Spotting and Recognition. IEEE Transactions on Affective Computing 9(4): 424-436, 2018. "
        "doi:10.1109/TAFFC.2017.2654440"
    )
    homepage = "http://casme.psych.ac.cn/casme/e3"
    license = GATED
    request = "apply with a signed licence agreement at http://casme.psych.ac.cn/casme/e3"
    fps = 30.0  # by the literature; the sheet does not say
    resolution = (640, 480)
    tree = """
CASME_sq/
  CAS(ME)^2code_final.xlsx
  rawpic/
    s15/
      15_0101disgustingteeth/
        img001.jpg
or
  selectedpic/s15/disgust2_3/img703.jpg
or
  cropped/1/disgust2_3/img703.jpg
"""
    layouts = (
        layout("rawpic", "{subject}/{participant}_{recording:0>4}*", "img{frame:03d}.jpg"),
        layout("selectedpic", "{subject}/{name}", "img{frame}.jpg"),
        # some copies number the folders as the sheet does, others as the participants are
        layout("cropped", "{number}/{name}", "img{frame}.jpg"),
        layout("cropped", "{participant}/{name}", "img{frame}.jpg"),
    )
    subject = "s{participant}"
    lookups = (
        Lookup("naming rule1", cell="subject", part=r"(\d+)", key=2, value=0, field="participant"),
        Lookup("naming rule2", cell="name", part=r"(.+)_\d+", key=1, value=0, field="recording"),
    )
    kind = "micro-expression"
    other_kinds = ("macro-expression",)
    no_offset = "0"
    emotions = ("negative", "positive", "surprise", "others")
    label_sets = (MEGC2019_3CLASS,)
    counts = (Counts("CAS(ME)^2", 57, 14, {"negative": 21, "others": 19, "surprise": 9, "positive": 8}),)
