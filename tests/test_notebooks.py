"""The notebooks of the documentation run to their end, and what is kept of them is theirs, small, and of no machine."""

import importlib.util
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
PLACES = ("/tmp", "/home", "/root", "/Users", "/var", "site-packages", "\\Users")
LARGEST = 250_000  # bytes


@pytest.fixture(scope="module")
def notebooks():
    """The script that executes them."""
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "scripts" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs(notebook):
    """What kinds of outputs each cell has."""
    cells = [cell.get("outputs", []) for cell in notebook.cells]
    return [[sorted(output.get("data", [output.get("name")])) for output in cell] for cell in cells]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a_video", "a_study"])
def test_a_notebook_runs_to_its_end_and_has_the_outputs_that_are_kept(notebooks, name):
    path = notebooks.NOTEBOOKS / f"{name}.ipynb"
    assert outputs(notebooks.executed(path)) == outputs(nbformat.read(path, as_version=4))


def test_what_is_kept_is_whole_small_and_tells_nothing_of_a_machine(notebooks):
    paths = sorted(notebooks.NOTEBOOKS.glob("*.ipynb"))
    assert [path.stem for path in paths] == ["a_study", "a_video"]
    for path in paths:
        assert path.stat().st_size < LARGEST
        notebook = nbformat.read(path, as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in cells] == list(range(1, 1 + len(cells)))
        for output in (output for cell in cells for output in cell.outputs):
            output.get("data", {}).pop("image/png", None)  # whose letters may spell anything
        text = nbformat.writes(notebook)
        assert not [place for place in PLACES if place in text]
