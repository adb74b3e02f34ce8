"""A short walk and a short run of schemathesis on one running server; `make robustness` takes all of the inputs."""

from contextlib import closing

import pytest

from tests.robustness.conformance import conformance
from tests.robustness.live_server import live_server
from tests.robustness.walk import GROWTH_BYTES, Walk

EVERY = 25  # one bad input in so many of each kind, on each route


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with live_server(tmp_path_factory.mktemp("server")) as server:
        yield server


def test_no_bad_input_harms_a_server(server):
    with closing(Walk(server)) as walk:
        num_routes = walk.everything(EVERY)
    print(f"\n{walk.tried.total()} bad inputs on {num_routes} routes: {len(walk.failures)} failed")
    assert walk.failures == []
    assert server.complaints() == []
    assert walk.growth_bytes < GROWTH_BYTES
    assert num_routes > 35
    assert walk.tried.total() > 1000
    assert set(walk.tried) == {"heads", "requests", "names", "bodies", "forms", "data sets", "pipelines"}


def test_what_the_document_says_is_what_the_server_does(server):
    exit_code, num_cases, output = conformance(server.port, max_examples=1, seconds=40)
    print(f"\nschemathesis: {num_cases} cases")
    assert exit_code == 0, output[-6000:]
    assert num_cases > 100
    assert server.complaints() == []
