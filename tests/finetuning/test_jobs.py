"""Fine-tunes over HTTP with OpenAI's own client: from a file to a classifier, and every order on the way."""

import json
import os
import signal
import time

import openai
import pytest

from server.api.schemas.finetuning_answers import FinetuneAnswer, FinetuneEventList
from tests.fakes import wait_until


def events_of(live, job_id):
    return live.client.fine_tuning.jobs.list_events(job_id, limit=100).data


def begun(tmp_path, job_id):
    """Return (epoch, process) of each beginning."""
    lines = (tmp_path / "jobs" / job_id / "begun.txt").read_text().splitlines()
    return [tuple(map(int, line.split())) for line in lines]


def test_a_job_goes_from_its_file_to_a_classifier(live, tmp_path):
    job = live.create(suffix="letters", metadata={"who": "me"})
    assert job.object == "fine_tuning.job"
    assert job.status == "validating_files"
    assert (job.model, job.fine_tuned_model, job.finished_at) == ("fake", None, None)
    ended = live.wait(job.id)
    assert ended.status == "succeeded", ended.error
    assert ended.fine_tuned_model == ended.classifier == f"ft:fake:letters:{job.id[-8:]}"
    assert ended.metadata == {"who": "me"}
    assert (job.trained_tokens, ended.trained_tokens) == (None, 96)
    assert ended.hyperparameters.n_epochs == 3
    assert ended.method.type == "supervised"
    assert ended.progress == {"fraction": 1.0, "epoch": 2, "step": 30, "eta_s": None}
    assert ended.metrics["nll"] == ended.metrics["after"]["nll"] == 0.6
    assert ended.metrics["before"]["nll"] == 0.9
    assert ended.temperature_fitted == 1.7
    assert ended.result_files == ["begun.txt", "README.md", "weights.json"]
    assert live.get(f"/v1/fine_tuning/jobs/{job.id}/artifacts/weights.json").json() == {"epochs": 3}
    card = live.get(f"/v1/fine_tuning/jobs/{job.id}/artifacts/README.md").text
    assert card.startswith(f"# {ended.classifier}")
    assert (tmp_path / "classifiers" / ended.classifier / "weights.json").exists()
    assert not (tmp_path / "jobs" / job.id / "checkpoints").exists()
    FinetuneAnswer.model_validate(live.get(f"/v1/fine_tuning/jobs/{job.id}").json())


def test_what_happened_is_listed_newest_first_page_by_page(live):
    job = live.wait(live.create().id)
    whole = live.get(f"/v1/fine_tuning/jobs/{job.id}/events?limit=100").json()
    FinetuneEventList.model_validate(whole)
    messages = [event["message"] for event in reversed(whole["data"])]
    assert messages == [
        "the job is validating_files", "the job is queued", "the job is running",
        "epoch 1 of 3", "epoch 2 of 3", "epoch 3 of 3", "the job is succeeded",
    ]  # fmt: skip
    turned = [event.id for event in live.client.fine_tuning.jobs.list_events(job.id, limit=2)]
    assert turned == [event["id"] for event in whole["data"]]
    assert live.get(f"/v1/fine_tuning/jobs/{job.id}/events?after=nonsense").status_code == 400


def test_checkpoints_are_the_epochs(live):
    job = live.wait(live.create().id)
    checkpoints = list(live.client.fine_tuning.jobs.checkpoints.list(job.id, limit=2))
    assert [own.step_number for own in checkpoints] == [30, 20, 10]
    assert [own.fine_tuned_model_checkpoint for own in checkpoints] == [None, job.classifier, None]
    assert checkpoints[0].metrics.full_valid_loss == 0.75


