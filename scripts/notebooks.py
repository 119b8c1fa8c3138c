"""Execute the notebooks of the documentation, and keep what they print.

    python scripts/notebooks.py [docs/notebooks/a_video.ipynb ...]

Each runs in an empty folder of its own. What goes to stderr (bars of progress) is not kept.
"""

import argparse
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
LONGEST = 900  # seconds that a cell may take


def executed(path: Path) -> nbformat.NotebookNode:
    """A notebook with the outputs of a new execution.

    Raises:
        nbclient.exceptions.CellExecutionError: for a cell that fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=LONGEST, coalesce_streams=True, resources=where).execute()
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Execute notebooks in place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(NOTEBOOKS.glob("*.ipynb")))
    for path in parser.parse_args().notebooks:
        nbformat.write(executed(path), path)
        print(path)


if __name__ == "__main__":
    main()
