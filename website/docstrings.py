"""Read the house's docstrings: `name : what it is` on one line, with no type of its own.

The NumPy convention takes what stands behind the colon for a type. Here it is the description, and
the type comes from the annotation; a return value that is named keeps its name.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTIONS = {"Parameters", "Returns", "Yields", "Raises", "Attributes"}


class OneLineItems(griffe.Extension):
    """Move what stands behind the colon to a line of its own."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of whatever has one."""
        if obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value)


def rewritten(text: str) -> str:
    """Return a docstring whose one-line items have become items with a description."""
    lines, out, section = text.splitlines(), [], ""
    for number, line in enumerate(lines):
        if number + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[number + 1].strip()):
            section = line.strip()
        item = re.fullmatch(r"(\w+) : (.+)", line) if section in SECTIONS else None
        if item and section == "Returns":
            out += [line.split(" : ")[0] + " :", f"    {item[2]}"]
        elif item:
            out += [item[1], f"    {item[2]}"]
        else:
            out.append(line)
    return "\n".join(out)