def test_a_job_is_followed_to_its_end_and_again_from_where_a_client_was_cut_off(live):
    job = live.create(epoch_ms=50)
    path = f"/v1/fine_tuning/jobs/{job.id}/events?stream=true"
    lines = live.get(path, timeout=30.0).text.splitlines()
    assert lines[-2] == "data: [DONE]"
    numbers = [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert {event["object"] for event in events if "object" in event} == {"fine_tuning.job.event"}
    again = live.get(path, headers={"Last-Event-ID": "5"}).text.splitlines()
    assert [line for line in again if line.startswith("id: ")] == ["id: 6", "id: 7"]


def test_the_list_comes_in_pages(live):
    file = live.upload(b"wrong")  # jobs that end at once
    ids = [live.create(training_file=file).id for _ in range(3)]
    assert [job.id for job in live.client.fine_tuning.jobs.list(limit=2)] == ids[::-1]
    page = live.client.fine_tuning.jobs.list(limit=2)
    assert ([job.id for job in page.data], page.has_more) == ([ids[2], ids[1]], True)


def test_two_jobs_take_turns(live):
    first = live.create(epoch_ms=100, epochs=1000)
    live.wait(first.id, "running")
    second, third = live.create(), live.create()
    live.wait(second.id, "queued")
    live.wait(third.id, "queued")
    assert [live.job(own.id).queue_position for own in (first, second, third)] == [None, 1, 2]
    live.client.fine_tuning.jobs.cancel(first.id)
    live.wait(third.id)
    assert [live.job(own.id).status for own in (second, third)] == ["succeeded", "succeeded"]
    assert live.job(second.id).finished_at <= live.job(third.id).finished_at


@pytest.mark.parametrize("suffix", ["attentive", "deaf"])
def test_a_running_job_is_cancelled(live, tmp_path, suffix):
    job = live.create(epoch_ms=200, epochs=1000, suffix=suffix)
    live.wait_for_epoch(job.id)
    running = live.job(job.id)
    assert 0 < running.progress["fraction"] < 1
    assert running.estimated_finish >= time.time() - 2
    worker = begun(tmp_path, job.id)[-1][1]
    assert live.client.fine_tuning.jobs.cancel(job.id).id == job.id
    assert live.wait(job.id).status == "cancelled"
    assert not alive(worker)
    assert live.client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.ConflictError, match="cancelled"):
        live.client.fine_tuning.jobs.pause(job.id)


def test_a_job_that_waits_is_cancelled_at_once(live):
    running = live.create(epoch_ms=300, epochs=1000)
    live.wait(running.id, "running")
    waiting = live.create()
    live.wait(waiting.id, "queued")
    assert live.client.fine_tuning.jobs.cancel(waiting.id).status == "cancelled"
    live.client.fine_tuning.jobs.cancel(running.id)


def test_a_job_is_cancelled_while_its_file_is_validated(live):
    job = live.create(suffix="slow-check")
    assert live.client.fine_tuning.jobs.cancel(job.id).status == "cancelled"


def test_a_paused_job_goes_on_from_its_checkpoint(live, tmp_path):
    job = live.create(epoch_ms=150, epochs=4)
    live.wait_for_epoch(job.id, 2)
    live.client.fine_tuning.jobs.pause(job.id)
    live.wait(job.id, "paused")
    other = live.create(epochs=1)
    assert live.wait(other.id).status == "succeeded", "a paused job makes room"
    assert live.client.fine_tuning.jobs.resume(job.id).status in ("queued", "running")
    assert live.wait(job.id).status == "succeeded"
    epochs = [epoch for epoch, _ in begun(tmp_path, job.id)]
    assert sorted(set(epochs)) == [1, 2, 3, 4]
    assert len(epochs) <= 5, "at most the epoch that was cut off is begun again"
    assert len({process for _, process in begun(tmp_path, job.id)}) == 2
    with pytest.raises(openai.ConflictError, match="only a paused one"):
        live.client.fine_tuning.jobs.resume(job.id)


@pytest.mark.parametrize(
    ("suffix", "code", "said"),
    [
        ("killed", "worker_died", "ended by SIGKILL; if memory was short, lower batch_size"),
        ("exits", "worker_died", "ended with code 3"),
        ("oom", "out_of_memory", "memory ran out; lower batch_size"),
        ("broken", "internal_error", "RuntimeError"),
        ("refuses", "invalid_request", "give two at least"),
        ("full", "disk_full", "disk is full"),
    ],
)
def test_a_worker_that_fails_fails_its_job_alone_and_says_why(live, suffix, code, said):
    job = live.wait(live.create(suffix=suffix).id)
    assert job.status == "failed"
    assert job.error.code == code
    assert said in job.error.message
    assert "secret" not in job.error.message
    assert events_of(live, job.id)[0].level == "error"


def test_a_job_that_fails_is_followed_by_the_next(live):
    first, second = live.create(suffix="killed"), live.create(epochs=1)
    assert live.wait(second.id).status == "succeeded"
    assert live.job(first.id).status == "failed"


def test_the_last_words_of_a_worker_are_in_the_log(live, caplog):
    live.wait(live.create(suffix="exits").id)
    assert "these are its last words" in caplog.text


def test_a_worker_killed_from_outside_fails_its_job(live, tmp_path):
    job = live.create(epoch_ms=300, epochs=100)
    live.wait_for_epoch(job.id)
    os.kill(begun(tmp_path, job.id)[-1][1], signal.SIGKILL)
    assert live.wait(job.id).error.code == "worker_died"


