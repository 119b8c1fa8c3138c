"""CASME II, and the synthetic corpus that is laid out like it."""

from functools import partial

from mer_hf.corpora.builder import CorpusBuilder
from mer_hf.corpora.declaration import Counts, Layout
from mer_hf.corpora.licence import GATED
from mer_hf.corpora.sheets import Columns
from mer_hf.labels import CASME2_5CLASS, MEGC2019_3CLASS

layout = partial(
    Layout,
    sheets=("CASME2-coding-*.xls*",),
    columns=Columns(
        subject="Subject",
        name="Filename",
        onset="OnsetFrame",
        apex="ApexFrame",
        offset="OffsetFrame",
        action_units="Action Units",
        emotion="Estimated Emotion",
    ),
)


class Casme2(CorpusBuilder):
    """CASME II (Yan et al., 2014): 255 clips of 26 subjects at 200 frames a second.

    The sheet of 2019 gives 249 clips in `5class`, the one of 2014 gives 246; `3class` follows the rule of MEGC 2019 and
    keeps the clips that its composite left out one by one.
    """

    corpus = "casme2"
    title = "CASME II"
    citation = (
        "W.-J. Yan, X. Li, S.-J. Wang, G. Zhao, Y.-J. Liu, Y.-H. Chen, X. Fu: CASME II: An Improved Spontaneous "
        "Micro-Expression Database and the Baseline Evaluation. PLoS ONE 9(1): e86041, 2014. "
        "doi:10.1371/journal.pone.0086041"
    )
    homepage = "http://casme.psych.ac.cn/casme/e2"
    license = GATED
    request = "apply with a signed licence agreement at http://casme.psych.ac.cn/casme/e2"
    fps = 200.0
    resolution = (640, 480)
    tree = """
CASME2/
  CASME2-coding-20190701.xlsx   (or the one of 20140508)
  CASME2_RAW_selected/          (or Cropped/ with reg_img46.jpg)
    sub01/
      EP02_01f/
        img46.jpg
"""
    layouts = (
        layout("CASME2_RAW_selected", "{subject}/{name}", "img{frame}.jpg"),
        layout("Cropped", "{subject}/{name}", "reg_img{frame}.jpg"),
    )
    subject = "sub{number:02d}"
    emotions = ("happiness", "disgust", "repression", "surprise", "sadness", "fear", "others")
    label_sets = (MEGC2019_3CLASS, CASME2_5CLASS)
    counts = (
        Counts("the sheet of 2019", 255, 26, dict(zip(emotions, (32, 63, 27, 28, 4, 2, 99), strict=True))),
        Counts("the sheet of 2014", 255, 26, dict(zip(emotions, (32, 63, 27, 25, 7, 2, 99), strict=True))),
    )
    not_in_sheet = (("sub24/EP02_07", "disgust; the 247 clips of many papers in 5 classes have it"),)


class Synthetic(Casme2):
    """Drawn faces in the layout of CASME II, as `mer_hf.drawn.embedded` writes them."""

    corpus = "synthetic"
    title = "Synthetic"
    citation = ""
    homepage = ""
    license = "Apache-2.0"
    counts = ()
    not_in_sheet = ()
    request = "render one with `mer-hf synthesize`; mer_hf.drawn.embedded.default_folder() has the default one"
    resolution = (256, 256)
