"""`mer-hf push`: put a trained model on the Hub."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Put a model on the Hub in one commit: weights, configurations, face models, the code that loads it anywhere, its card
and its results. Nothing else of the folder goes: no frames, no predictions, no pickles. Log in first: `hf auth login`,
or HF_TOKEN."""
EXAMPLE = "mer-hf push runs/composite user/rcn-composite --private"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("folder", type=Path, help="output folder of a run, or what pipe.save_pretrained wrote")
    parser.add_argument("repo", metavar="USER/NAME", help="where to; created where it does not exist")
    parser.add_argument("--private", action="store_true", help="create it for yourself and those you let in")
    parser.add_argument("--revision", metavar="BRANCH", help="branch, created where it does not exist (main)")
    parser.add_argument("--message", help="message of the commit")
    parser.add_argument("--dry-run", action="store_true", help="say what would go and what not; no network is used")


def run(arguments: argparse.Namespace) -> int:
    """Say what stays and why, and push the rest."""
    from mer_hf.hub.folder import check_whole, pack
    from mer_hf.hub.push import push

    parcel = pack(arguments.folder)
    if arguments.dry_run:
        for name in parcel.files:
            print(f"{(parcel.folder / name).stat().st_size:>12,}  {name}")
    if "README.md" not in parcel.files:
        print(f"{parcel.folder} has no README.md: its card is written from config.json, unless the repository has one")
    for name, reason in parcel.left_out.items():
        print(f"{name} stays: {reason}")
    if arguments.dry_run:
        check_whole(parcel)
        print(f"{parcel.folder} is whole; nothing was sent to {arguments.repo}")
        return 0
    pushed = push(parcel, arguments.repo, arguments.private, arguments.revision, arguments.message)
    print(pushed.url if pushed.is_new else f"nothing has changed since {pushed.url}")
    return 0
