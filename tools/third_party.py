"""What ts-resformer depends on, and under which licences.

python tools/third_party.py           write THIRD_PARTY.md from what is installed in .venv
python tools/third_party.py --check   fail if it is not up to date, or a licence is not allowed
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "ts-resformer"
EXTRAS = ("cluster", "parquet", "report", "serve", "study", "tag", "train")
"""The extras that users install; those for work on the project are left out."""

LIST = Path(__file__).parent.parent / "THIRD_PARTY.md"

PERMISSIVE = (
    "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 CC0-1.0 ISC MIT MIT-0 MIT-CMU PSF-2.0 Zlib"
)
WEAK_COPYLEFT = "LGPL-2.1-or-later LGPL-3.0-or-later MPL-2.0"
"""Of libraries that are used as they are, and can be replaced by their users."""

COPYLEFT_IN_EXTRAS = {"mutagen": "GPL-2.0-or-later"}
"""What only who asks for it installs, and we do not pass on; never a required dependency."""

BY_HAND = {"protobuf": "BSD-3-Clause", "ray": "Apache-2.0"}
"""Licences that a package's metadata say in words of their own."""

CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}

HEAD = """# Third-party software

What `pip install ts-resformer` brings along on Linux with Python 3.11 (*required*), and what each
extra adds. `make licences` writes this list from the metadata of the installed packages, and
`make lint` refuses it when it is out of date, or when a required package is under other than a
permissive licence, the LGPL or the MPL. None of these packages is part of ours.

Wheels carry libraries of their own: `av` has FFmpeg, which calls itself LGPL-3.0-or-later, and with
it the video encoders x264 and x265 (GPL-2.0-or-later), which are not used here; `soundfile` has
libsndfile (LGPL-2.1-or-later); PyTorch, unless it is the CPU build, brings NVIDIA's libraries under
NVIDIA's terms. Who passes on an installation, as an image for instance, passes on these too.
`mutagen` (extra `tag`) is under the GPL.

| package | licence | needed by |
|---|---|---|
"""


@dataclass
class Package:
    """An installed package, and which installs need it: "required", or extras."""

    name: str
    licence: str
    needed_by: set[str] = field(default_factory=set)


def packages() -> dict[str, Package]:
    """Everything that the light install and the extras bring along, by name."""
    found: dict[str, Package] = {}
    for install in ("", *EXTRAS):
        for name in _closure(install):
            about = metadata.metadata(name).json
            known = found.setdefault(name, Package(str(about["name"]), licence_of(name, about)))
            known.needed_by.add(install or "required")
    return dict(sorted(found.items()))


def _closure(extra: str) -> set[str]:
    """Names of all packages that an install with this extra needs besides the project."""
    todo, seen = [(PROJECT, extra)], set[tuple[str, str]]()
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            todo += _needed(*current)
    return {name for name, _ in seen} - {PROJECT}


def _needed(name: str, extra: str) -> Iterator[tuple[str, str]]:
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for wanted in ("", *requirement.extras):
                yield canonicalize_name(requirement.name), wanted


def licence_of(name: str, about: Mapping[str, Any]) -> str:
    """SPDX expression of a package's licence, by its metadata as `PackageMetadata.json` has them.

    Raises
    ------
    LookupError : they do not say
    """
    prefix = "License :: OSI Approved :: "
    classifiers = [text.removeprefix(prefix) for text in about.get("classifier", ())]
    known = [CLASSIFIERS[text] for text in classifiers if text in CLASSIFIERS]
    texts = (about.get("license_expression"), about.get("license"), " OR ".join(known))
    for text in (BY_HAND.get(name), *texts):
        try:
            return canonicalize_license_expression(text or "")
        except InvalidLicenseExpression:
            continue
    raise LookupError(f"{name}: its metadata name no licence; add it to BY_HAND")


def complaints(found: Mapping[str, Package]) -> list[str]:
    """What must not be: a licence that no dependency of its kind may have."""
    allowed = {*PERMISSIVE.split(), *WEAK_COPYLEFT.split(), "AND", "OR", "WITH", "LLVM-exception"}
    problems = []
    for name, package in found.items():
        words = package.licence.replace("(", "").replace(")", "").split()
        known = COPYLEFT_IN_EXTRAS.get(name) == package.licence
        if not set(words) <= allowed and ("required" in package.needed_by or not known):
            needed = ", ".join(sorted(package.needed_by))
            problems.append(f"{name} ({needed}) is under {package.licence}")
    return problems


def page(found: Mapping[str, Package]) -> str:
    """THIRD_PARTY.md."""
    rows = (
        f"| {p.name} | {p.licence} | "
        f"{'required' if 'required' in p.needed_by else ', '.join(sorted(p.needed_by))} |\n"
        for p in found.values()
    )
    return HEAD + "".join(rows)


def main() -> int:
    """Write the list, or check it."""
    found = packages()
    problems = complaints(found)
    if "--check" not in sys.argv[1:]:
        LIST.write_text(page(found), encoding="utf-8")
    elif not LIST.is_file() or LIST.read_text(encoding="utf-8") != page(found):
        problems.append(f"{LIST.name} is not up to date: make licences")
    for problem in problems:
        print(f"third_party: {problem}", file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
