"""`mer-hf report`: one page about runs."""

import argparse
from pathlib import Path

from mer_hf.errors import MerHfError

DESCRIPTION = """\
Write one self-contained HTML page: scores with intervals, differences between runs, published figures of the
same protocol, confusion, scores by corpus, subject, emotion and any column, calibration, what abstaining
buys, the clips that every seed gets wrong, recipe and versions.

Frames are never in it, but for those of corpora that may be passed on, with --pictures."""
EXAMPLE = "mer-hf report runs/rcn runs/other --out report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs, or tables of predictions")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page (default: %(default)s)")
    parser.add_argument("--names", nargs="+", help="what to call the runs (default: their folders)")
    parser.add_argument("--by", nargs="+", default=[], metavar="COLUMN", help="columns whose values are scored each")
    parser.add_argument("--columns", type=Path, metavar="CSV", help="more columns about the clips, by clip_id")
    parser.add_argument("--protocol", help="a published protocol whose figures to show (default: that of the run)")
    parser.add_argument(
        "--pictures", type=Path, metavar="DATASET", help="saved dataset of a free corpus: a frame of each wrong clip"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    from mer_hf.evaluation.predictions import names_of_runs, read_table
    from mer_hf.evaluation.published import figures_of, protocol_of_run
    from mer_hf.evaluation.report import read_run, report

    names = names_of_runs(arguments.runs, arguments.names)
    columns = None if arguments.columns is None else read_table(arguments.columns, ("clip_id",))
    runs = [read_run(path, name, columns) for path, name in zip(arguments.runs, names, strict=True)]
    followed = {protocol_of_run(path) for path in arguments.runs}
    name = arguments.protocol or (followed.pop() if len(followed) == 1 else None)
    pictures = {} if arguments.pictures is None else _pictures(arguments.pictures, {*runs[0].table.clip_id})
    page = report(runs, arguments.by, None if name is None else figures_of(name), pictures)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(page, encoding="utf-8")
    print(f"{arguments.out} ({len(page) // 1024} KiB)")
    return 0


def _pictures(folder: Path, clips: set[str]) -> dict[str, bytes]:
    """The middle frame of each clip as a small JPEG, of a dataset that may be passed on.

    Raises:
        LicenceError: it may not.
        MerHfError: the folder holds no dataset of frames.
    """
    import cv2
    import numpy as np
    from datasets import Dataset, load_from_disk

    from mer_hf.corpora.licence import check_publishable

    try:
        dataset = load_from_disk(str(folder))
    except (FileNotFoundError, ValueError) as error:
        raise MerHfError(f"--pictures {folder} is no saved dataset: {error}") from error
    if not isinstance(dataset, Dataset):
        raise MerHfError(f"--pictures {folder} holds the splits {', '.join(map(str, dataset))}; name the folder of one")
    if not {"clip_id", "frames"} <= {*dataset.column_names}:
        raise MerHfError(f"--pictures {folder} has no clip_id and frames; it has {', '.join(dataset.column_names)}")
    check_publishable(dataset)
    pictures = {}
    for row in dataset:
        if row["clip_id"] in clips:
            frame = row["frames"][len(row["frames"]) // 2]
            content = frame["bytes"] or Path(frame["path"]).read_bytes()
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            size = (round(image.shape[1] * 96 / image.shape[0]), 96)
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            pictures[row["clip_id"]] = cv2.imencode(".jpg", small)[1].tobytes()
    return pictures
