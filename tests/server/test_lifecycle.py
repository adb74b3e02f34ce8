"""From start to stop: what /health says, and what routes answer, while models load, fail, serve and leave."""

import threading

import pytest
from starlette.testclient import TestClient

from server.api.schemas.answers import LiveAnswer, ReadyAnswer, VersionAnswer
from server.api.served import SLOW_S, STUCK_S, Phase
from server.app import create_app, load_models
from server.errors import ModelError
from server.settings import Settings
from tests.conftest import loaded
from tests.fakes import FakeBackend, wait_until


def require_unavailable(response, words):
    assert response.status_code == 503
    assert 1 <= int(response.headers["retry-after"]) <= 120
    error = response.json()["error"]
    assert (error["code"], error["type"]) == ("unavailable", "server_error")
    assert words in error["message"]


def test_a_server_that_loads_lives_but_is_not_ready(settings):
    may_finish = threading.Event()
    backend = FakeBackend()

    def load(settings):
        assert may_finish.wait(10)
        return {"fake": loaded(backend)}

    with TestClient(create_app(settings, load=load)) as client:
        live = client.get("/health/live")
        assert live.status_code == 200
        assert LiveAnswer.model_validate(live.json())
        require_unavailable(client.get("/health/ready"), "loading")
        require_unavailable(client.post("/generate", json={"prompt": "a"}), "loading")
        assert client.post("/generate", json={"prompt": 1}).status_code == 400
        assert client.get("/docs").status_code == 200
        may_finish.set()
        wait_until(lambda: client.get("/health/ready").status_code == 200)
        assert client.post("/generate", json={"prompt": "a"}).status_code == 200
    assert backend.closed


def test_ready_names_the_models_in_their_order(serve):
    client = serve(b=FakeBackend(), a=FakeBackend())
    answer = client.get("/health/ready").json()
    assert ReadyAnswer.model_validate(answer)
    assert answer["models"] == ["b", "a"]


@pytest.mark.parametrize("error", [ModelError("weights are missing"), RuntimeError("secret path")])
def test_a_model_that_cannot_be_loaded_is_told_to_whoever_runs_the_server(settings, error):
    failures = []

    def load(settings):
        raise error

    with TestClient(create_app(settings, load=load, on_failure=failures.append)) as client:
        wait_until(lambda: failures)
        for path in ("/health/live", "/health/ready"):
            require_unavailable(client.get(path), "could not be loaded")
            assert "secret" not in client.get(path).text
        require_unavailable(client.post("/generate", json={"prompt": "a"}), "could not be loaded")
    assert failures == [error]


@pytest.mark.parametrize("loop_has_closed", [True, False])
def test_a_server_stopped_while_it_loads_does_not_wait_and_closes_what_arrives_late(settings, loop_has_closed):
    may_finish, backend = threading.Event(), FakeBackend()

    def load(settings):
        assert may_finish.wait(10)
        return {"fake": loaded(backend)}

    app = create_app(settings, load=load)
    with TestClient(app):
        if not loop_has_closed:
            app.state.phase = Phase.DRAINING
            may_finish.set()
            wait_until(lambda: backend.closed)
    may_finish.set()
    wait_until(lambda: backend.closed)
    assert app.state.models == {}


def test_a_dead_engine_is_neither_ready_nor_alive(serve):
    client = serve(good=FakeBackend(), bad=FakeBackend())
    client.app.state.models["bad"].engine.stop()
    for path in ("/health/live", "/health/ready"):
        require_unavailable(client.get(path), "engine of bad has stopped")
    assert client.post("/generate", json={"prompt": "a", "model": "good"}).is_success
    require_unavailable(client.post("/generate", json={"prompt": "a", "model": "bad"}), "engine has stopped")


def test_an_engine_whose_step_hangs_is_neither_ready_nor_alive(serve):
    backend = FakeBackend(gated=True)
    client = serve(backend)
    engine = client.app.state.models["fake"].engine
    thread = threading.Thread(target=client.post, args=["/generate"], kwargs={"json": {"prompt": "a", "max_tokens": 2}})
    thread.start()
    wait_until(lambda: engine.num_running == 1)
    assert client.get("/health/live").status_code == 200
    engine.last_step_s -= SLOW_S + 1
    require_unavailable(client.get("/health/ready"), "no progress")
    assert client.get("/health/live").status_code == 200, "first requests go elsewhere, then comes a restart"
    engine.last_step_s -= STUCK_S - SLOW_S
    for path in ("/health/live", "/health/ready"):
        require_unavailable(client.get(path), "no progress")
    backend.allow(5)
    thread.join()
    assert client.get("/health/live").status_code == 200
    engine.last_step_s -= STUCK_S + 1  # idle for long is no sign of anything
    assert client.get("/health/ready").status_code == 200


def test_a_server_that_stops_says_so(serve):
    client = serve(FakeBackend())
    client.app.state.phase = Phase.DRAINING
    require_unavailable(client.get("/health/ready"), "stopping")
    require_unavailable(client.post("/generate", json={"prompt": "a"}), "stopping")
    assert client.get("/health/live").status_code == 200


def test_versions_are_named(client):
    answer = client.get("/version").json()
    assert VersionAnswer.model_validate(answer)
    assert answer["python"].startswith("3.")


def test_models_are_loaded_in_order_each_with_its_own_framework(monkeypatch):
    seen = []

    def load_engine(settings, ref):
        seen.append((ref.name, ref.path, ref.framework))
        return loaded(FakeBackend(), name=ref.name)

    monkeypatch.setattr("server.app.load_engine", load_engine)
    models = load_models(Settings(models=["a", "b=/m/b@tensorflow"]))
    assert list(models) == ["a", "b"]
    assert [(name, str(path), framework) for name, path, framework in seen] == [
        ("a", "None", None),
        ("b", "/m/b", "tensorflow"),
    ]
    for model in models.values():
        model.close()


@pytest.mark.parametrize("names", [["a", "a"], ["a", "broken"]])
def test_when_one_model_cannot_be_loaded_those_before_it_are_closed(monkeypatch, names):
    backends = []

    def load_engine(settings, ref):
        if ref.name == "broken":
            raise ModelError("broken")
        backends.append(FakeBackend())
        return loaded(backends[-1], name=ref.name)

    monkeypatch.setattr("server.app.load_engine", load_engine)
    with pytest.raises(ModelError):
        load_models(Settings(models=names))
    assert [backend.closed for backend in backends] == [True]
