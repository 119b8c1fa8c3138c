"""Put all of hub_cards/ on the Hub: the models in the package, the metric, the Space, and the embedded corpus.

    hf auth login
    python scripts/publish.py NAMESPACE --dry-run    # what would go; nothing is sent
    python scripts/publish.py NAMESPACE

Each is a repository of its own, and each push one commit; what has not changed makes none. The corpus is drawn, so it
may be passed on: frames of the others never go. The wheel in the Space is built from this checkout.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset
from datasets.table import embed_table_storage
from transformers.utils import logging

import mer_hf
from mer_hf.corpora.licence import check_publishable
from mer_hf.drawn.embedded import synthesize
from mer_hf.errors import MerHfError
from mer_hf.hub.connection import connect, explained
from mer_hf.hub.folder import save_model_folder
from mer_hf.hub.packaged import PACKAGED, SPOTTER
from mer_hf.rcn.spotting_rcn import RcnForSpotting

CHECKOUT = Path(__file__).parents[1]
CARDS = CHECKOUT / "hub_cards"


class Publication(NamedTuple):
    """A folder that becomes a repository: its name there, and `model`, `dataset` or `space`."""

    folder: Path
    name: str
    kind: str
    sdk: str | None = None


def models(place: Path) -> Iterator[Publication]:
    """The models in the package, each with the code that loads it, its card and its results."""
    for name, packaged in {**PACKAGED, SPOTTER.name: SPOTTER}.items():
        folder = place / name
        if packaged == SPOTTER:
            RcnForSpotting.from_pretrained(SPOTTER).save_pretrained(folder)
        else:
            save_model_folder(*mer_hf.open_model(name), folder)
        shutil.copy(CARDS / "models" / f"{name}.md", folder / "README.md")
        shutil.copy(packaged / "results.json", folder)
        yield Publication(folder, f"mer-hf-{name}", "model")


def metric(place: Path) -> Publication:
    """The metric; `evaluate` looks for a file of the repository's name."""
    folder = Path(shutil.copytree(CARDS / "metric", place / "metric"))
    return Publication(folder, "micro_expression_scores", "space", "static")


def space(place: Path, namespace: str, wheel: Path | None) -> Publication:
    """The page, with the wheel that it installs."""
    folder = Path(shutil.copytree(CARDS / "space", place / "space"))
    if wheel is None:
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, CHECKOUT]
        subprocess.run(command, check=True)
    else:
        shutil.copy(wheel, folder)
    requirements = folder / "requirements.txt"
    (built,) = folder.glob("*.whl")
    text = re.sub("/spaces/USER/", f"/spaces/{namespace}/", requirements.read_text(encoding="utf-8"))
    requirements.write_text(re.sub(r"mer_hf-[^/]*\.whl", built.name, text), encoding="utf-8")
    return Publication(folder, "micro-expressions", "space", "gradio")


def corpus(place: Path, rendered: Path | None, num_proc: int) -> Publication:
    """The embedded corpus with its frames, in a file that `datasets.load_dataset` reads."""
    if rendered is None:
        rendered = synthesize(place / "rendered", num_proc=num_proc)
    clips = mer_hf.load_dataset("synthetic", rendered)
    check_publishable(clips)
    folder = place / "corpus"
    (folder / "data").mkdir(parents=True)
    with_frames = clips.with_format("arrow").map(embed_table_storage, batched=True, batch_size=8, keep_in_memory=True)
    assert isinstance(with_frames, Dataset)
    with_frames.with_format(None).to_parquet(folder / "data" / "train-00000-of-00001.parquet", batch_size=8)
    shutil.copy(CARDS / "corpora" / "synthetic.md", folder / "README.md")
    return Publication(folder, "mer-hf-drawn-faces", "dataset")


def send(publication: Publication, namespace: str, private: bool) -> str:
    """Push a folder in one commit, and give the address of the repository.

    Raises:
        HubError: the Hub cannot be reached, or refuses.
    """
    repo_id = f"{namespace}/{publication.name}"
    with explained(repo_id):
        api = connect(repo_id)
        place = {"repo_id": repo_id, "repo_type": publication.kind}
        api.create_repo(**place, space_sdk=publication.sdk, private=private or None, exist_ok=True)
        message = f"mer_hf {mer_hf.__version__}"
        api.upload_folder(**place, folder_path=publication.folder, commit_message=message, delete_patterns="*")
        prefix = "" if publication.kind == "model" else f"{publication.kind}s/"
        return f"{api.endpoint}/{prefix}{repo_id}"


def publish(arguments: argparse.Namespace, place: Path) -> None:
    """Make the folders, then send them: all are whole before the first goes."""
    publications = [
        *models(place),
        metric(place),
        space(place, arguments.namespace, arguments.wheel),
        corpus(place, arguments.corpus, arguments.num_proc),
    ]
    for publication in publications:
        if not arguments.dry_run:
            print(send(publication, arguments.namespace, arguments.private), flush=True)
            continue
        print(f"{publication.kind} {arguments.namespace}/{publication.name}")
        for path in sorted(path for path in publication.folder.rglob("*") if path.is_file()):
            print(f"{path.stat().st_size:>12,}  {path.relative_to(publication.folder).as_posix()}")
    if arguments.dry_run:
        print("nothing was sent")


def main() -> None:
    """Publish, or say what would be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("namespace", help="user or organisation on the Hub")
    parser.add_argument("--dry-run", action="store_true", help="say what would go; no network is used")
    parser.add_argument("--private", action="store_true", help="create the repositories for yourself alone")
    parser.add_argument("--wheel", type=Path, help="of mer_hf (one is built from this checkout)")
    parser.add_argument("--corpus", type=Path, help="the rendered corpus (it is rendered here, in minutes)")
    parser.add_argument("--num-proc", type=int, default=2, help="processes that render (%(default)s)")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="mer_hf-") as place:
        try:
            publish(arguments, Path(place))
        except MerHfError as error:
            sys.exit(f"publish: {error}")


if __name__ == "__main__":
    main()
