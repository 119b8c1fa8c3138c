import atexit
import os

import pytest
import torch

from mer_hf.training.processes import ALONE, Share, take_share

LAUNCHER = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
}


@pytest.fixture
def launched(monkeypatch):
    """A process that a launcher has started, which has not yet asked who it is."""
    for name in (*LAUNCHER, "CUDA_VISIBLE_DEVICES"):  # so that they are as before in the end
        monkeypatch.setenv(name, LAUNCHER.get(name, ""))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.distributed, "rendezvous", lambda *args, **kwargs: iter([(None, 3, 4)]))
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *args, **kwargs: None)  # nobody else comes
    monkeypatch.setattr(atexit, "register", lambda *args: None)
    threads = torch.get_num_threads()
    take_share.cache_clear()
    yield monkeypatch
    take_share.cache_clear()
    torch.set_num_threads(threads)


def test_a_process_takes_its_share_from_the_launcher_stands_alone_and_remembers(launched):
    assert take_share() == Share(3, 4)
    assert not set(LAUNCHER) & set(os.environ)
    assert take_share() == Share(3, 4)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(("given", "local_rank", "taken"), [(None, 1, "1"), ("4,6", 1, "6"), ("4,6", 2, "4")])
def test_a_process_sees_the_device_that_falls_to_it(launched, given, local_rank, taken):
    launched.setenv("LOCAL_RANK", str(local_rank))
    launched.setattr(torch.cuda, "device_count", lambda: 2)
    if given is not None:
        launched.setenv("CUDA_VISIBLE_DEVICES", given)
    take_share()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == taken


def test_without_a_launcher_a_process_is_the_only_one_and_keeps_its_threads(launched):
    for name in LAUNCHER:
        launched.delenv(name)
    torch.set_num_threads(2)
    assert take_share() == ALONE == Share(0, 1)
    assert torch.get_num_threads() == 2
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
