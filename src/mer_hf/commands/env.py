"""`mer-hf env`: what a report of a fault needs."""

import argparse
import json
import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version

from mer_hf.hub.catalogue import describe_models

DESCRIPTION = """\
Print what a report of a fault needs: the versions of mer_hf and what it stands on, Python, the system, its cores and
accelerator, the FFmpeg that decodes, and the packaged models. It holds no names and no paths, and sends nothing."""
EXAMPLE = "mer-hf env --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    found = environment()
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    for name, value in found.items():
        print(f"{name}: {value}" if isinstance(value, str) else f"{name}:")
        if isinstance(value, dict):
            print("\n".join(f"  {part}: {said}" for part, said in value.items()))
    return 0


def environment() -> dict[str, str | dict[str, str]]:
    """What a report of a fault needs, as text by name: a text, or texts by name."""
    models = {f"{each['name']} {each['version']}": f"sha256 {each['sha256']}" for each in describe_models()}
    return {
        "mer-hf": version("mer-hf"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cores": f"{_usable_cores()} of {os.cpu_count()}",
        "accelerator": _accelerator(),
        "ffmpeg": _ffmpeg(),
        "packages": _packages(),
        "models": models,
    }


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _accelerator() -> str:
    """What torch computes on beside CPUs, and the build of torch, on which that depends."""
    try:
        import torch
    except ImportError as error:  # this is what is wrong, then
        return f"torch does not load: {error}"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    else:
        names = ["mps"] if torch.backends.mps.is_available() else ["none"]
    return f"{', '.join(names)} (torch {torch.__version__})"


def _ffmpeg() -> str:
    try:
        import av
    except ImportError as error:
        return f"av does not load: {error}"
    return ", ".join(f"{name} {'.'.join(map(str, numbers))}" for name, numbers in av.library_versions.items())


def _packages() -> dict[str, str]:
    """Each requirement of the package and its extras -> its version, or that it is not there."""
    found = {}
    for line in requires("mer-hf") or ():
        name = re.match(r"[\w.-]+", line)
        if name is not None:
            try:
                found[name[0]] = version(name[0])
            except PackageNotFoundError:
                found[name[0]] = "not installed"
    return dict(sorted(found.items()))
