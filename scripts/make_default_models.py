"""Make the network of the task micro-expression-spotting that is in the package: train it, set its threshold, score it.

    python scripts/make_default_models.py [--output_dir FOLDER] [--again]

It learns on drawn sequences alone. Its threshold is that of a stated rate of false events on drawn sequences which
nothing was trained on, and none of its numbers has seen a recording. It is scored on drawn sequences whose settings are
shifted, and on rendered long videos, which go through detection, tracking and flow. Its card is made of the scores.
With `--again` the network in the package is scored anew: where what makes events of its outputs has changed.
"""

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from mer_hf.drawn.sequences import held_back_sequences
from mer_hf.drawn.videos import RenderedVideo
from mer_hf.hub.catalogue import put_version
from mer_hf.hub.packaged import SPOTTER
from mer_hf.rcn.configuration_spotting_rcn import RcnSpottingConfig
from mer_hf.rcn.events_rcn import SpottedEvent
from mer_hf.rcn.pipeline_spotting_rcn import TASK, MicroExpressionSpottingPipeline
from mer_hf.rcn.spotting_rcn import RcnForSpotting
from mer_hf.training.spotting import (
    SpottingRecipe,
    Watched,
    score_watched,
    threshold_at,
    train_spotter,
    watch_drawn,
)

RECIPE = SpottingRecipe()
FALSE_A_MINUTE = 1.0
"""On drawn sequences, which are harder than most of life: two faces in five speak, one of four of these as lively as on
television, and six longer expressions come in a minute, half of them as fast as a micro-expression."""
RATES = (0.5, 1.0, 2.0, 4.0)
"""Whose thresholds are in the results, for those who want fewer or more events."""
VALIDATION, TEST = 512, 128  # drawn sequences of 12 s
RENDERED, SECONDS, EXPRESSIONS = 8, 20.0, 4  # videos, their length, expressions in each
TRAINED_ON = (
    "It was trained on drawn motion, and on no recording of a face. Its scores on real micro-expressions are not known."
)

CARD = """---
library_name: transformers
license: apache-2.0
pipeline_tag: video-classification
tags:
- micro-expressions
- facial-expressions
---

# RCN that finds micro-expressions in long video

Tells from when to when a face shows a micro-expression, while the video runs. Made with mer_hf.

**{trained_on}**

```python
import mer_hf
from transformers import pipeline

spot = pipeline("micro-expression-spotting")
for event in spot.stream("interview.mp4"):
    print(event)
```

| | |
|---|---|
| network | RCN over time, y_t = f(W_r * (x_t + y_(t-1))), {weights:,} weights |
| input | motion of a face over .2 s without that of the head, 16 x 9 cells, 25 times a second |
| looks ahead | {lookahead:.2f} s |
| trained on | {steps} steps of {batch} drawn sequences of {seconds:.0f} s, {minutes:.0f} minutes of processor time |
| threshold | {threshold:.3f}: {rate} false events a minute on drawn sequences |

| scored on | F1 (IoU >= .5) | apexes found | false a minute | median error of onset, apex, offset, s |
|---|---|---|---|---|
{rows}

| false events a minute, drawn | threshold | F1 | apexes found |
|---|---|---|---|
{rates}

`table` has every number of the table of action units off, `all` has all of the shifts at once. Rendered videos go
through detection, tracking and flow. Drawn and rendered faces are no people: expect less of it there, above all in
lively speech. Every video is watched with the same threshold, so in a quiet face there may well be no event.
"""


def watch_rendered(spot: MicroExpressionSpottingPipeline) -> list[Watched]:
    """What the pipeline finds in rendered long videos."""
    watched = []
    for subject in range(RENDERED):
        video = RenderedVideo(200 + subject, SECONDS, EXPRESSIONS, seed=11)
        events = [event for event in spot.stream(video.frames()) if event["kind"] != "unwatched"]
        found = tuple(
            SpottedEvent(event["start"], event["apex"], event["end"], event["score"], tuple(event["parts"]))
            for event in events
        )
        truth = np.array([(event.onset, event.apex, event.offset) for event in video.events])
        watched.append(Watched(found, truth, SECONDS))
    return watched