def test_a_file_with_wrong_lines_fails_the_job_before_it_queues(live):
    job = live.wait(live.create(training_file=live.upload(b'{"text": "a"}\nwrong\n')).id)
    assert job.status == "failed"
    assert job.error.param == "training_file"
    assert "line 2" in job.error.message
    assert "running" not in [event.data.get("status") for event in events_of(live, job.id)]


def test_a_dry_run_says_what_it_finds(live):
    body = {"training_file": live.upload(b"right\nwrong\n"), "method_name": "mlp"}
    found = live.post("/v1/fine_tuning/validate", body).json()
    assert (found["valid"], found["errors"][0]["message"]) == (False, "line 2 is wrong")
    assert live.client.fine_tuning.jobs.list().data == []


def test_a_file_that_is_not_there_is_refused_by_the_name_of_its_field(live):
    for field in ("training_file", "validation_file", "test_file"):
        body = {"training_file": live.upload(), "method_name": "mlp"} | {field: "file-" + "0" * 24}
        response = live.post("/v1/fine_tuning/jobs", body)
        assert response.status_code == 404
        assert response.json()["error"]["param"] == field


REFUSED = [
    ({"training_file": None}, "training_file", "training_file must"),
    ({"n_epochs": 3}, "n_epochs", "n_epochs is not a field of this request"),
    ({"method_name": "dpo"}, "method_name", "linear_probe"),
    ({"method": {"type": "dpo", "dpo": {}}}, "method", "dpo is not a field"),
    ({"method": {"type": "reinforcement"}}, "method", "supervised"),
    ({"method": {"type": "supervised"}, "hyperparameters": {}}, None, "hyperparameters or method, not both"),
    ({"integrations": [{"type": "wandb"}]}, "integrations", "wandb"),
    ({"integrations": [{"type": "wandb", "wandb": {"project": "a/b"}}]}, "integrations", "project"),
    ({"integrations": [{"type": "mlflow", "wandb": {"project": "a"}}]}, "integrations", "type"),
    ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters", "n_epochs"),
    ({"hyperparameters": {"learning_rate": 0.0}}, "hyperparameters", "learning_rate"),
    ({"hyperparameters": {"learning_rate": 0.1, "learning_rate_multiplier": 2}}, "hyperparameters", "not both"),
    ({"hyperparameters": {"class_weight": {"a": 0}}}, "hyperparameters", "weight above 0"),
    ({"hyperparameters": {"batch_size": 2, "accumulate": 3}}, "hyperparameters", "accumulate"),
    ({"method_name": "lora", "hyperparameters": {"ensemble": 2}}, "hyperparameters", "ensemble must be 1 for lora"),
    ({"hyperparameters": {"cross_fitted": True}}, "hyperparameters", "ensemble of at least 2"),
    (
        {"hyperparameters": {"ensemble": 2, "cross_fitted": True}, "calibration": {"method": "none"}},
        "hyperparameters",
        "choose calibration.method temperature",
    ),
    ({"temperature": {"schedule": "linear", "start": 0}}, "temperature", "start"),
    ({"temperature": {"schedule": "constant", "start": 2, "end": 1}}, "temperature", "another schedule"),
    ({"temperature": {"schedule": "piecewise"}}, "temperature", "points"),
    ({"temperature": {"schedule": "piecewise", "points": [[0.5, 1], [0.2, 2]]}}, "temperature", "in order"),
    ({"temperature": {"steps": 3}}, "temperature", "schedule step"),
    ({"serving_temperature": 0}, "serving_temperature", "fitted, final or a number"),
    ({"serving_temperature": "fitted", "calibration": {"method": "none"}}, "serving_temperature", "calibration"),
    ({"search": {"low": 3.0, "high": 0.1}}, "search", "below"),
    ({"search": {"also": ["end"]}}, "search.also", "schedule"),
    ({"search": {"low": 1.5}}, "search.low", "control"),
    ({"search": {"algorithm": "grid", "also": ["schedule"], "n_trials": 3}}, "search.n_trials", "at least 5"),
    ({"suffix": "../x"}, "suffix", "suffix"),
    ({"metadata": {"a": 1}}, "metadata", "metadata"),
    ({"seed": -1}, "seed", "seed"),
]


def test_what_cannot_be_done_is_refused_by_name_before_anything_is_queued(live):
    file = live.upload()
    for body, param, said in REFUSED:
        response = live.post("/v1/fine_tuning/jobs", {"training_file": file, "method_name": "mlp"} | body)
        assert response.status_code == 400, (body, response.text)
        error = response.json()["error"]
        assert (error["param"], said in error["message"]) == (param, True), (body, error)
    assert live.client.fine_tuning.jobs.list().data == []


