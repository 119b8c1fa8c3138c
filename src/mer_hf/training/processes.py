"""Which of several processes this is, when a launcher started more than one, and what they say to one another."""

import atexit
import functools
import logging
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

Value = TypeVar("Value")

LONGEST_WAIT = timedelta(days=30)
"""For the other processes: they are through with their folds when they are."""


@dataclass(frozen=True)
class Share:
    """Which of several processes this is.

    Attributes:
        rank: number of the process.
        world_size: number of processes.
        one_model: whether all of them train one model, each on a part of every batch.
    """

    rank: int = 0
    world_size: int = 1
    one_model: bool = False

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
    share = launched()
    if share.world_size > 1:
        torch.set_num_threads(1)
        _join_group()
        atexit.register(dist.destroy_process_group)
        said = logging.getLogger("transformers.training_args")  # that they are a group, and train no model together
        said.addFilter(lambda record: "process group is initialized" not in str(record.msg))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    if torch.cuda.device_count() > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
        devices = visible.split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[local_rank % len(devices)]
    return share


def _join_group() -> None:
    store, rank, world_size = next(dist.rendezvous("env://", timeout=LONGEST_WAIT))
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        # a launcher that starts all anew keeps its store, in which the addresses of the dead still stand; of several
        # launchers each counts its own starts, so that there is no name on which they agree
        store = dist.PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    dist.init_process_group("gloo", timeout=LONGEST_WAIT, store=store, rank=rank, world_size=world_size)


def launched() -> Share:
    """Which of the processes of a launcher the environment says that this is."""
    return Share(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


# --- one model in several processes ---


class SharedNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of a batch of which each process has a part; also on CPUs."""

    def forward(self, input: Tensor) -> Tensor:
        """The part of this process, (B, C, h, w), normalised."""
        if not self.training:
            return super().forward(input)
        maps = input.float()
        sums, count = maps.sum((0, 2, 3)), maps.new_full((1,), maps.numel() / maps.shape[1])
        sums, count = all_reduce(torch.cat([sums, count])).split([len(sums), 1])
        centred = maps - (sums / count)[:, None, None]
        variance = all_reduce(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            momentum = cast(float, self.momentum)
            cast(Tensor, self.running_mean).lerp_(sums / count, momentum)
            cast(Tensor, self.running_var).lerp_(variance * count / (count - 1), momentum)
            cast(Tensor, self.num_batches_tracked).add_(1)
        scaled = centred * ((variance + self.eps).rsqrt() * self.weight)[:, None, None]
        return (scaled + self.bias[:, None, None]).to(input.dtype)


def share_statistics(network: nn.Module, shared: bool) -> None:
    """Let the batch normalisations of a network, in place, share their statistics, or no longer do so.

    Those that a backbone of timm has of a kind of its own go by the statistics of each process.
    """
    for module in network.modules():
        if type(module) in (nn.BatchNorm2d, SharedNorm):
            module.__class__ = SharedNorm if shared else nn.BatchNorm2d


__all__ = ["ALONE", "Share", "SharedNorm", "launched", "share_statistics", "take_share"]
