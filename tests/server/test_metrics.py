"""GET /metrics: every figure is right, no label is a client's choice, and the dashboard names only what is there."""

import json
import re
import threading
from pathlib import Path
from types import SimpleNamespace

from prometheus_client.parser import text_string_to_metric_families

from server.api import examples
from server.engine import batch
from tests.fakes import FakeBackend, says, wait_until
from tests.server.asking import generate

ROOT = Path(__file__).parent.parent.parent


def scrape(client):
    """Give (sample name, labels without the model's) → value of everything that is shown."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *(value for label, value in sorted(sample.labels.items()) if label != "model_name")): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_what_was_asked_and_drawn_is_counted(serve):
    client = serve(FakeBackend(script=says("Hi"), num_slots=3), queue_limit=7)
    before = scrape(client)
    assert before["kelvin_generation_tokens_total",] == before["kelvin_prompt_tokens_total",] == 0
    generate(client, n=2, seed=7)
    generate(client, prompt=["a", "b"], max_tokens=1, temperature=0)
    client.post("/v1/completions", json={"prompt": "abc", "stream": True, "seed": 1}).read()
    client.post("/generate", json={"prompt": 1})
    after = scrape(client)
    expected = {
        ("kelvin_prompt_tokens_total",): 5 + 2 + 3,
        ("kelvin_generation_tokens_total",): 2 * 3 + 2 + 3,
        ("kelvin_request_success_total", "stop"): 3,
        ("kelvin_request_success_total", "length"): 2,
        ("kelvin_request_seeds_total", "request"): 2,
        ("kelvin_request_seeds_total", "drawn"): 1,
        ("kelvin_request_sampling_total", "random"): 2,
        ("kelvin_request_sampling_total", "greedy"): 1,
        ("kelvin_http_responses_total", "400"): 1,
        ("kelvin_slots",): 3,
        ("kelvin_queue_limit",): 7,
        ("kelvin_num_requests_running",): 0,
        ("kelvin_num_requests_waiting",): 0,
        ("kelvin_compiled_share",): 0,
        ("kelvin_corrupted_requests_total",): 0,
        ("kelvin_num_tokens_waiting",): 0,
        ("kelvin_queue_tokens",): 2**19,
        ("kelvin_last_step_age_seconds",): 0,
        ("kelvin_compile_events_total", "compiled"): 0,
        ("kelvin_token_entropy_nats_count",): 3,  # of every 128th sample, so of the first
        ("kelvin_token_entropy_nats_sum",): 3 * 1.25,
        ("kelvin_token_kept_bucket", "5"): 0,
        ("kelvin_token_kept_bucket", "10"): 3,
        ("kelvin_token_kept_bucket", "+Inf"): 3,
    }
    assert {name: after.get(name) for name in expected} == expected
    for name in (
        "time_to_first_token", "e2e_request_latency", "request_time_per_output_token", "request_queue_time",
        "request_prefill_time", "request_decode_time",
    ):  # fmt: skip
        assert after[f"kelvin_{name}_seconds_count",] == 3, name
        assert after[f"kelvin_{name}_seconds_sum",] > 0, name
    assert after["kelvin_time_to_first_token_seconds_sum",] <= after["kelvin_e2e_request_latency_seconds_sum",]
    assert 6 <= after["kelvin_steps_total",] <= 11
    assert after["kelvin_sampler_time_seconds_count",] == after["kelvin_steps_total",]


def test_what_runs_and_waits_is_seen_while_it_does(serve):
    backend = FakeBackend(num_slots=1, gated=True)
    client = serve(backend)
    thread = threading.Thread(target=generate, args=[client], kwargs={"n": 3, "max_tokens": 5})
    thread.start()
    wait_until(lambda: scrape(client)["kelvin_num_requests_running",] == 1)
    assert scrape(client)["kelvin_num_requests_waiting",] == 2
    backend.allow(100)
    thread.join()


def test_what_is_measured_for_the_metrics_is_no_part_of_answers(serve, monkeypatch):
    monkeypatch.setattr(batch, "OBSERVED_EVERY", 8)
    backend = FakeBackend(num_slots=8)
    client = serve(backend, queue_limit=200)
    asked = []
    admit = backend.admit
    backend.admit = lambda slot, prompt_ids, params, sample=0: (
        asked.append(params.measures), admit(slot, prompt_ids, params, sample)
    )[1]  # fmt: skip
    plain = generate(client, n=12, max_tokens=2, seed=1)
    assert [place for place, measured in enumerate(asked) if measured] == [0, 8]
    del backend.admit
    assert generate(client, n=12, max_tokens=2, seed=1)["choices"] == plain["choices"], "others are measured now"
    assert scrape(client)["kelvin_token_kept_count",] == 3 * 2


def test_how_long_no_step_has_begun_is_seen(serve):
    backend = FakeBackend(num_slots=1, gated=True)
    client = serve(backend)
    thread = threading.Thread(target=generate, args=[client], kwargs={"max_tokens": 2})
    thread.start()
    wait_until(lambda: scrape(client)["kelvin_last_step_age_seconds",] > 0.05)
    backend.allow(10)
    thread.join()
    assert scrape(client)["kelvin_last_step_age_seconds",] == 0


def test_recorded_graphs_are_counted_where_there_is_cuda(serve):
    backend = FakeBackend()
    client = serve(backend)
    backend.graph_counts = SimpleNamespace(hits=5, misses=2)
    assert not [name for name, *_ in scrape(client) if "graph" in name]
    backend.device = "cuda:0"
    assert scrape(client)["kelvin_graph_steps_total", "hit"] == 5
    assert scrape(client)["kelvin_graph_steps_total", "miss"] == 2


def test_numbers_that_are_not_finite_are_counted(serve):
    backend = FakeBackend()
    backend.not_finite = lambda prompt_ids, step: True
    client = serve(backend)
    assert client.post("/generate", json={"prompt": "a"}).status_code == 500
    assert scrape(client)["kelvin_corrupted_requests_total",] == 1
    assert ("kelvin_request_success_total", "stop") not in scrape(client)


def test_jobs_are_counted_by_kind_and_status(client):
    assert client.post("/compare", json=examples.COMPARE | {"wait": True}).is_success
    assert scrape(client)["kelvin_jobs", "comparison", "succeeded"] == 1


def test_nothing_that_a_client_chooses_is_a_label(client):
    client.post("/generate/secret", json={"prompt": "secret", "model": "secret", "stop": ["secret"]})
    client.post("/generate", json={"prompt": "secret", "model": "secret"}, headers={"x-request-id": "secret"})
    client.request("SECRET", "/secret")
    text = client.get("/metrics").text
    assert "secret" not in text.lower()
    labels = {label for labels in re.findall(r"\{(.*)\}", text) for label in re.findall(r'(\w+)="', labels)}
    assert labels <= {"model_name", "le", "status", "finished_reason", "source", "mode", "kind", "event"}


def test_two_servers_in_a_process_count_apart(serve):
    one, other = serve(FakeBackend()), serve(FakeBackend())
    generate(one)
    assert scrape(one)["kelvin_generation_tokens_total",] == 128
    assert scrape(other)["kelvin_generation_tokens_total",] == 0


def names_in(text):
    return set(re.findall(r"\b(?:kelvin|process)_[a-z0-9_]+", text))


def test_the_dashboard_and_the_documentation_name_only_what_is_there(client):
    generate(client, seed=1)
    client.post("/compare", json=examples.COMPARE | {"wait": True})
    backend = client.app.state.models["fake"].engine.backend
    backend.graph_counts, backend.device = SimpleNamespace(hits=0, misses=0), "cuda:0"
    shown = {name for name, *_ in scrape(client)}
    dashboard = json.loads((ROOT / "docs/grafana.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) > 15
    assert names_in(" ".join(expressions)) <= shown
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    table = names_in("\n".join(line for line in page.splitlines() if line.startswith("| `kelvin_")))
    kelvins = [name for name in shown if name.startswith("kelvin_") and not name.endswith("_created")]
    assert table == {re.sub(r"_(bucket|sum|count)$", "", name) for name in kelvins}


def test_the_engine_knows_no_prometheus():
    for path in (ROOT / "server/engine").glob("*.py"):
        assert "prometheus" not in path.read_text(encoding="utf-8")
