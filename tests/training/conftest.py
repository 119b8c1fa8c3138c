import pytest
import torch
import yaml

from mer_hf.commands import main
from mer_hf.training import runs
from tiny import OPTIONS


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Equal numbers in this process and in those that are started with OMP_NUM_THREADS=1."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def trained(monkeypatch):
    """The trainings of a run: what came out of each, and the clips that it was given."""
    trainings = []
    real = runs.train_all

    def train_all(plan, given, size):
        for trained, training in zip(real(plan, given, size), given, strict=True):
            trainings.append((trained, training.clips))
            yield trained

    monkeypatch.setattr(runs, "train_all", train_all)
    return trainings


@pytest.fixture(scope="session")
def flow_folder(make_clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow") / "clips"
    make_clips("flow", repeats=2).save_to_disk(folder)
    return folder


@pytest.fixture(scope="session")
def flow_recipe(flow_folder):
    path = flow_folder.with_name("recipe.yaml")
    path.write_text(yaml.safe_dump({**OPTIONS, "num_train_epochs": 5, "dataset": str(flow_folder), "seeds": 2}))
    return path


@pytest.fixture(scope="session")
def flow_run(flow_recipe, tmp_path_factory):
    """A whole run of two seeds in one process, as the command makes it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    output_dir = tmp_path_factory.mktemp("run") / "out"
    assert main(["train", str(flow_recipe), "--output_dir", str(output_dir)]) == 0
    torch.set_num_threads(threads)
    return output_dir
