"""Music to try, which was composed for this project."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from tsresformer.serve.problems import Problem

EXAMPLES: dict[str, dict[str, Any]] = {
    "piece.ogg": {
        "title": "Seven Lanterns",
        "seconds": 27.5,
        "licence": "Apache-2.0",
    },
    "medley.ogg": {
        "title": "Medley of five styles",
        "seconds": 150.0,
        "licence": "Apache-2.0",
    },
}


def described() -> list[dict[str, Any]]:
    """List the examples with their addresses."""
    return [
        {"name": name, **about, "url": f"/v1/examples/{name}"} for name, about in EXAMPLES.items()
    ]


def path_of(name: str) -> Path:
    """Return the file of an example.

    Raises
    ------
    Problem : there is none of that name
    """
    if name not in EXAMPLES:
        raise Problem("unknown-example", f"no such example; there is {', '.join(EXAMPLES)}")
    return Path(str(resources.files("tsresformer.serve") / "music" / name))
