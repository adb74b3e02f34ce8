"""Bad inputs of a classifier that is there, and clients that dawdle: what takes a training, or half a minute."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

from tests.robustness.bad_files import DATA_SETS
from tests.robustness.case import ANY, Case
from tests.robustness.routes import form
from tests.robustness.wire import Refused, as_json, request_bytes, send

MULTIPART = "Content-Type: multipart/form-data; boundary=x"
BAD, TAKEN = frozenset({400}), frozenset({200})
DAWDLE_S = 40.0  # longer than any limit for a body or a head

ROWS = {
    "texts": (["a"], BAD), "text": ("a", BAD), "no rows": ([], BAD), "an empty row": ([[]], BAD),
    "a short row": ([[1]], BAD),
    "a long row": ([[1, 2, 3]], BAD), "ragged": ([[1, 2], [1]], BAD), "texts in a row": ([["1", "2"]], BAD),
    "true": ([[True, False]], BAD), "null": ([[None, 1]], BAD), "nested": ([[[1], [2]]], BAD), "an object": ([{}], BAD),
    "5000 rows": ([[1, 2]] * 5000, BAD), "both": (["a", [1, 2]], BAD), "huge": ([[1e308, -1e308]], BAD),
    "the greatest float32": ([[3.4e38, -3.4e38]], ANY), "deep": (json.loads("[" * 500 + "]" * 500), BAD),
    "huge integers": ([[2**63, -(2**63)]], ANY), "tiny": ([[5e-324, -0.0]], TAKEN), "good": ([[1, -1]], TAKEN),
}  # fmt: skip
OPTIONS = {
    "temperature 0.01": ({"temperature": 0.01}, TAKEN), "temperature 100": ({"temperature": 100.0}, TAKEN),
    "temperature 0": ({"temperature": 0}, BAD), "top_k beyond the classes": ({"top_k": 10**6}, ANY),
    "top_k 2**63": ({"top_k": 2**63}, ANY), "abstain_below 1": ({"abstain_below": 1.0}, TAKEN),
    "abstain_below 2": ({"abstain_below": 2.0}, BAD),
}  # fmt: skip


def train(client):
    """Train a classifier of rows of two numbers, and return its name."""
    file_id = client.send(request_bytes("POST", "/v1/files", form(DATA_SETS["features"]), MULTIPART)).json()["id"]
    body = {"training_file": file_id, "method_name": "mlp", "hyperparameters": {"n_epochs": 2}}
    job = client.send(as_json("POST", "/v1/fine_tuning/jobs", body)).json()
    deadline_s = time.monotonic() + 120
    while job["status"] not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < deadline_s, job
        time.sleep(0.5)
        job = client.send(request_bytes("GET", f"/v1/fine_tuning/jobs/{job['id']}")).json()
    assert job["status"] == "succeeded", job
    return job["fine_tuned_model"]


def bad_rows(name):
    """Give bad inputs of a classifier."""
    wishes = {called: ({"input": rows}, statuses) for called, (rows, statuses) in ROWS.items()}
    wishes |= {called: ({"input": [[1, -1]]} | given, statuses) for called, (given, statuses) in OPTIONS.items()}
    for called, (wish, statuses) in wishes.items():
        yield Case(f"classify {called}", as_json("POST", "/classify", {"model": name} | wish), statuses)
    for value in (b"NaN", b"1e999", b"1" * 400):
        data = json.dumps({"model": name, "input": [["@", 1]]}).encode().replace(b'"@"', value)
        yield Case(f"classify {value[:9]!r}", as_json("POST", "/classify", data), BAD)


def dawdle(port, routes):
    """Begin a request on every route that reads a body, and heads besides, go on too slowly, and wait for the end.

    Args:
        port: of the server.
        routes: all.

    Returns:
        How many there were, and what is wrong with those that were not let go.
    """
    begun = {f"half a body: {route}": _half_a_body(route) for route in routes if route.schema is not None or route.form}
    begun |= {"half a head": b"POST /generate HTTP/1.1\r\nHost: x\r\n", "a letter": b"G"}
    with ThreadPoolExecutor(len(begun)) as pool:
        outcomes = dict(zip(begun, pool.map(lambda data: _outcome(port, data), begun.values()), strict=True))
    return len(begun), [f"{name}: {trouble}" for name, trouble in outcomes.items() if trouble]


def _half_a_body(route):
    whole = route.request({})
    return whole[: -max(1, len(whole.partition(b"\r\n\r\n")[2]) // 2)]


def _outcome(port, data):
    try:
        answer = send(port, data, patience_s=DAWDLE_S)
    except Refused as refusal:
        return str(refusal)
    return None if answer.status == 408 else f"{answer.status} {answer.body[:200]!r}"
