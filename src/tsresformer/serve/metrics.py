"""What the service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from tsresformer.bundle import Bundle

disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "tsresformer_requests",
            "Answered requests.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "tsresformer_request_seconds",
            "From the headers to the last byte of the answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.received = Counter(
            "tsresformer_received_bytes", "Bytes of request bodies.", registry=self.registry
        )
        self.inside = Gauge(
            "tsresformer_requests_inside",
            "Requests that are received or worked on.",
            registry=self.registry,
        )
        self.waiting = Gauge(
            "tsresformer_files_waiting",
            "Files that wait for a thread.",
            registry=self.registry,
        )
        self.files = Counter(
            "tsresformer_files",
            "Files by what became of them: ok, silent, or the type of the problem.",
            ("model", "outcome"),
            registry=self.registry,
        )
        self.audio_seconds = Counter(
            "tsresformer_audio_seconds", "Seconds of audio decoded.", registry=self.registry
        )
        self.decoders_lost = Counter(
            "tsresformer_decoders_lost",
            "Decoding processes that had to be replaced.",
            registry=self.registry,
        )
        self.slices = Histogram(
            "tsresformer_batch_slices",
            "Slices in one run of the network.",
            ("model",),
            buckets=(1, 2, 4, 8, 12, 16, 32),
            registry=self.registry,
        )
        self.models = Gauge(
            "tsresformer_model",
            "1 for each bundle that is served.",
            ("model", "sha256"),
            registry=self.registry,
        )
        self.reloads = Counter(
            "tsresformer_reloads",
            "Attempts to swap the bundles, by whether they could be read.",
            ("result",),
            registry=self.registry,
        )

    def serve_models(self, bundles: Iterable[Bundle]) -> None:
        """Show these bundles as the ones that are served."""
        self.models.clear()
        for bundle in bundles:
            self.models.labels(bundle.name, bundle.hash).set(1)

    def text(self) -> bytes:
        """Return Prometheus' text format."""
        return generate_latest(self.registry)
