"""API keys: nothing is open without one but liveness, no key is ever shown, and nobody is open by accident."""

import asyncio
import base64
import hmac
import json
import socket
import subprocess
import sys

import openai
import pytest
from starlette.testclient import TestClient

from server.app import create_app
from server.errors import InvalidRequestError
from server.keys import ApiKeys, is_loopback, require_closed
from server.security import RequireKey
from server.settings import Settings
from tests.conftest import loaded
from tests.fakes import FakeBackend, wait_until
from tests.server.live import serving

KEYS = ["sk-first-0123456789", "second:with?any#sign!", "x" * 256]
FILE = f"# keys\n\n{KEYS[0]} # of Ann\n  {KEYS[1]}\t# of Bob\r\n{KEYS[2]}\n"


@pytest.fixture
def locked(settings, tmp_path):
    """Give settings with a file of keys."""
    path = tmp_path / "keys"
    path.write_text(FILE)
    return settings.model_copy(update={"api_keys_file": path})


@pytest.fixture
def client(locked):
    with TestClient(create_app(locked, load=lambda settings: {"fake": loaded(FakeBackend())})) as client:
        wait_until(lambda: client.get("/health/ready", headers=bearer(KEYS[0])).status_code == 200)
        yield client


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("key", KEYS)
def test_every_key_opens_the_server(client, key):
    for authorization in (f"Bearer {key}", f"bearer {key}", f"Bearer  {key} "):
        answer = client.post("/generate", json={"prompt": "a"}, headers={"authorization": authorization})
        assert answer.status_code == 200


def test_prompts_share_their_beginnings_under_one_key_alone(locked):
    backend = FakeBackend(num_slots=4, prefill_chunk=256)
    text = "the same beginning of all prompts here, "
    with TestClient(create_app(locked, load=lambda _: {"fake": loaded(backend, prefix_cache=True)})) as client:
        wait_until(lambda: client.get("/health/ready", headers=bearer(KEYS[0])).status_code == 200)
        for key, end in ((0, "a"), (1, "b"), (0, "c"), (1, "d")):
            body = {"prompt": text + end, "max_tokens": 1}
            assert client.post("/generate", json=body, headers=bearer(KEYS[key])).status_code == 200
        metrics = client.get("/metrics", headers=bearer(KEYS[0])).text
    assert [call[3] for call in backend.calls if call[0] == "copy"] == [32, 32]
    assert 'kelvin_prefix_cache_hits_total{model_name="fake"} 64.0' in metrics
    assert 'kelvin_prefix_cache_prompts_total{model_name="fake"} 2.0' in metrics
    assert f'kelvin_prefix_cache_queries_total{{model_name="fake"}} {4 * len(text)}.0' in metrics


WRONG = [
    {}, bearer(""), bearer("wrong"), bearer(KEYS[0][:-1]), bearer(KEYS[0] + "x"), bearer(KEYS[0].upper()),
    bearer(f"{KEYS[0]} # of Ann"), bearer("# keys"), {"authorization": KEYS[0]}, {"authorization": f"Basic {KEYS[0]}"},
    {"authorization": "Bearer"}, {"authorization": b"Bearer \xff\xfe"}, {"x-api-key": KEYS[0]},
]  # fmt: skip


