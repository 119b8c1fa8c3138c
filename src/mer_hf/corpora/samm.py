"""SAMM."""

from mer_hf.corpora.builder import CorpusBuilder
from mer_hf.corpora.declaration import Counts, Layout
from mer_hf.corpora.licence import GATED
from mer_hf.corpora.sheets import Columns
from mer_hf.labels import MEGC2019_3CLASS, SAMM_5CLASS


class Samm(CorpusBuilder):
    """SAMM (Davison et al., 2018): 159 clips of 29 subjects at 200 frames a second, grey."""

    corpus = "samm"
    title = "SAMM"
    citation = (
        "A. K. Davison, C. Lansley, N. Costen, K. Tan, M. H. Yap: SAMM: A Spontaneous Micro-Facial Movement Dataset. "
        "IEEE Transactions on Affective Computing 9(1): 116-129, 2018. doi:10.1109/TAFFC.2016.2573832"
    )
    homepage = "http://www2.docm.mmu.ac.uk/STAFF/M.Yap/dataset.php"
    license = GATED
    request = "apply with a signed licence agreement at http://www2.docm.mmu.ac.uk/STAFF/M.Yap/dataset.php"
    fps = 200.0
    resolution = (2040, 1088)
    tree = """
SAMM/
  SAMM_Micro_FACS_Codes_v2.xlsx
  SAMM/
    006/
      006_1_2/
        006_05562.jpg
"""
    layouts = (
        Layout(
            "SAMM",
            "{subject}/{name}",
            "{subject}_{frame:05d}.jpg",
            ("SAMM*Micro_FACS_Codes*.xls*",),
            Columns(
                subject="Subject",
                name="Filename",
                onset="Onset Frame",
                apex="Apex Frame",
                offset="Offset Frame",
                action_units="Action Units",
                emotion="Estimated Emotion",
            ),
            page="MICRO_ONLY",
        ),
    )
    subject = "{number:03d}"
    emotions = ("anger", "other", "happiness", "surprise", "contempt", "disgust", "fear", "sadness")
    label_sets = (MEGC2019_3CLASS, SAMM_5CLASS)
    counts = (Counts("version 2", 159, 29, dict(zip(emotions, (57, 26, 26, 15, 12, 9, 8, 6), strict=True))),)
