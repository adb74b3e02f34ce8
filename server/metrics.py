"""Metrics: what the server counts and times, for Prometheus; the engine hands out plain numbers and knows none of it.

Names are those of vLLM with the prefix `kelvin_`. Labels have the names of served models, of endings and the like:
never anything that a client may choose.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.datastructures import State
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.backends.base import COMPILE_EVENTS
from server.engine.engine import Engine
from server.jobs.errors import StorageError
from server.jobs.service import JobService
from server.loaded import LoadedModel

log = logging.getLogger(__name__)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LABELS = ["model_name"]
_PHASES = {"queue_s": "queue", "prefill_s": "prefill", "decode_s": "decode"}


class Metrics:
    """Everything that `GET /metrics` shows, in a registry of its own: two applications in a process share nothing."""

    def __init__(self, state: Callable[[], State]) -> None:
        """Begin at zero.

        Args:
            state: gives the application's, whose models and jobs are asked when somebody looks.
        """
        self._registry = CollectorRegistry()
        self._registry.register(_Served(state))
        ProcessCollector(registry=self._registry)
        self._first_token = self._histogram("time_to_first_token_seconds", "From the request to its first token.")
        self._latency = self._histogram("e2e_request_latency_seconds", "From the request to its last token.")
        self._per_token = self._histogram(
            "request_time_per_output_token_seconds", "Decoding of a request's longest sample, by its tokens."
        )
        self._phases = {
            name: self._histogram(f"request_{phase}_time_seconds", f"Of a request, its {phase}.")
            for name, phase in _PHASES.items()
        }
        self._endings = self._counter("request_success", "Samples that ended, by why.", "finished_reason")
        self._seeds = self._counter("request_seeds", "Requests, by where their seed came from.", "source")
        self._modes = self._counter("request_sampling", "Requests, by how a token is drawn: greedy or not.", "mode")
        self._responses = Counter(
            "kelvin_http_responses", "Responses, by their status.", ["status"], registry=self._registry
        )

    def first_token(self, model: str, after_s: float) -> None:
        """Note that a request's first token has come."""
        self._first_token.labels(model).observe(after_s)

    def answered(
        self,
        model: str,
        *,
        duration_s: float,
        longest: int,
        endings: Mapping[str, int],
        timings: Mapping[str, float],
        sources: Mapping[str, str],
        greedy: bool,
    ) -> None:
        """Note that a request has been answered.

        Args:
            model: its name.
            duration_s: seconds from the request to its last token.
            longest: tokens of the longest sample.
            endings: finish reason → samples.
            timings: `queue_s`, `prefill_s` and `decode_s`.
            sources: of the sampling parameters.
            greedy: whether the most probable token was taken.
        """
        self._latency.labels(model).observe(duration_s)
        self._per_token.labels(model).observe(timings["decode_s"] / max(1, longest))
        for name, histogram in self._phases.items():
            histogram.labels(model).observe(timings[name])
        for reason, count in endings.items():
            self._endings.labels(model, str(reason)).inc(count)
        self._seeds.labels(model, sources["seed"]).inc()
        self._modes.labels(model, "greedy" if greedy else "random").inc()

    def responded(self, status: int) -> None:
        """Note a response."""
        self._responses.labels(str(status)).inc()

    def render(self) -> bytes:
        """Write everything in Prometheus' text format; it reads the store of jobs, so not on the event loop."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, about: str) -> Histogram:
        return Histogram(f"kelvin_{name}", about, _LABELS, buckets=_SECONDS, registry=self._registry)

    def _counter(self, name: str, about: str, label: str) -> Counter:
        return Counter(f"kelvin_{name}", about, [*_LABELS, label], registry=self._registry)


class CountResponses:
    """Counts every response by its status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap an application.

        Args:
            app: the application.
            metrics: count.
        """
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count when the response begins."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.responded(message["status"])
            await send(message)

        await self._app(scope, receive, counted)


def _step_age_s(engine: Engine) -> float:
    return max(0.0, time.monotonic() - engine.last_step_s) if engine.num_running else 0.0


_ENGINE_GAUGES = {
    "num_requests_running": ("Samples that hold a slot.", lambda engine: engine.num_running),
    "num_requests_waiting": ("Samples that wait for a slot.", lambda engine: engine.num_waiting),
    "num_tokens_waiting": ("Tokens that these may take, prompts included.", lambda engine: engine.num_waiting_tokens),
    "last_step_age_seconds": ("Since a step began, where samples run.", _step_age_s),
    "slots": ("Samples that are decoded at once.", lambda engine: engine.backend.num_slots),
    "queue_limit": ("Samples that may wait.", lambda engine: engine.queue_limit),
    "queue_tokens": ("Tokens that these may take together.", lambda engine: engine.queue_tokens),
    "compiled_share": ("Share of the decode step's programs that are compiled.", lambda e: e.backend.compiled_share),
}
_ENGINE_COUNTERS = {
    "prompt_tokens": ("Tokens of prompts that were taken.", lambda engine: engine.counts.prompt_tokens),
    "generation_tokens": ("Tokens that were drawn.", lambda engine: engine.counts.generated_tokens),
    "steps": ("Decode steps.", lambda engine: engine.counts.steps),
    "prefix_cache_queries": ("Prompt tokens looked for.", lambda engine: engine.counts.prefix_queries),
    "prefix_cache_hits": ("Prompt tokens found, and not computed.", lambda engine: engine.counts.prefix_hits),
    "prefix_cache_prompts": ("Prompts of which any were found.", lambda engine: engine.counts.prefix_prompts),
    "corrupted_requests": ("Requests whose numbers were not finite.", lambda engine: engine.counts.not_finite),
}


_ENGINE_HISTOGRAMS = {
    "token_entropy_nats": ("Entropy of what a token was drawn from; of a part of them.", lambda e: e.counts.entropy),
    "token_kept": ("Tokens that could have been drawn, likewise.", lambda engine: engine.counts.kept),
    "sampler_time_seconds": ("Of a step, the drawing of its tokens.", lambda engine: engine.backend.sampler_seconds),
}


class _Served(Collector):
    """Asks engines and jobs when somebody looks."""

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing has been loaded yet

    def collect(self) -> Iterable[Metric]:
        models: list[LoadedModel] = list(self._state().models.values())
        for kind, figures in ((GaugeMetricFamily, _ENGINE_GAUGES), (CounterMetricFamily, _ENGINE_COUNTERS)):
            for name, (about, figure) in figures.items():
                family: Any = kind(f"kelvin_{name}", about, labels=_LABELS)
                for model in models:
                    family.add_metric([model.name], figure(model.engine))
                yield family
        yield from _histograms(models)
        yield from _programs(models)
        jobs = GaugeMetricFamily("kelvin_jobs", "Jobs, by kind and status.", labels=["kind", "status"])
        service = self._state().jobs
        try:
            counts = service.store.counts() if isinstance(service, JobService) else {}
        except StorageError as error:  # what else there is to see is not lost for it
            log.error("jobs cannot be counted: %s", error.message)
            counts = {}
        for (job_kind, status), count in counts.items():
            jobs.add_metric([job_kind, status], count)
        yield jobs


def _histograms(models: Iterable[LoadedModel]) -> Iterable[Metric]:
    for name, (about, histogram_of) in _ENGINE_HISTOGRAMS.items():
        family = HistogramMetricFamily(f"kelvin_{name}", about, labels=_LABELS)
        for model in models:
            histogram = histogram_of(model.engine)
            if histogram is not None:
                family.add_metric([model.name], histogram.cumulative(), histogram.total)
        yield family


def _programs(models: Iterable[LoadedModel]) -> Iterable[Metric]:
    """Tell of compiling; and of recorded graphs, where there are any."""
    labels = [*_LABELS, "event"]
    events = CounterMetricFamily("kelvin_compile_events", "Programs, by what came of them.", labels=labels)
    graphs = CounterMetricFamily("kelvin_graph_steps", "Steps, by whether a graph ran them.", labels=labels)
    for model in models:
        backend = model.engine.backend
        for event in COMPILE_EVENTS:
            events.add_metric([model.name, event], backend.compile_events.get(event, 0))
        counts = getattr(backend, "graph_counts", None)  # of backends that record graphs
        if counts is not None and backend.device.startswith("cuda"):
            graphs.add_metric([model.name, "hit"], counts.hits)
            graphs.add_metric([model.name, "miss"], counts.misses)
    yield from (events, graphs)
