"""What the site has beside its pages, made while it is built: the pictures of the method, and the notebooks as pages.

It is a hook of mkdocs, see mkdocs.yml.
"""

import base64
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from draw_method import pictures

drawn: dict[str, bytes] = {}
"""Pictures by name, drawn once where the site is served and built again and again."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that are made."""
    if not drawn:
        drawn.update(pictures())
    made: dict[str, str | bytes] = {f"pictures/{name}": picture for name, picture in drawn.items()}
    for path in sorted(Path(config.docs_dir, "notebooks").glob("*.ipynb")):
        made |= page_of(path)
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def page_of(path: Path) -> dict[str, str | bytes]:
    """A notebook as a page in Markdown with its pictures, by name."""
    files: dict[str, str | bytes] = {}
    parts = []
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{path.stem}-{number}.png"
                files[f"notebooks/{picture}"] = base64.b64decode(data["image/png"])
                parts.append(f"![Output of the cell above]({picture})")
            else:
                text = output.get("text") or data["text/plain"]
                parts.append(f'```{{.text .output title="Output"}}\n{text.rstrip()}\n```')
    parts.append(f"[This page is a notebook: {path.name}]({path.name}){{download}}")
    files[f"notebooks/{path.stem}.md"] = "\n\n".join(parts) + "\n"
    return files
