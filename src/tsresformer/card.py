"""The model card: what a bundle says of itself to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tsresformer.splits import parse_protocol

PAPER = (
    "Architecture after Zhang, *TS-Resformer*, Frontiers in Neurorobotics 19 (2025), "
    "doi 10.3389/fnbot.2025.1568811; whatever its abstract does not state is our own choice."
)


def model_card(record: Mapping[str, Any], notes: str = "") -> str:
    """Markdown card from a bundle's record.

    Parameters
    ----------
    record : what ``bundle.json`` will say
    notes : further sections, Markdown
    """
    training, features, slicing = record["training"], record["features"], record["slicing"]
    development, cost = record["metrics"]["development"], record["cost"]
    hop = slicing["slice_hop_s"] or slicing["slice_s"]
    score = "Accuracy" if record["task"] == "single" else "Top-1 accuracy"
    lines = [
        f"# {record['name']}",
        "",
        f"Music-genre classifier. {PAPER}",
        "",
        "| | |",
        "|---|---|",
        f"| genres | {', '.join(record['labels'])} |",
        f"| input | {features['sample_rate']:,} Hz, FFT {features['n_fft']}, hop "
        f"{features['hop_length']}, {features['n_mels']} mel bands, "
        f"top {features['top_db']:g} dB |",
        f"| slices | {slicing['slice_s']:g} s every {hop:g} s, {record['aggregation']} |",
        f"| size | {cost['parameters']:,} parameters, {cost['multiply_adds'] / 1e6:,.0f} million "
        f"multiply-adds a slice of {cost['n_frames']} frames |",
        f"| data | {', '.join(training['datasets']) or 'not named'}, "
        f"{training['n_training_tracks']:,} training tracks |",
        f"| protocol | {parse_protocol(training['protocol']).title} |",
        f"| licence of the data | {', '.join(training['licences'][:8]) or 'not recorded'} |",
        f"| temperature | {record['temperature']:.3f}; unsure below {record['unsure_below']:.2f} |",
        "",
        "## What was measured",
        "",
        f"{score} {development['accuracy']:.1%} of {development['n_tracks']} tracks of the "
        "development fold, which was held out of the training split by artist and on which the "
        "epoch, the temperature and the threshold were chosen: it is optimistic. "
        "`tsresformer evaluate` scores the bundle on a split that no choice has seen.",
    ]
    return "\n".join(lines) + "\n" + (f"\n{notes.strip()}\n" if notes else "")
