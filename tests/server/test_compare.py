"""POST /compare over fake backends: from a plan to a report, what is refused, what a restart keeps."""

import json

import pytest

from server.comparison.metrics import METRICS
from server.comparison.result import Report
from tests.fakes import ByteTokenizer, FakeBackend, says, wait_until

ARMS = [{"name": "cold", "temperature": 0.5}, {"name": "hot", "temperature": 1.2}]
PROMPTS = [f"prompt number {number}" for number in range(8)]
PLAN = {"prompts": PROMPTS, "arms": ARMS, "samples_per_prompt": 3, "max_tokens": 20, "seed": 5}


def by_arm_and_length(prompt, params, sample):
    """Write text that depends on the temperature: hot arms write other words for each sample."""
    word = b"ab" if params.temperature < 1 else f"w{sample} ".encode()
    return list((prompt[-1:] and bytes(prompt[-1:])) + word * params.max_tokens)[: params.max_tokens]


@pytest.fixture
def client(serve):
    return serve(FakeBackend(num_slots=8, script=by_arm_and_length))


def compared(client, **body):
    response = client.post("/compare", json=PLAN | {"wait": True} | body)
    assert response.status_code == 200, response.text
    return response.json()


def refused(client, status=400, **body):
    response = client.post("/compare", json=PLAN | body)
    assert response.status_code == status, response.text
    return response.json()["error"]


def test_a_comparison_ends_with_a_report(client):
    job = compared(client)
    assert (job["status"], job["progress"], job["error"]) == ("succeeded", 1.0, None)
    report = Report.model_validate(job["report"])
    assert [arm.name for arm in report.arms] == ["cold", "hot"]
    assert report.arms[1].resolved["temperature"] == 1.2
    assert report.arms[1].resolved["seed"] == 5
    assert all(arm.counts.completed == 24 for arm in report.arms)
    assert set(report.arms[0].metrics) == set(METRICS)
    [distance] = [own for own in report.comparisons if own.metric == "pairwise_distance"]
    assert (distance.arm, distance.baseline, distance.prompts) == ("hot", "cold", 8)
    assert distance.difference > 0.4
    assert distance.wins == 8
    assert report.verdict[0].startswith("hot is more diverse than cold")
    assert client.get(f"/compare/{job['id']}").json() == job


def test_completions_are_downloaded_line_by_line_with_every_figure(client):
    job = compared(client)
    response = client.get(f"/compare/{job['id']}/completions.jsonl")
    assert response.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert len(lines) == 8 * 2 * 3
    assert [(line["prompt_index"], line["arm"], line["sample_index"]) for line in lines[:4]] == [
        (0, "cold", 0), (0, "cold", 1), (0, "cold", 2), (0, "hot", 0),
    ]  # fmt: skip
    for figure in ("surprise", "logprob", "entropy", "kl", "kept", "kept_mass", "top_mass"):
        assert len(lines[0][figure]) == len(lines[0]["token_ids"]) == 20


