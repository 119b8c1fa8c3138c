"""Which of several processes this is, when a launcher started more than one."""

import functools
import os
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Share:
    """Which of several processes this is."""

    rank: int = 0
    world_size: int = 1


ALONE = Share()
"""The only process."""


@functools.cache
def take_share() -> Share:
    """Read from the environment which of the processes of `accelerate launch` or `torchrun` this is, and stand alone.

    A fold is trained by one process on one device, so the launcher's variables are taken out of the environment before
    the Trainer could join the processes into one; what they said is remembered. Several processes compute with one
    thread each, for a fold has too little to do for more. To be called before CUDA is used.
    """
    share = Share(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
    if share.world_size > 1:
        torch.set_num_threads(1)
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    if torch.cuda.device_count() > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
        devices = visible.split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[local_rank % len(devices)]
    return share


__all__ = ["ALONE", "Share", "take_share"]
