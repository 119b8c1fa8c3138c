import pytest

from mer_hf.corpora import load_corpus
from replicas import replicate


@pytest.fixture(scope="session")
def replica(tmp_path_factory):
    """Writes a whole release with three frames a clip, once; nobody changes it."""
    folders = {}

    def make(corpus, release):
        if (corpus, release) not in folders:
            folder = tmp_path_factory.mktemp("replicas") / corpus
            folders[corpus, release] = replicate(corpus, folder, release, frames=3)
        return folders[corpus, release]

    return make


@pytest.fixture
def small(tmp_path):
    """Writes a few clips of a release, for a test to change."""

    def make(corpus, release, below="data"):
        return replicate(corpus, tmp_path / below, release, subjects=3, clips=4, frames=3)

    return make


@pytest.fixture
def load(tmp_path):
    def load(corpus, data_dir, label_set="native", **options):
        return load_corpus(corpus, data_dir, label_set, cache_dir=tmp_path / "cache", **options)

    return load
