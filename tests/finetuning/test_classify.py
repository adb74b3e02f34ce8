"""From rows to probabilities with a real training, and what POST /classify refuses."""

import json

import httpx2
import numpy as np
import pytest

pytest.importorskip("torch")


def rows(count, seed=0):
    """Make rows of two classes, each a cloud around a point of its own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=count)
    features = rng.normal(size=(count, 3)) + 3.0 * labels[:, None]
    return [
        {"features": np.round(row, 3).tolist(), "label": ["low", "high"][label]}
        for row, label in zip(features, labels, strict=True)
    ]


@pytest.fixture
def trained(serve_here):
    """Serve a classifier that a real worker has trained; return the server, and the job at its end."""
    live = serve_here(fake_workers=False, loaded_classifiers=1)
    data = "".join(f"{json.dumps(row)}\n" for row in rows(120)).encode()
    job = live.create(
        epochs=20, training_file=live.upload(data), hyperparameters={"n_epochs": 20, "learning_rate": 0.02},
        temperature={"schedule": "linear", "start": 2.0, "end": 0.5}, suffix="clouds",
    )  # fmt: skip
    return live, live.wait(job.id, timeout_s=120.0)


def test_a_real_training_ends_in_probabilities_at_any_temperature(trained):
    live, job = trained
    assert job.status == "succeeded", job.error
    assert job.metrics["accuracy"] > 0.9
    assert job.hyperparameters.n_epochs == 20
    assert "weights.safetensors" in job.result_files
    assert len(list(live.client.fine_tuning.jobs.checkpoints.list(job.id))) == 20
    found = live.post("/v1/fine_tuning/validate", {"training_file": job.training_file, "method_name": "mlp"}).json()
    assert (found["valid"], found["input"], sum(found["splits"].values())) == (True, "features", 120)

    def classify(**body):
        response = live.post("/classify", {"model": job.classifier} | body, timeout=60.0)
        assert response.status_code == 200, response.text
        return response.json()

    test = rows(200, seed=1)
    inputs = [row["features"] for row in test]
    served = classify(input=inputs)
    assert served["temperature"] == job.temperature_served
    hits = [own["label"] == row["label"] for own, row in zip(served["data"], test, strict=True)]
    assert np.mean(hits) > 0.95
    assert all(sum(own["probabilities"].values()) == pytest.approx(1.0) for own in served["data"])

    one, hot = classify(input=inputs, temperature=1.0), classify(input=inputs, temperature=4.0)
    assert (one["temperature"], hot["temperature"]) == (1.0, 4.0)
    for cold_row, hot_row in zip(one["data"], hot["data"], strict=True):
        # log odds are divided by the temperature
        assert hot_row["label"] == cold_row["label"]
        assert 4.0 * log_odds(hot_row) == pytest.approx(log_odds(cold_row), rel=1e-5, abs=1e-5)

    unsure = classify(input=inputs, temperature=100.0, abstain_below=0.9, top_k=1)
    assert all(own["label"] is None and len(own["probabilities"]) == 1 for own in unsure["data"])

    for body, param, said in (
        ({"input": []}, "input", "1 to 4096"),
        ({"input": ["a text", [1.0, 2.0, 3.0]]}, "input", "not both"),
        ({"input": "a text"}, None, "mlp"),
        ({"input": [[1.0, 2.0]]}, None, "3"),
        ({"input": [[1.0, 2.0, "x"]]}, "input", "numbers"),
        ({"input": [["1", "2", "3"]]}, "input", "numbers"),
        ({"input": [[True, False, True]]}, "input", "numbers"),
        ({"input": [[3.4e38, -3.4e38, 3.4e38]]}, "input", "so great"),
        ({"input": [[1.0], [1.0, 2.0]]}, "input", "one length"),
        ({"input": [[1e300, 0.0, 0.0]]}, "input", "finite"),
        ({"input": inputs, "temperature": 0}, "temperature", "temperature"),
    ):
        response = live.post("/classify", {"model": job.classifier} | body)
        assert response.status_code == 400, (body, response.text)
        assert said in response.json()["error"]["message"], response.text
        assert param in (None, response.json()["error"]["param"])

    report = live.get(f"/v1/fine_tuning/jobs/{job.id}/report.html", timeout=60.0)
    assert report.status_code == 200
    assert "default-src 'none'" in report.headers["content-security-policy"]
    assert live.get("/v1/models").json()["data"][-1]["id"] == job.classifier
    assert live.client.models.delete(job.classifier).deleted
    assert live.post("/classify", {"model": job.classifier, "input": inputs}).status_code == 404
    assert live.job(job.id).status == "succeeded"


@pytest.mark.parametrize("name", ["ft:fake::00000000", "../jobs", "ft:..:x:00000000", "fake", "ft:a/b:x:00000000"])
def test_a_classifier_that_is_not_there_is_not_found(live, name):
    response = live.post("/classify", {"model": name, "input": ["x"]})
    assert (response.status_code, response.json()["error"]["param"]) == (404, "model")
    assert httpx2.delete(f"{live.url}/v1/models/{name}").status_code == (409 if name == "fake" else 404)


def log_odds(row):
    low, high = (row["probabilities"][name] for name in ("low", "high"))
    return np.log(high) - np.log(low)
