"""4DME."""

from mer_hf.corpora.builder import CorpusBuilder
from mer_hf.corpora.declaration import Layout
from mer_hf.corpora.licence import GATED
from mer_hf.corpora.sheets import Columns
from mer_hf.labels import MEGC2019_3CLASS


class FourDme(CorpusBuilder):
    """The grey videos of 4DME (Li et al., 2022). A clip that shows several emotions has no class and is left out."""

    corpus = "4dme"
    title = "4DME"
    citation = (
        "X. Li, S. Cheng, Y. Li, M. Behzad, J. Shen, S. Zafeiriou, M. Pantic, G. Zhao: 4DME: A Spontaneous 4D "
        "Micro-Expression Dataset With Multimodalities. IEEE Transactions on Affective Computing, 2022. "
        "doi:10.1109/TAFFC.2022.3182342"
    )
    homepage = "https://6gflagship.com/publications/4dme-a-spontaneous-4d-micro-expression-dataset-with-multimodalities"
    license = GATED
    request = "apply to the authors at the Center for Machine Vision and Signal Analysis, University of Oulu"
    fps = 60.0
    resolution = (640, 480)
    tree = """
4DME/
  4DME_Labelling_Micro_release v1.xlsx
  gray_micro/
    {sub_ID}/
      {fold_name}/
        1.jpg
"""
    layouts = (
        Layout(
            "gray_micro",
            "{subject}/{name}",
            "{frame}.jpg",
            ("4DME_Labelling_Micro*.xls*",),
            Columns("sub_ID", "fold_name", "Onset", "Apex", "Offset", "AUs", "Emotion"),
        ),
    )
    subject = "{released}"
    blends = True
    emotions = ("positive", "negative", "surprise", "repression", "others")
    label_sets = (MEGC2019_3CLASS,)
