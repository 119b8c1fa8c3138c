"""Who may import whom: the table of the architecture, held against the imports of every file."""

import ast
import re
from pathlib import Path

import pytest

import mer_hf

PACKAGE = Path(mer_hf.__file__).parent

MAY_IMPORT = {
    "errors": {"rcn"},
    "labels": set(),
    "action_units": {"errors"},
    "protocols": {"errors"},
    "metrics": {"errors"},
    "corpora": {"corpora", "drawn", "labels", "action_units", "errors"},
    "drawn": {"drawn", "action_units", "errors"},
    "rcn": {"rcn"},
    "training": {"training", "rcn", "drawn", "action_units", "protocols", "metrics", "errors"},
    "hub": {"hub", "rcn", "metrics", "training", "errors"},
    "inspection": {"rcn", "errors"},
}
MAY_IMPORT_ANYTHING = {"__init__", "commands"}  # and the scripts, which are outside of the package

FILES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))
}


def room(path):
    """`rcn/modeling_rcn.py` -> `rcn`; `metrics.py` -> `metrics`."""
    return path.split("/")[0].removesuffix(".py")


def imports(path, source):
    """(full module name, name or None, how it is written) of every import of a file of the package."""
    package = ["mer_hf", *path.split("/")[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, ast.unparse(node)) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name, ast.unparse(node)) for alias in node.names)


def rooms_of(path, source):
    """The rooms that a file imports from; `__init__` where it imports from the package itself."""
    for module, name, _ in imports(path, source):
        parts = module.split(".")
        if parts[0] != "mer_hf":
            continue
        if len(parts) > 1:
            yield parts[1]
        else:
            yield name if name in {room(other) for other in FILES} else "__init__"


def violations(path, source):
    """What a file must not import, in words."""
    here = room(path)
    found = []
    if here not in MAY_IMPORT_ANYTHING:
        forbidden = set(rooms_of(path, source)) - MAY_IMPORT[here]
        found += [f"{path} imports {other}" for other in sorted(forbidden)]
    if here == "corpora":
        roots = {module.split(".")[0] for module, _, _ in imports(path, source)}
        found += [f"{path} imports {heavy}" for heavy in sorted(roots & {"torch", "transformers"})]
    if here == "rcn":
        own = [written for module, _, written in imports(path, source) if module.split(".")[0] == "mer_hf"]
        found += [f"{path}: {line}" for line in own if not re.match(r"from \.\w+_rcn import [^*]", line)]
    if here != "commands" and "commands" in rooms_of(path, source):
        found.append(f"{path} imports commands")
    return found


@pytest.mark.parametrize("path", FILES)
def test_a_file_imports_only_from_the_rooms_it_may(path):
    assert room(path) in MAY_IMPORT.keys() | MAY_IMPORT_ANYTHING, f"{path}: a new room needs a line in the table"
    assert violations(path, FILES[path]) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("metrics.py", "from .labels import LabelSet"),
        ("metrics.py", "import mer_hf.labels"),
        ("metrics.py", "def f():\n    from mer_hf import labels"),
        ("drawn/fields.py", "from mer_hf.rcn.motion_rcn import optical_flow"),
        ("training/runs.py", "from mer_hf.corpora import load_corpus"),
        ("training/runs.py", "from mer_hf import corpora"),
        ("hub/push.py", "from mer_hf.commands import main"),
        ("__init__.py", "from .commands import main"),
        ("training/clips.py", "from mer_hf import __version__"),
        ("corpora/casme2.py", "import torch"),
        ("corpora/casme2.py", "from transformers import AutoConfig"),
        ("corpora/casme2.py", "from mer_hf.rcn.decoding_rcn import load_video"),
        ("rcn/modeling_rcn.py", "from ..labels import LabelSet"),
        ("rcn/modeling_rcn.py", "from . import configuration_rcn"),
        ("rcn/modeling_rcn.py", "from mer_hf.rcn.configuration_rcn import RcnConfig"),
        ("rcn/modeling_rcn.py", "from .configuration_rcn import *"),
        ("rcn/modeling_rcn.py", "import mer_hf.rcn.configuration_rcn"),
    ],
)
def test_a_forbidden_import_is_found(path, source):
    assert violations(path, source) != []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("metrics.py", "import numpy as np"),
        ("corpora/casme2.py", "from .builder import CorpusBuilder\nfrom ..labels import LabelSet"),
        ("rcn/modeling_rcn.py", "import torch\nfrom .configuration_rcn import RcnConfig"),
        ("training/runs.py", "from mer_hf.rcn.modeling_rcn import RcnModel\nfrom mer_hf import protocols"),
        ("commands/train.py", "from mer_hf import __version__\nfrom mer_hf.corpora import load_corpus"),
    ],
)
def test_an_allowed_import_is_not(path, source):
    assert violations(path, source) == []


def test_the_files_that_travel_have_names_of_their_own_room():
    names = [path.split("/")[1] for path in FILES if room(path) == "rcn"]
    assert {"modeling_rcn.py", "pipeline_rcn.py"} < set(names)
    assert all(name.endswith("_rcn.py") for name in names if name != "__init__.py")
    assert not any(path.count("/") > 1 for path in FILES if room(path) == "rcn")
