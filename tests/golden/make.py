"""Write what the shipped bundles say of the project's piece: python tests/golden/make.py."""

import json
from pathlib import Path

from tsresformer.bundle import shipped_bundles
from tsresformer.classifier import Classifier

HERE = Path(__file__).parent
PIECE = HERE.parent.parent / "demo" / "piece.ogg"


def main() -> None:
    """Write ``piece.json``: the probabilities of every genre, by bundle."""
    said = {name: Classifier.load(name).predict(PIECE).best() for name in shipped_bundles()}
    (HERE / "piece.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
