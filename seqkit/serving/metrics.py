"""What the server counts, for Prometheus."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class ServerMetrics:
    """Counters of one server. Labels have few values: paths that exist, models that are served, status codes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("path", "status")
        self.requests = Counter("seqkit_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "seqkit_request_seconds", "From the headers to the answer.", ("path",), registry=self.registry
        )
        self.inputs = Counter("seqkit_inputs", "Inputs predicted.", ("model",), registry=self.registry)
        self.unusable = Counter(
            "seqkit_unusable_inputs", "Inputs that could not be used.", ("model",), registry=self.registry
        )
        self.batches = Histogram(
            "seqkit_batch_inputs",
            "Inputs computed together.",
            ("model",),
            buckets=[2**power for power in range(11)],
            registry=self.registry,
        )
        self.waiting = Gauge("seqkit_waiting_requests", "Requests that wait for a model.", registry=self.registry)
        self.streams = Gauge("seqkit_open_streams", "Streams that are open.", registry=self.registry)
        # Finding the counter of some labels takes longer than counting.
        self.requests_of, self.seconds_of = cache(self.requests.labels), cache(self.seconds.labels)
        self.inputs_of, self.unusable_of = cache(self.inputs.labels), cache(self.unusable.labels)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)