def test_without_wait_it_is_queued_and_can_be_followed(client):
    response = client.post("/compare", json=PLAN)
    assert response.status_code == 202
    job = response.json()
    assert job["id"].startswith("cmp-")
    with client.stream("GET", f"/compare/{job['id']}/events") as stream:
        events = [line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    statuses = [event["data"]["status"] for event in map(json.loads, events[:-1]) if event["type"] == "status"]
    assert statuses == ["queued", "running", "succeeded"]
    assert [own["id"] for own in client.get("/compare").json()["data"]] == [job["id"]]


def test_the_list_comes_in_pages(client):
    ids = [compared(client, prompts=["x"])["id"] for _ in range(3)]
    first = client.get("/compare?limit=2").json()
    assert ([own["id"] for own in first["data"]], first["has_more"]) == ([ids[2], ids[1]], True)
    second = client.get(f"/compare?limit=2&after={ids[1]}").json()
    assert ([own["id"] for own in second["data"]], second["has_more"]) == ([ids[0]], False)
    assert all(own["report"] is None for own in first["data"])


def test_a_running_comparison_is_cancelled_and_its_finished_prompts_are_kept(serve):
    backend = FakeBackend(num_slots=3, script=by_arm_and_length, gated=True)
    client = serve(backend)
    job = client.post("/compare", json=PLAN).json()
    backend.allow(120)  # steps; all prompts together take 320 at least
    wait_until(lambda: client.get(f"/compare/{job['id']}/completions.jsonl").text)
    assert client.delete(f"/compare/{job['id']}").status_code == 409
    assert client.get(f"/compare/{job['id']}/report.html").status_code == 409
    assert client.post(f"/compare/{job['id']}/cancel").status_code == 200
    wait_until(lambda: client.get(f"/compare/{job['id']}").json()["status"] == "cancelled")
    backend.allow(1000)
    assert client.get(f"/compare/{job['id']}/completions.jsonl").text.count("\n") >= 6
    assert client.delete(f"/compare/{job['id']}").json() == {"id": job["id"], "deleted": True}
    assert client.get(f"/compare/{job['id']}").status_code == 404


def test_another_run_after_a_restart_gives_the_same_report(serve, settings):
    backend = FakeBackend(num_slots=3, script=by_arm_and_length, gated=True)
    client = serve(backend)
    job = client.post("/compare", json=PLAN).json()
    backend.allow(120)
    wait_until(lambda: client.get(f"/compare/{job['id']}/completions.jsonl").text)
    backend.allow(10_000)
    client.__exit__(None, None, None)
    again = serve(FakeBackend(num_slots=8, script=by_arm_and_length))
    wait_until(lambda: again.get(f"/compare/{job['id']}").json()["status"] == "succeeded")
    assert again.get(f"/compare/{job['id']}").json()["report"] == compared(again)["report"]


def test_arms_of_other_models_are_counted_in_words_only_where_tokenizers_differ(serve):
    client = serve(FakeBackend(script=by_arm_and_length), other=FakeBackend(script=by_arm_and_length))
    report = compared(client, arms=[ARMS[0], {"name": "elsewhere", "model": "other", "temperature": 0.5}])["report"]
    assert [arm["model"] for arm in report["arms"]] == ["fake", "other"]
    assert report["arms"][0]["metrics"] == report["arms"][1]["metrics"]


def test_an_arm_against_itself_shows_the_noise_floor(client):
    report = compared(client, arms=ARMS[:1], aa=True)["report"]
    assert [arm["name"] for arm in report["arms"]] == ["cold", "cold again"]
    assert report["arms"][1]["resolved"]["seed"] == 6
    assert report["verdict"][0].startswith("noise floor: cold again is cold with other seeds")


def test_completions_that_are_empty_make_a_report_without_nan(serve):
    client = serve(FakeBackend(num_slots=8, script=says("")))
    response = client.post("/compare", json=PLAN | {"wait": True})
    report = json.loads(response.text, parse_constant=pytest.fail)["report"]
    assert [arm["counts"]["empty"] for arm in report["arms"]] == [24, 24]
    assert report["arms"][0]["metrics"]["self_bleu"] is None
    assert any("24 of 24 completions are empty" in warning for warning in report["warnings"])


def test_equality_is_tested_where_a_margin_is_named(client):
    arms = [ARMS[0], {"name": "as cold", "temperature": 0.6}]
    report = compared(client, arms=arms, equivalence_margins={"pairwise_distance": 0.05})["report"]
    [distance] = [own for own in report["comparisons"] if own["metric"] == "pairwise_distance"]
    assert (distance["equivalent"], distance["equivalence_p"]) == (True, 0)
    assert report["verdict"][0].startswith("as cold is equivalent to cold within ±0.05")


def test_an_arm_that_fails_leaves_the_others_reported(serve):
    backend = FakeBackend(num_slots=4, script=by_arm_and_length, max_length=48)
    client = serve(backend)
    broken = {"name": "long", "prompt_template": "a template that leaves no room for the answer: {prompt}"}
    report = compared(client, arms=[*ARMS, broken])["report"]
    long = report["arms"][2]
    assert (long["counts"]["completed"], long["counts"]["failed"]) == (0, 24)
    assert "positions" in long["error"]
    assert any("long gave no completion" in warning for warning in report["warnings"])
    assert report["verdict"][0].startswith("hot is more diverse than cold")


def test_five_prompts_are_too_few_for_a_verdict(client):
    report = compared(client, prompts=PROMPTS[:5])["report"]
    assert "too few prompts" in report["verdict"][0]


def test_one_prompt_is_tested_among_its_samples(client):
    report = compared(client, prompts=PROMPTS[:1], samples_per_prompt=8)["report"]
    assert "one prompt" in report["verdict"][0]


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"prompts": []}, "prompts", "prompts must have at least 1 item"),
        ({"prompts": [""]}, "prompts", "prompts[0] must have at least 1 character"),
        ({"arms": ARMS[:1]}, "arms", "arms must hold at least two"),
        ({"arms": [ARMS[0], ARMS[0]]}, "arms", "two of the same name"),
        ({"arms": [{"temperature": 1.0}, ARMS[1]]}, "arms", "arms[0].name is missing"),
        ({"arms": [ARMS[0], {"name": "x", "temprature": 2}]}, "arms", "did you mean temperature?"),
        ({"arms": [ARMS[0], {"name": "x", "top_p": 1.5}]}, "arms", "arm x: top_p"),
        ({"arms": [ARMS[0], {"name": "x", "max_tokens": 5}]}, "arms", "max_tokens is not a field of arms[1]"),
        ({"arms": [ARMS[0], {"name": "x", "prompt_template": "no place"}]}, "arms", "{prompt}"),
        ({"arms": [ARMS[0], {"name": "x", "allowed_token_ids": [9999]}]}, "arms", "arm x: allowed_token_ids"),
        ({"baseline": "nobody"}, "baseline", "one of the arms"),
        ({"equivalence_margins": {"speed": 1.0}}, "equivalence_margins", "pairwise_distance"),
        ({"samples_per_prompt": 257}, "samples_per_prompt", "256"),
        (
            {"samples_per_prompt": 256, "max_tokens": 1000},
            "samples_per_prompt",
            "2 arms x 8 prompts x 256 samples x 1,000 tokens are 4,096,000 tokens; this server draws at most 2,000,000",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_drawn(client, body, param, said):
    error = refused(client, **body)
    assert said in error["message"]
    assert error["param"] == param
    assert client.get("/compare").json()["data"] == []


def test_a_comparison_is_priced_before_anything_is_tokenised(client, monkeypatch):
    tokenised, encode = [], ByteTokenizer.encode

    def recorded(self, text, special_tokens=False):
        tokenised.append(text)
        return encode(self, text, special_tokens)

    monkeypatch.setattr(ByteTokenizer, "encode", recorded)
    arms = [{"name": "cold", "bad_words": ["dog"]}, ARMS[1]]
    assert "are 2,000,032 tokens" in refused(client, arms=arms, samples_per_prompt=1, max_tokens=125_002)["message"]
    assert tokenised == []
    compared(client, arms=arms, samples_per_prompt=1)
    assert {"dog", PROMPTS[0]} <= set(tokenised)


def test_a_model_that_is_not_served_is_not_found(client):
    assert "served: fake" in refused(client, 404, arms=[ARMS[0], {"name": "x", "model": "gpt"}])["message"]


def test_an_idempotency_key_makes_a_repeat_harmless(client):
    headers = {"Idempotency-Key": "once"}
    first = client.post("/compare", json=PLAN, headers=headers).json()
    assert client.post("/compare", json=PLAN, headers=headers).json()["id"] == first["id"]
    assert client.post("/compare", json=PLAN | {"seed": 6}, headers=headers).status_code == 409


def test_a_store_that_cannot_be_opened_fails_comparisons_alone(serve, settings):
    settings.data_dir.mkdir()
    (settings.data_dir / "kelvin.db").write_text("no database at all, but long enough to be one of another kind" * 40)
    client = serve(FakeBackend())
    assert client.post("/generate", json={"prompt": "hello"}).status_code == 200
    response = client.post("/compare", json=PLAN)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "storage_error"
