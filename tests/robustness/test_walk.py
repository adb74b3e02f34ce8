"""A short walk, one bad input in twenty of each kind on each route; `make robustness` takes all of them."""

from tests.robustness.live_server import live_server
from tests.robustness.walk import GROWTH_BYTES, Walk

EVERY = 20


def test_no_bad_input_harms_a_server(tmp_path):
    with live_server(tmp_path) as server:
        walk = Walk(server)
        num_routes = walk.everything(EVERY)
        complaints = server.complaints()
    print(f"\n{walk.tried.total()} bad inputs on {num_routes} routes: {len(walk.failures)} failed")
    assert walk.failures == []
    assert complaints == []
    assert walk.growth_bytes < GROWTH_BYTES
    assert num_routes > 35
    assert walk.tried.total() > 1000
    assert set(walk.tried) == {"heads", "requests", "names", "bodies", "forms", "data sets", "pipelines"}
