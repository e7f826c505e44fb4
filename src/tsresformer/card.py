"""The model card: what a bundle says of itself to people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tsresformer.bundle import GRAPH, WEIGHTS, Bundle, write_bundle
from tsresformer.errors import BundleError
from tsresformer.files import REPORT_SCHEMA, is_intact, read_json
from tsresformer.splits import parse_protocol

PAPER = (
    "Architecture after Zhang, *TS-Resformer*, Frontiers in Neurorobotics 19 (2025), "
    "doi 10.3389/fnbot.2025.1568811; whatever its abstract does not state is our own choice."
)

# What a card keeps of an evaluation's metrics.json.
KEPT = ("protocol", "title", "n_tracks", "interval", "track", "slice", "per_class")


def publish(
    bundle: str | Path, report: str | Path, out: str | Path, *, notes: str | None = None
) -> Bundle:
    """Write a bundle anew with an evaluation of it, and notes, in its card.

    Parameters
    ----------
    report : folder that `evaluate` wrote for this very bundle
    notes : further sections of the card, Markdown; None keeps the bundle's

    Raises
    ------
    BundleError : the report is of another bundle or a future version, or `out` exists
    """
    source = Bundle.load(bundle)
    path = Path(report) / "metrics.json"
    try:
        metrics = read_json(path)
        if metrics["schema"] != REPORT_SCHEMA:
            raise BundleError(
                f"{path}: schema {metrics['schema']} is not known to this version; upgrade"
            )
        if not is_intact(metrics):
            raise ValueError("it has changed since it was written")
        scored, split = metrics["bundle"]["sha256"], metrics["split"]
        kept = {key: metrics[key] for key in KEPT}
    except FileNotFoundError:
        raise BundleError(
            f"{path}: is missing; name a folder that 'tsresformer evaluate' wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path}: is no report of 'tsresformer evaluate' ({error!r}); evaluate again"
        ) from None
    if scored != source.hash:
        raise BundleError(f"{path}: scores another bundle than {bundle}; evaluate this one")
    record = {k: v for k, v in source.record.items() if k not in ("format", "files", "sha256")}
    record["metrics"] = {**record["metrics"], split: kept}
    if notes is not None:
        record["notes"] = notes
    graph, weights = ((source.path / name).read_bytes() for name in (GRAPH, WEIGHTS))
    return write_bundle(out, record, graph, weights, model_card(record))


def model_card(record: Mapping[str, Any]) -> str:
    """Markdown card from what ``bundle.json`` says."""
    sections = ["\n".join(_facts(record)), "\n".join(_development(record))]
    for split, metrics in record["metrics"].items():
        if split != "development":
            sections.append("\n".join(_evaluation(split, metrics)))
    if record.get("notes"):
        sections.append(record["notes"].strip())
    return "\n\n".join(sections) + "\n"


def _facts(record: Mapping[str, Any]) -> Iterator[str]:
    training, features, slicing = record["training"], record["features"], record["slicing"]
    cost, hop = record["cost"], slicing["slice_hop_s"] or slicing["slice_s"]
    origin = training.get("init") or {"datasets": [], "licences": []}
    teachers = training.get("teachers") or []
    licences = sorted(
        {*training["licences"], *(x for o in (origin, *teachers) for x in o["licences"])}
    )
    yield f"# {record['name']}"
    yield ""
    yield f"Music-genre classifier. {PAPER}"
    yield ""
    rows = {
        "genres": ", ".join(record["labels"]),
        "input": f"{features['sample_rate']:,} Hz, FFT {features['n_fft']}, hop "
        f"{features['hop_length']}, {features['n_mels']} mel bands, {_scale(features)}",
        "slices": f"{slicing['slice_s']:g} s every {hop:g} s, {record['aggregation']}",
        "size": f"{cost['parameters']:,} parameters, {cost['multiply_adds'] / 1e6:,.0f} million "
        f"multiply-adds a slice of {cost['n_frames']} frames",
        "data": f"{', '.join(training['datasets']) or 'not named'}, "
        f"{training['n_training_tracks']:,} training tracks",
        **({"fine-tuned from": _origin(origin)} if training.get("init") else {}),
        **({"refit of": _recipe(training["refit"])} if training.get("refit") else {}),
        **({"taught by": "; ".join(map(_origin, teachers))} if teachers else {}),
        "split protocol": parse_protocol(training["protocol"]).title,
        "licence of the data": ", ".join(licences[:8]) or "not recorded",
        "calibration": f"temperature {record['temperature']:.3f}, unsure below "
        f"{record['unsure_below']:.2f}",
    }
    yield "| | |\n|---|---|"
    yield from (f"| {key} | {value} |" for key, value in rows.items())


def _recipe(bundle: Mapping[str, Any]) -> str:
    return f"{_named(bundle)}, on the whole training split"


def _scale(features: Mapping[str, Any]) -> str:
    if features.get("scale") == "pcen":
        return ", ".join(["PCEN", *(f"{key} {value:g}" for key, value in features["pcen"].items())])
    return f"top {features['top_db']:g} dB"


def _origin(bundle: Mapping[str, Any]) -> str:
    data = ", ".join(bundle["datasets"]) or "data not named"
    return f"{_named(bundle)}, trained on {data}"


def _named(bundle: Mapping[str, Any]) -> str:
    return f"{bundle['name']} (sha256 {bundle['sha256'][:12]})"


def _development(record: Mapping[str, Any]) -> Iterator[str]:
    found = record["metrics"]["development"]
    score = "Accuracy" if record["task"] == "single" else "Top-1 accuracy"
    yield "## Development fold"
    yield ""
    yield (
        f"{score} {found['accuracy']:.1%} of {found['n_tracks']} tracks that were held out of the "
        "training split by artist. The epoch, the temperature and the threshold were chosen on "
        "them, so this is optimistic."
    )
    if record["training"].get("refit"):
        yield ""
        yield (
            "These are figures of the model that the recipe gave without these tracks. The model "
            "here is of the same recipe, but learned from them, too; its temperature and its "
            "threshold are the other's."
        )


def _evaluation(split: str, metrics: Mapping[str, Any]) -> Iterator[str]:
    yield f"## Evaluation: {metrics['title']}"
    yield ""
    yield (
        f"{metrics['n_tracks']:,} tracks of the {split} split, by tracks; 95 % intervals by "
        f"{metrics['interval']}."
    )
    yield ""
    yield "| metric | value | 95 % interval |\n|---|---|---|"
    for name, entry in metrics["track"].items():
        if isinstance(entry, dict) and entry.get("value") is not None:
            ends = "undefined"  # there is no interval over one artist
            if entry["low"] is not None:
                ends = f"{entry['low']:.3f} to {entry['high']:.3f}"
            yield f"| {name.replace('_', ' ')} | {entry['value']:.3f} | {ends} |"
    yield ""
    yield "| genre | tracks | precision | recall | F1 |\n|---|---|---|---|---|"
    for row in metrics["per_class"]:
        values = (_percent(row[name]["value"]) for name in ("precision", "recall", "f1"))
        yield f"| {row['label']} | {row['support']} | {' | '.join(values)} |"


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1%}"
