"""A notebook as a page: its text, its code, and the outputs that are stored in it."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter


def convert(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by their names."""
    notebook = nbformat.read(path, as_version=4)
    names = {"output_files_dir": f"{path.stem}_files", "unique_key": path.stem}
    text, made = MarkdownExporter().from_notebook_node(notebook, resources=names)
    note = (
        f'!!! note ""\n    This page is a notebook that you can run and change: '
        f"[{path.name}]({path.name}), with `pip install notebook` and "
        "`jupyter notebook docs/notebooks`.\n"
    )
    title, _, rest = text.lstrip().partition("\n")
    return f"{title}\n\n{note}{rest}", dict(made["outputs"])
