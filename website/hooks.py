"""What MkDocs does besides: pages made from the code, and files from outside docs/.

- `<!-- commands -->` becomes every command's `--help`, `<!-- settings -->` the tables of the
  configuration's keys, `<!-- shipped configurations -->` their files.
- The notebooks become pages, with the outputs that are stored in them; links to them lead there.
- CHANGELOG.md, CONTRIBUTING.md and SECURITY.md become pages, and what `../deploy/` holds can be
  linked to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import notebooks
import reference

ROOT = Path(__file__).resolve().parent.parent
ROOT_PAGES = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}
ASSETS = Path(__file__).resolve().parent / "assets"

PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "commands": reference.commands,
    "settings": reference.settings,
    "shipped configurations": reference.shipped,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and files that do not lie in docs/."""
    for name, source in ROOT_PAGES.items():
        text = (ROOT / source).read_text("utf-8").replace("](docs/", "](")
        files.append(File.generated(config, name, content=text))
    for notebook in sorted(Path(config.docs_dir, "notebooks").glob("*.ipynb")):
        text, pictures = notebooks.convert(notebook)
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=data))
    for origin, folder in ((ASSETS, "assets"), (ROOT / "deploy", "deploy")):
        for path in sorted(origin.iterdir()):
            files.append(File.generated(config, f"{folder}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the parts that are made from the code."""
    markdown = markdown.replace("](../deploy/", "](deploy/")
    markdown = re.sub(r"\]\((notebooks/\w+)\.ipynb\)", r"](\1.md)", markdown)
    return re.sub(
        r"^<!-- (" + "|".join(PARTS) + r") -->$",
        lambda found: "\n".join(PARTS[found[1]]()),
        markdown,
        flags=re.M,
    )