@pytest.mark.parametrize("headers", WRONG)
def test_anything_else_is_a_401_in_the_one_shape(client, headers):
    answer = client.post("/generate", json={"prompt": "a"}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="Kelvin"'
    error = answer.json()["error"]
    assert (error["code"], error["type"], error["param"]) == ("unauthorized", "authentication_error", None)
    assert error["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def basic(key, name="reader"):
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{key}".encode()).decode()}


def test_a_browser_asks_its_reader_for_the_key(client):
    """A browser cannot send a bearer's header for a page; it can ask for a password, and sends it again by itself."""
    page = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for path in ("/docs", "/compare/x/report.html", "/openapi.json"):
        refusal = client.get(path, headers=page)
        assert refusal.status_code == 401
        assert refusal.headers["www-authenticate"].startswith('Basic realm="Kelvin')
    for key in KEYS:  # one of them has a colon
        for name in ("reader", ""):
            assert client.get("/docs", headers=page | basic(key, name)).status_code == 200
    wrong = [basic(""), basic("x" * 20), {"authorization": "Basic"}, {"authorization": "Basic !"}, basic(KEYS[0] + " ")]
    for headers in (*wrong, {"authorization": "Basic " + base64.b64encode(KEYS[0].encode()).decode()}):
        assert client.get("/docs", headers=page | headers).status_code == 401


def test_no_route_is_open_but_liveness_and_the_page(client):
    document = client.get("/openapi.json", headers=bearer(KEYS[0])).json()
    routes = [(method, path) for path, methods in document["paths"].items() for method in methods]
    assert len(routes) > 20
    for method, path in [
        *routes,
        ("get", "/openapi.json"),
        ("get", "/nothing"),
        ("options", "/generate"),
    ]:
        expected = 200 if path in ("/health/live", "/") else 401
        assert client.request(method, path).status_code == expected, path


@pytest.mark.parametrize(
    "path", ["/health/live/", "//health/live", "/health/live/../../generate", "/health/live%2f", "/x?/health/live"]
)
def test_a_path_that_looks_like_liveness_is_none(client, path):
    """Also where a proxy or a Host header says otherwise: what is asked is the path that routes go by."""
    assert client.get(path, headers={"host": "a/health/live?"}).status_code in (401, 404)
    assert client.post("/generate", json={}, headers={"host": "a/health/live?"}).status_code == 401


def test_a_stranger_is_answered_before_anything_of_him_is_read():
    sent = []

    async def receive():
        raise AssertionError("read")

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        raise AssertionError("passed on")

    scope = {"type": "http", "path": "/generate", "headers": [], "state": {"facts": {}, "request_id": "r"}}
    asyncio.run(RequireKey(app, ApiKeys(KEYS))(scope, receive, send))
    assert sent[0]["status"] == 401
    asyncio.run(RequireKey(app, ApiKeys(KEYS))(scope | {"type": "websocket"}, receive, send))
    assert sent[-1] == {"type": "websocket.close", "code": 1008}


def test_every_known_key_is_compared_whichever_fits(monkeypatch):
    compared = []

    def compare(one, other):
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr("server.keys.hmac", type("hmac", (), {"compare_digest": staticmethod(compare)}))
    keys = ApiKeys(KEYS)
    assert keys.opens(KEYS[0].encode())
    assert not keys.opens(b"")
    assert compared == [(32, 32)] * 6


def test_keys_are_neither_logged_nor_kept(capsys, locked):
    wrong, written = "wrong-0123456789abcdef", []
    with TestClient(create_app(locked, load=lambda settings: {})) as client:
        client.get("/version", headers=bearer(KEYS[0]))
        client.get("/version", headers=bearer(wrong))
        client.get(f"/version?key={KEYS[0]}")

    def logged():
        written.extend(map(json.loads, capsys.readouterr().err.splitlines()))
        return sum(line.get("error") == "unauthorized" for line in written) >= 2

    wait_until(logged)
    text = json.dumps([line for line in written if line["logger"] != "httpx2"])  # the client logs its addresses
    assert not [key for key in (*KEYS, wrong) if key in text]
    assert not [key for key in KEYS if key in repr(vars(ApiKeys(KEYS)))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no key"),
        ("# only\n\n", "holds no key"),
        ("short\n", "line 1 of"),
        (f"{KEYS[0]}\nwith two words\n", "line 2 of"),
        ("x" * 257, "line 1 of"),
        ("schlüssel-0123456789", "line 1 of"),
        (f"{KEYS[0]} Ann", "line 1 of"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_without_showing_it(tmp_path, text, words):
    path = tmp_path / "keys"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidRequestError, match=words) as refusal:
        ApiKeys.from_file(path)
    assert refusal.value.param == "api_keys_file"
    for secret in ("short", "two words", KEYS[0], "schlüssel"):
        assert secret not in refusal.value.message


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_an_address_of_this_machine_alone_needs_no_keys(host):
    assert is_loopback(host)
    require_closed(Settings(host=host))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "127.0.0.1.example.org", "localhost.com"]
)
def test_any_other_needs_keys_or_a_word(host, locked):
    with pytest.raises(InvalidRequestError, match="--insecure") as refusal:
        require_closed(Settings(host=host))
    assert refusal.value.param == "host"
    require_closed(Settings(host=host, insecure=True))
    require_closed(Settings(host=host, api_keys_file=locked.api_keys_file))


def test_a_server_without_keys_refuses_to_start_where_others_reach_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "server", "serve", "--host", "0.0.0.0", "--port", str(port)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert "--api-keys-file" in outcome.stderr
    assert "--insecure" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_openais_client_sends_its_key(locked):
    with serving(locked, lambda settings: {"fake": loaded(FakeBackend())}) as address:
        with openai.OpenAI(base_url=f"{address}/v1", api_key=KEYS[0]) as client:
            assert [model.id for model in client.models.list()] == ["fake"]
        with openai.OpenAI(base_url=f"{address}/v1", api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError) as refusal:
                client.models.list()
            assert refusal.value.code == "unauthorized"