def test_an_integration_is_shown_as_it_was_asked_for(live):
    to = {"project": "kelvin", "entity": "me", "tags": ["a"]}
    job = live.create(integrations=[{"type": "wandb", "wandb": to}])
    (own,) = job.integrations
    assert (own.type, own.wandb.project, own.wandb.name, own.wandb.tags) == ("wandb", "kelvin", None, ["a"])


def test_an_integration_that_is_not_installed_is_refused(live, monkeypatch):
    monkeypatch.setattr("server.finetuning.settling.find_spec", lambda name: None if name == "wandb" else True)
    with pytest.raises(openai.BadRequestError, match=r"kelvin-server\[wandb\]"):
        live.create(integrations=[{"type": "wandb", "wandb": {"project": "kelvin"}}])


def test_a_model_that_is_not_served_is_not_found(live):
    response = live.post("/v1/fine_tuning/jobs", {"training_file": live.upload(), "model": "gpt-4o-mini"})
    assert (response.status_code, response.json()["error"]["param"]) == (404, "model")


def test_a_framework_that_is_not_installed_is_refused(live, monkeypatch):
    monkeypatch.setattr("server.finetuning.settling.find_spec", lambda name: None)
    response = live.post("/v1/fine_tuning/jobs", {"training_file": live.upload(), "method_name": "mlp"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "framework")


def test_what_a_plain_client_sends_is_taken(live):
    client = live.client.fine_tuning.jobs
    for method in (
        {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto", "batch_size": 4}}},
        {"type": "supervised"},
    ):
        job = client.create(
            model="fake", training_file=live.upload(), method=method, integrations=[], suffix="x", seed=1,
            extra_body={"method_name": "mlp"},
        )  # fmt: skip
        assert job.hyperparameters.n_epochs == 30
    job = client.create(
        model="fake", training_file=live.upload(), extra_body={"method_name": "cnn"},
        hyperparameters={"n_epochs": 2, "learning_rate_multiplier": 0.5, "batch_size": "auto"},
    )  # fmt: skip
    assert (job.hyperparameters.n_epochs, job.hyperparameters.learning_rate) == (2, 0.0005)


def test_an_idempotency_key_makes_a_repeat_harmless(live):
    file = live.upload()
    headers = {"Idempotency-Key": "once"}
    first = live.create(training_file=file, headers=headers)
    assert live.create(training_file=file, headers=headers).id == first.id
    live.wait(first.id)
    assert live.create(training_file=file, headers=headers).status == "succeeded"
    with pytest.raises(openai.ConflictError, match="Idempotency-Key"):
        live.create(training_file=file, headers=headers, epochs=9)
    assert len(live.client.fine_tuning.jobs.list().data) == 1


def test_a_job_that_has_ended_is_deleted_with_its_files_and_its_classifier_stays(live, tmp_path):
    job = live.create(epoch_ms=200)
    live.wait(job.id, "running")
    path = f"/v1/fine_tuning/jobs/{job.id}"
    assert live.delete(path).status_code == 409
    assert live.delete(f"/v1/files/{job.training_file}").status_code == 409
    live.wait(job.id)
    assert live.delete(path).json() == {"id": job.id, "object": "fine_tuning.job", "deleted": True}
    assert live.get(path).status_code == 404
    assert not (tmp_path / "jobs" / job.id).exists()
    assert len(list((tmp_path / "classifiers").iterdir())) == 1
    assert live.client.files.delete(job.training_file).deleted


def test_only_what_is_listed_can_be_downloaded(live):
    job = live.wait(live.create(epochs=1).id)
    for name in ("worker.log", "progress.json", "..%2fkelvin.db", "%2e%2e", "none"):
        assert live.get(f"/v1/fine_tuning/jobs/{job.id}/artifacts/{name}").status_code == 404, name


def test_a_comparison_is_no_fine_tune(live):
    arms = [{"name": "a"}, {"name": "b", "temperature": 0.5}]
    body = {"prompts": ["x"], "arms": arms, "samples_per_prompt": 1, "max_tokens": 1}
    other = live.post("/compare", body).json()
    assert live.get(f"/v1/fine_tuning/jobs/{other['id']}").status_code == 404


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_that_stops_leaves_a_checkpoint_and_the_next_goes_on(serve_here, tmp_path):
    first = serve_here()
    job = first.create(epoch_ms=100, epochs=5)
    first.wait_for_epoch(job.id, 2)
    serve_here.stop()
    second = serve_here()
    assert second.wait(job.id).status == "succeeded"
    epochs = [epoch for epoch, _ in begun(tmp_path, job.id)]
    assert len(epochs) <= 6
    assert sorted(set(epochs)) == [1, 2, 3, 4, 5]
    wait_until(lambda: not any(alive(process) for _, process in begun(tmp_path, job.id)))
