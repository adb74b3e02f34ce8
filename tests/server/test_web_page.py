"""The web page: whole without a network, open without a key, and right about every temperature it draws."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import quickjs
from starlette.testclient import TestClient

from samplers.params import SamplingParams
from server.app import create_app
from tests.conftest import loaded
from tests.fakes import FakeBackend, wait_until
from tests.page import Page
from tests.samplers.oracle import expect
from tests.server.live import serving

WEB = Path(__file__).parents[2] / "server" / "web"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SETTINGS = [
    {},
    {"temperature": 0.4},
    {"temperature": 2.5},
    {"top_k": 3},
    {"top_p": 0.8},
    {"min_p": 0.05},
    {"temperature": 1.7, "top_k": 30, "top_p": 0.6, "min_p": 0.02},
]


def test_everything_the_page_asks_for_is_on_this_server(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src" not in page.headers["content-security-policy"]  # default-src 'self' holds for scripts
    links = Page(page.text).links
    assert {"web/main.js", "web/style.css", "web/plotly.js", "docs"} <= set(links)
    for link in links:
        assert client.get(f"/{link}").status_code == 200, link
    for script in WEB.glob("*.js"):
        imported = re.findall(r'^import .* from "\./(.+)";', script.read_text(), re.MULTILINE)
        assert all((WEB / name).is_file() for name in imported)
        assert client.get(f"/web/{script.name}").headers["content-type"].startswith("text/javascript")


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere():
    html = (WEB / "index.html").read_text()
    assert not re.search(r"<style|style=|\son\w+=|javascript:|https?:", html)
    assert re.findall(r"<script[^>]*>([^<]*)</script>", html) == ["", ""]
    for script in WEB.glob("*.js"):
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(|https?:", script.read_text()), script


@pytest.mark.parametrize("path", ["/web/../app.py", "/web/%2e%2e/app.py", "/web/..%2fapp.py", "/web/", "/web/none.js"])
def test_no_other_file_can_be_had(client, path):
    assert client.get(path).status_code == 404


def test_the_page_opens_without_a_key_and_nothing_else_does(settings, tmp_path):
    (tmp_path / "keys").write_text("sk-0123456789abcdef\n")
    locked = settings.model_copy(update={"api_keys_file": tmp_path / "keys"})
    with TestClient(create_app(locked, load=lambda settings: {"fake": loaded(FakeBackend())})) as client:
        wait_until(lambda: client.get("/health/live").status_code == 200)
        assert {client.get(path).status_code for path in ("/", "/web/main.js", "/web/plotly.js")} == {200}
        assert {client.get(path).status_code for path in ("/v1/models", "/metrics", "/web", "/webpage")} == {401}


@pytest.mark.parametrize("given", SETTINGS, ids=str)
def test_the_page_tempers_and_truncates_as_the_sampler_does(given):
    logits = np.sort(np.random.default_rng(3).normal(0, 2.5, 120))[::-1]
    whole = {
        "tokens": [{"logit": x} for x in logits.tolist()],
        "tail": {"count": 0, "histogram": {"edges": [], "counts": []}},
    }
    tempered = temper(whole, given)
    weights = np.exp((logits - logits[0]) / given.get("temperature", 1.0))
    plain = weights / weights.sum()
    np.testing.assert_allclose(tempered["listed"], plain, rtol=1e-12)
    assert tempered["kept"] == len(expect(logits, SamplingParams(**given)).among.kept)
    assert tempered["entropy"] == pytest.approx(-(plain * np.log(plain)).sum(), rel=1e-12)


def test_the_page_makes_up_for_tokens_that_are_not_listed():
    logits = np.sort(np.random.default_rng(4).normal(0, 2, 5000))[::-1]
    counts, edges = np.histogram(logits[200:], bins=32)
    histogram = {"edges": edges.tolist(), "counts": counts.tolist()}
    listed = [{"logit": x} for x in logits[:200].tolist()]
    for temperature in (0.5, 1.0, 2.0):
        tempered = temper(
            {"tokens": listed, "tail": {"count": 4800, "histogram": histogram}}, {"temperature": temperature}
        )
        exact = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
        np.testing.assert_allclose(tempered["listed"], exact[:200], rtol=0.01)
        assert tempered["entropy"] == pytest.approx(-(exact * np.log(exact)).sum(), rel=0.01)


def temper(distribution, settings):
    context = quickjs.Context()
    context.eval(re.sub(r"^export ", "", (WEB / "distribution.js").read_text(), flags=re.MULTILINE))
    settings = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0} | settings
    return json.loads(context.eval(f"JSON.stringify(temper({json.dumps(distribution)}, {json.dumps(settings)}))"))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page in")
def test_a_browser_shows_the_model_and_draws_the_next_token(settings, tmp_path):
    with serving(settings, lambda settings: {"fake": loaded(FakeBackend())}) as url:
        shown = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000",
             "--dump-dom", f"{url}/"],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip
    assert "ready: " in shown
    assert '<option value="fake">' in shown or "<option>fake</option>" in shown
    assert shown.count('class="point"') >= 2  # bars of the figure
    assert re.search(r"entropy \d+\.\d\d nats, \d+ of \d+ tokens kept", shown)
