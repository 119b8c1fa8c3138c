"""Which of several processes this is, when a launcher started more than one, and what they say to one another."""

import atexit
import functools
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist

Value = TypeVar("Value")

LONGEST_WAIT = timedelta(days=30)
"""For the other processes: they are through with their folds when they are."""


@dataclass(frozen=True)
class Share:
    """Which of several processes this is."""

    rank: int = 0
    world_size: int = 1

    def gather(self, value: Value) -> list[Value]:
        """What each process gives, in the order of the processes, for all of them; it waits for the last one."""
        if self.world_size == 1 or not dist.is_initialized():
            return [value]
        gathered: list[Value | None] = [None] * self.world_size
        dist.all_gather_object(gathered, value)
        return cast(list[Value], gathered)


ALONE = Share()
"""The only process."""


@functools.cache
def take_share() -> Share:
    """Read from the environment which of the processes of `accelerate launch` or `torchrun` this is, and stand alone.

    A fold is trained by one process on one device. So the processes join a group to gather what they found, of CPUs and
    wherever they are, and the launcher's variables are then taken out of the environment before the Trainer could train
    one model in all of them; what they said is remembered. Several processes compute with one thread each, for a fold
    has too little to do for more. To be called before CUDA is used.
    """
    share = Share(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
    if share.world_size > 1:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", timeout=LONGEST_WAIT)
        atexit.register(dist.destroy_process_group)
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    if torch.cuda.device_count() > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
        devices = visible.split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[local_rank % len(devices)]
    return share


__all__ = ["ALONE", "Share", "take_share"]