def row(name: str, scores: dict[str, float]) -> str:
    """A line of the card's table."""
    errors = ", ".join(f"{scores[f'{what}_error']:.3f}" for what in ("onset", "apex", "offset"))
    numbers = (f"{scores[key]:.2f}" for key in ("f1", "apex_recall", "false_a_minute"))
    return f"| {name} | {' | '.join(numbers)} | {errors} |"


def finish(model: RcnForSpotting, processor_seconds: float, folder: Path) -> None:
    """Set the threshold, score, and write the files of the package."""
    model.eval()
    validation = watch_drawn(model, VALIDATION, seed=1000)
    threshold = threshold_at(validation, FALSE_A_MINUTE)
    model.config.threshold, model.config.false_a_minute = threshold, FALSE_A_MINUTE
    model.config.trained_on = TRAINED_ON
    scores = {}
    for name, settings in ({"as trained": None} | held_back_sequences()).items():
        scores[f"drawn, {name}"] = score_watched(watch_drawn(model, TEST, 2000, settings), threshold)
        print(row(name, scores[f"drawn, {name}"]), flush=True)
    spot = MicroExpressionSpottingPipeline(model=model, task=TASK, device="cpu", classifier=None)
    scores["rendered long videos"] = score_watched(watch_rendered(spot), threshold)
    print(row("rendered long videos", scores["rendered long videos"]), flush=True)

    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    for code in folder.glob("*.py"):  # the package has them already
        code.unlink()
    thresholds = {rate: threshold_at(validation, rate) for rate in RATES}
    rates = {str(rate): {"threshold": one, **score_watched(validation, one)} for rate, one in thresholds.items()}
    results = {
        "evaluations": scores,
        "rates": rates,
        "threshold": threshold,
        "false_a_minute": FALSE_A_MINUTE,
        "recipe": vars(RECIPE),
        "processor_seconds": round(processor_seconds),
        "versions": {name: version(name) for name in ("torch", "transformers", "timm", "opencv-python-headless")},
    }
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    config = model.config
    text = CARD.format(
        trained_on=TRAINED_ON,
        weights=sum(weight.numel() for weight in model.parameters()),
        lookahead=config.offsets[-1] / config.rate,
        steps=RECIPE.steps,
        batch=RECIPE.batch_size,
        seconds=RECIPE.seconds,
        minutes=processor_seconds / 60,
        threshold=threshold,
        rate=FALSE_A_MINUTE,
        rates="\n".join(
            f"| {rate} | {one['threshold']:.3f} | {one['f1']:.2f} | {one['apex_recall']:.2f} |"
            for rate, one in rates.items()
        ),
        rows="\n".join(row(name, found) for name, found in scores.items()),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def train() -> tuple[RcnForSpotting, float]:
    """The network, trained, and the seconds of processor time that it took."""
    torch.manual_seed(0)
    model, begin = RcnForSpotting(RcnSpottingConfig()), time.process_time()

    def report(step: int, loss: float) -> None:
        if step % 25 == 24:
            print(f"step {step + 1} of {RECIPE.steps}: loss {loss:.4f}", flush=True)

    train_spotter(model, RECIPE, report=report)
    return model, time.process_time() - begin


def main() -> None:
    """Train, or take what there is, and finish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=SPOTTER)
    parser.add_argument("--again", action="store_true", help="score the network in the package, and train none")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a second one draws what comes next
    if arguments.again:
        took = json.loads((SPOTTER / "results.json").read_text(encoding="utf-8"))["processor_seconds"]
        finish(RcnForSpotting.from_pretrained(SPOTTER), took, arguments.output_dir)
    else:
        finish(*train(), arguments.output_dir)
    if arguments.output_dir == SPOTTER:
        put_version(SPOTTER)


if __name__ == "__main__":
    main()
