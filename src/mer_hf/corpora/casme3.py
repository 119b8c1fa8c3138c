"""CAS(ME)^3, part A."""

from functools import partial

from mer_hf.corpora.builder import CorpusBuilder
from mer_hf.corpora.declaration import Counts, Layout
from mer_hf.corpora.licence import GATED
from mer_hf.corpora.sheets import Columns
from mer_hf.labels import MEGC2019_3CLASS

layout = partial(
    Layout,
    sheets=("cas(me)3_part_A_ME_label_JpgIndex*.xls*",),
    columns=Columns("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "emotion"),
)


class Casme3(CorpusBuilder):
    """CAS(ME)^3 part A (Li et al., 2023): 860 micro-expressions of 94 subjects in long recordings, colour frames."""

    corpus = "casme3"
    title = "CAS(ME)^3 part A"
    citation = (
        "J. Li, Z. Dong, S. Lu, S.-J. Wang, W.-J. Yan, Y. Ma, Y. Liu, C. Huang, X. Fu: CAS(ME)^3: A Third Generation "
        "Facial Spontaneous Micro-Expression Database With Depth Information and High Ecological Validity. IEEE "
        "Transactions on Pattern Analysis and Machine Intelligence 45(3): 2782-2800, 2023. "
        "doi:10.1109/TPAMI.2022.3174895"
    )
    homepage = "http://casme.psych.ac.cn/casme/e4"
    license = GATED
    request = "apply with a signed licence agreement at http://casme.psych.ac.cn/casme/e4"
    fps = 30.0
    resolution = (1280, 720)
    tree = """
CASME3/
  cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx
  part_A/
    spNO.1/
      a/
        color/
          175.jpg
or
  Part_A_ME_clip/frame/spNO.1_a_175/175.jpg
"""
    layouts = (
        layout("part_A", "{subject}/{name}/color", "{frame}.jpg", recordings=True),
        layout("Part_A_ME_clip/frame", "{subject}_{name}_{onset}", "{frame}.jpg"),
    )
    subject = "spNO.{number}"
    no_offset = "0"
    emotions = ("happiness", "anger", "disgust", "fear", "sadness", "surprise", "others")
    spelling = (("happy", "happiness"), ("sad", "sadness"))
    label_sets = (MEGC2019_3CLASS,)
    counts = (Counts("part A, version 2", 860, 94),)
