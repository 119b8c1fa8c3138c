"""Fetch the two face models of `mer_hf.rcn.faces_rcn`; they are in the repository, this says where they come from.

    python scripts/fetch_face_models.py [--output_dir src/mer_hf/rcn] [--registry URL]

Both lie, uncompressed, in one file of the npm package `@mediapipe/face_mesh` (Apache-2.0), which the npm client
downloads and verifies; its registry is that of `--registry`, of the environment variable `npm_config_registry`, or the
public one.
"""

import argparse
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from mer_hf.rcn.faces_rcn import FOLDER, MODELS

PACKAGE = "@mediapipe/face_mesh@0.4.1657299874"
MEMBER = "package/face_mesh_solution_packed_assets.data"
RANGES = {  # bytes of the member
    "face_detection_short_range.tflite": (3757224, 3986256),
    "face_landmark.tflite": (2495952, 3737848),
}


def packed_assets(registry: str | None) -> bytes:
    """The file of the package that holds the models."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", PACKAGE, "--loglevel", "error", "--pack-destination", folder]
        if registry:
            command += ["--registry", registry]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            raise SystemExit(f"npm could not download {PACKAGE}: see above")
        (tarball,) = Path(folder).glob("*.tgz")
        with tarfile.open(tarball) as archive:
            return archive.extractfile(MEMBER).read()


def main() -> None:
    """Download the package, cut the models out, verify and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=FOLDER)
    parser.add_argument("--registry", help="of npm packages (default: that of the npm client)")
    arguments = parser.parse_args()
    assets = packed_assets(arguments.registry)
    for name, (start, stop) in RANGES.items():
        model = assets[start:stop]
        found = hashlib.sha256(model).hexdigest()
        if found != MODELS[name]:
            raise SystemExit(f"{name}: bytes {start} to {stop} of {MEMBER} have sha256 {found}, not {MODELS[name]}")
        (arguments.output_dir / name).write_bytes(model)
        print(f"{arguments.output_dir / name}: {len(model)} bytes, sha256 {found}")


if __name__ == "__main__":
    main()
