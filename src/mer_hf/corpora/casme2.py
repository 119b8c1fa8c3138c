"""CASME II, and the synthetic corpus that is laid out like it."""

import hashlib
import os
from pathlib import Path

import datasets
from filelock import FileLock

from mer_hf.corpora.builder import CorpusBuilder
from mer_hf.corpora.declaration import Counts, Layout
from mer_hf.corpora.licence import GATED
from mer_hf.corpora.sheets import Columns
from mer_hf.labels import CASME2_5CLASS, MEGC2019_3CLASS

SHEET = {
    "sheets": ("CASME2-coding-*.xls*",),
    "columns": Columns(
        subject="Subject",
        name="Filename",
        onset="OnsetFrame",
        apex="ApexFrame",
        offset="OffsetFrame",
        action_units="Action Units",
        emotion="Estimated Emotion",
    ),
}


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
        Layout("CASME2_RAW_selected", "{subject}/{name}", "img{frame}.jpg", **SHEET),
        Layout("Cropped", "{subject}/{name}", "reg_img{frame}.jpg", **SHEET),
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
    """Rendered faces in the layout of CASME II; without a folder the default corpus is rendered into the cache."""

    corpus = "synthetic"
    title = "Synthetic"
    citation = ""
    homepage = ""
    license = "Apache-2.0"
    counts = ()
    not_in_sheet = ()
    request = "leave data_dir out, or render one with `mer-hf synthesize`"
    resolution = (256, 256)

    @classmethod
    def default_data_dir(cls, cache_dir: str | os.PathLike | None, fps: float, num_proc: int | None) -> Path:
        """Where the default corpus lies, rendered on the first call.

        The folder is named after the parameters and the code of the rendering, so changed code renders anew. A second
        process waits for the first.
        """
        # not needed, nor the image libraries they bring, by who reads a corpus from disk
        from mer_hf import action_units
        from mer_hf.drawn import embedded as synthetic
        from mer_hf.drawn import expression, portraits, rendering

        parameters = {"subjects": 8, "clips": 12, "fps": fps, "size": cls.resolution[0], "seed": 0}
        key = hashlib.sha256(repr(parameters).encode())
        sources = [Path(module.__file__) for module in (action_units, expression, synthetic, rendering)]
        for source in [*sources, *sorted(Path(portraits.__file__).parent.glob("*.py"))]:
            key.update(source.read_bytes())

        cache = Path(cache_dir or datasets.config.HF_DATASETS_CACHE).expanduser() / "mer_hf-synthetic"
        cache.mkdir(parents=True, exist_ok=True)
        corpus_dir = cache / key.hexdigest()[:16]
        with FileLock(f"{corpus_dir}.lock"):
            if not corpus_dir.exists():  # it comes into being whole
                synthetic.synthesize(corpus_dir, **parameters, num_proc=num_proc or 1)
        return corpus_dir
