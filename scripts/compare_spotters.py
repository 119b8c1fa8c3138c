"""The recurrent network that watches a face against dilated convolutions over time, on the same drawings.

    python scripts/compare_spotters.py [--steps 900] [--seeds 1]

Both have the same stem, the same numbers for a moment, and as many weights. The one is an RCN that carries its state
along and looks .88 s ahead in its head, the other a stack of one-dimensional convolutions that see about as far to
both sides. Both are trained for as many steps on the same sequences, and scored on others, at a threshold of .5 false
events a minute.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mer_hf.drawn.sequences import held_back_sequences
from mer_hf.rcn.configuration_spotting_rcn import RcnSpottingConfig
from mer_hf.rcn.modeling_rcn import RcnBackbone
from mer_hf.rcn.spotting_rcn import OUTPUTS, RcnForSpotting, SpottingOutput, spotting_loss
from mer_hf.training.spotting import SpottingRecipe, score_watched, threshold_at, train_spotter, watch_drawn

DILATIONS = (1, 2, 4, 8, 16)  # of kernels of three: 31 moments, 1.2 s, on each side
WIDTH = 112  # with which it has about as many weights as the RCN
FALSE_A_MINUTE, VALIDATION, TEST = 0.5, 512, 256


class DilatedSpotter(nn.Module):
    """Dilated convolutions over the moments of a face."""

    def __init__(self, config: RcnSpottingConfig) -> None:
        super().__init__()
        self.backbone = RcnBackbone(config)
        rows, columns = config.grid_size
        self.moment = nn.Linear(self.backbone.num_channels * rows * columns, config.moment_size)
        widths = (config.moment_size, *[WIDTH] * len(DILATIONS))
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, 3, padding=dilation, dilation=dilation)
            for before, after, dilation in zip(widths, widths[1:], DILATIONS, strict=False)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, WIDTH) for _ in DILATIONS)
        self.outputs = nn.Linear(WIDTH, len(OUTPUTS))
        nn.init.constant_(self.outputs.bias, -3.0)

    def forward(self, motion: Tensor, targets: Tensor | None = None) -> SpottingOutput:
        """(B, T, 4, rows, columns) -> logits (B, T, 11)."""
        maps = self.backbone(motion.flatten(0, 1)).flatten(1)
        told = torch.tanh(self.moment(maps)).unflatten(0, motion.shape[:2]).mT
        for index, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            after = F.relu(norm(layer(told)))
            told = told + after if index else after
        logits = self.outputs(told.mT)
        return SpottingOutput(loss=None if targets is None else spotting_loss(logits, targets), logits=logits)


def size(model: nn.Module) -> int:
    """Number of weights."""
    return sum(weight.numel() for weight in model.parameters())


def main() -> None:
    """Train both, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=SpottingRecipe.steps)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", choices=("rcn", "dilated"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(arguments.seeds):
        for name, build in (("rcn", RcnForSpotting), ("dilated", DilatedSpotter)):
            if arguments.only not in (None, name):
                continue
            torch.manual_seed(seed)
            model, begin = build(RcnSpottingConfig()), time.process_time()
            losses = train_spotter(model, SpottingRecipe(steps=arguments.steps, seed=seed))
            seconds = time.process_time() - begin
            threshold = threshold_at(watch_drawn(model, VALIDATION, seed=1000), FALSE_A_MINUTE)
            print(f"{name}, seed {seed}: {size(model)} weights, {seconds:.0f} s of processor time", flush=True)
            print(f"  loss of the last 25 steps {sum(losses[-25:]) / len(losses[-25:]):.4f}, threshold {threshold:.3f}")
            for shift, settings in ({"as trained": None} | held_back_sequences()).items():
                scores = score_watched(watch_drawn(model, TEST, seed=2000, settings=settings), threshold)
                print(f"  {shift:12} " + "  ".join(f"{key} {value:.3f}" for key, value in scores.items()), flush=True)


if __name__ == "__main__":
    main()
