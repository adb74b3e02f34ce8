"""The walk: every bad input on every route of a live server, and a good request after each."""

import dataclasses
import re
import socket
import time
from collections import Counter

from tests.robustness.bad_bodies import bad_bodies
from tests.robustness.bad_files import DATA_SETS, bad_forms, upload
from tests.robustness.bad_names import bad_names
from tests.robustness.bad_requests import bad_requests, heads
from tests.robustness.bad_rows import bad_rows, dawdle, train
from tests.robustness.case import ANY, Case
from tests.robustness.routes import form, read_routes
from tests.robustness.wire import Client, Refused, as_json, connection, read, request_bytes, send

SLOW_S = 10.0  # an answer to a bad input that takes longer holds up others
GROWTH_BYTES = 96 * 2**20
GOOD = as_json("POST", "/generate", {"prompt": "good", "max_tokens": 2, "seed": 7})
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_OF_HTTP = {400, 404, 405, 408, 413, 431}  # whatever the route: no HTTP, no such path, no such method
_SHAPE = {"message", "type", "param", "code", "request_id"}


class Walk:
    """Tries bad inputs on a server and keeps count.

    Attributes:
        tried: how many, by kind.
        failures: in words; none is what should be.
        slowest: seconds and name of the answer that took longest.
        growth_bytes: of the server's memory, at most.
    """

    def __init__(self, server):
        self.tried = Counter()
        self.failures = []
        self.slowest = (0.0, "")
        self.growth_bytes = 0
        self._server = server
        self._client = Client(server.port)
        self._good = self._client.send(GOOD).json()["choices"][0]["token_ids"]
        self._least_bytes = server.resident_bytes()

    def close(self):
        """Close the connection."""
        self._client.close()

    def everything(self, every=1, start=0):
        """Walk all kinds on all routes.

        Args:
            every: 1 tries everything, 7 one of seven of each kind on each route, not the same ones on two routes.
            start: which of the seven.

        Returns:
            How many routes there are.
        """
        ids = self._things()
        routes = read_routes(self._server.port)
        methods = {}
        for route in routes:
            methods.setdefault(route.path, set()).add(route.method)
        self._warm_up(routes, ids)
        self._try_all("heads", heads(), 1)
        for place, route in enumerate(routes):
            known = ids | {"name": "manifest.json", "model_id": "tiny"}
            if route.method == "DELETE":
                known = {}  # what the others need stays
            kinds = {"requests": bad_requests(route, known, methods[route.path]), "names": bad_names(route, known)}
            if route.schema is not None:
                kinds["bodies"] = bad_bodies(route, known)
            if route.form:
                kinds["forms"] = bad_forms(route)
            for kind, cases in kinds.items():
                within = [dataclasses.replace(case, documented=route.documented) for case in cases]
                self._try_all(kind, within[(place + start) % every :: every], 1)
            if route.form:
                self._data_sets(route, next(own for own in routes if own.path.endswith("/validate")), every, start)
        self._pipelines()
        return len(routes)

    def slowly(self):
        """Try what takes a training or half a minute: a classifier's inputs, and clients that dawdle."""
        self._try_all("rows", bad_rows(train(self._client)), 1)
        count, troubles = dawdle(self._server.port, read_routes(self._server.port))
        self.tried["dawdlers"] += count
        self.failures += troubles
        self._good_again("dawdlers")

    def _things(self):
        """Make one of each thing that has an id, and return the ids by the names that paths have."""
        rows = DATA_SETS["ids twice"]
        kind = "Content-Type: multipart/form-data; boundary=x"
        file_id = self._client.send(request_bytes("POST", "/v1/files", form(rows), kind)).json()["id"]
        one_class = self._client.send(request_bytes("POST", "/v1/files", form(DATA_SETS["one class"]), kind)).json()[
            "id"
        ]
        body = {
            "prompts": ["a"],
            "arms": [{"name": "a"}, {"name": "b"}],
            "samples_per_prompt": 2,
            "max_tokens": 2,
            "wait": True,
        }
        comparison = self._client.send(as_json("POST", "/compare", body)).json()
        assert comparison["status"] == "succeeded", comparison
        job = self._client.send(as_json("POST", "/v1/fine_tuning/jobs", {"training_file": one_class})).json()
        return {"file_id": file_id, "comparison_id": comparison["id"], "job_id": job["id"]}

    def _warm_up(self, routes, ids):
        """Ask every route rightly once: what is imported for the first request of its kind is no growth."""
        for route in routes:
            if route.method != "DELETE":
                self._tidy(self._client.send(route.request(ids)))
        self._least_bytes = self._server.resident_bytes()

    def _try_all(self, kind, cases, every):
        for case in list(cases)[::every]:
            self.tried[kind] += 1
            trouble = self._trouble(case)
            if trouble:
                self.failures.append(f"{case.name}: {trouble}")
            self._good_again(case.name)
        self._server.require_alive()
        self.growth_bytes = max(self.growth_bytes, self._server.resident_bytes() - self._least_bytes)

    def _trouble(self, case):
        """Try a case; return what is wrong with what came of it, None where nothing is."""
        try:
            answer = self._ask(case)
        except Refused as refusal:
            return None if case.silence else str(refusal)
        except AssertionError as error:
            return str(error)
        if answer is None:
            return None
        self.slowest = max(self.slowest, (answer.seconds, case.name))
        self._tidy(answer)
        return _judge(case, answer)

    def _ask(self, case):
        if isinstance(case.data, list) and case.data[-1] == "end":
            with connection(self._server.port) as opened:
                opened.sendall(b"".join(case.data[:-1]))
                opened.shutdown(socket.SHUT_WR)
                read(opened, patience_s=5.0)  # whatever it is, it is there, or the connection is closed
            return None
        fresh = isinstance(case.data, list) or case.silence
        return (send(self._server.port, case.data, method=case.method) if fresh else
                self._client.send(case.data, method=case.method))  # fmt: skip

    def _tidy(self, answer):
        """Cancel what was begun, so that a walk has no work but its own."""
        if answer.status not in (200, 202) or not answer.body.startswith(b'{"id":"cmp-'):
            return
        made = answer.json()
        if made["status"] in ("queued", "running"):
            self._client.send(request_bytes("POST", f"/compare/{made['id']}/cancel"))

    def _good_again(self, name):
        started_s = time.monotonic()
        try:
            answer = self._client.send(GOOD)
        except (Refused, OSError) as error:
            self.failures.append(f"after {name}: the next good request got no answer: {error}")
            return
        if answer.status != 200 or answer.json()["choices"][0]["token_ids"] != self._good:
            self.failures.append(f"after {name}: the next good request got {answer.status} {answer.body[:200]!r}")
        if time.monotonic() - started_s > SLOW_S:
            self.failures.append(f"after {name}: the next good request took {time.monotonic() - started_s:.1f} s")

    def _data_sets(self, route, validate, every, start):
        for name, content in list(DATA_SETS.items())[start % every :: every]:
            uploaded = self._client.send(upload(route, content))
            self._try_all(
                "data sets", [Case(f"data set {name}", upload(route, content), ANY, documented=route.documented)], 1
            )
            if uploaded.status == 200:
                body = {**validate.body, "training_file": uploaded.json()["id"]}
                for method in ("dan", "mlp"):
                    data = validate.request(body=body | {"method_name": method})
                    case = Case(f"data set {name} for {method}", data, ANY, documented=validate.documented)
                    self._try_all("data sets", [case], 1)

    def _pipelines(self):
        """Send several requests at once, good ones and bad ones, and see that each is answered in its turn."""
        bad, good = as_json("POST", "/generate", b"{"), GOOD
        for name, requests, expected in (
            ("good ones", [good] * 20, [200] * 20),
            ("bad ones", [bad] * 50, [400] * 50),
            ("both", [bad, good] * 10, [400, 200] * 10),
            ("then garbage", [good, b"\0\0\r\n\r\n"], [200, 400]),
        ):
            self.tried["pipelines"] += 1
            with connection(self._server.port) as opened:
                opened.sendall(b"".join(requests))
                statuses = _statuses(opened, len(requests))
            if statuses != expected:
                self.failures.append(f"pipeline of {name}: {statuses}")
            self._good_again(f"pipeline of {name}")


def _statuses(opened, count):
    """Read the statuses of so many responses from one connection."""
    data = b""
    while len(_STATUS.findall(data)) < count or not data.endswith(b"}"):
        try:
            piece = opened.recv(2**16)
        except (TimeoutError, ConnectionResetError):
            break
        if not piece:
            break
        data += piece
    return [int(status) for status in _STATUS.findall(data)]


def _judge(case, answer):
    """Return what is wrong with an answer; None: nothing."""
    shown = f"{answer.status} {answer.body[:300]!r}"
    if answer.status >= 500 or answer.status not in case.statuses:
        return shown
    if case.documented is not None and answer.status not in case.documented | _OF_HTTP:
        return f"{shown} is not documented"
    if any(name.startswith("access-control") for name in answer.headers):
        return f"{shown} lets other origins in"
    if answer.seconds > SLOW_S:
        return f"{shown} took {answer.seconds:.1f} s"
    if answer.status >= 400 and case.method != "HEAD":
        return _judge_refusal(answer)
    if "application/json" in answer.headers.get("content-type", "") and case.method != "HEAD":
        try:
            answer.json()
        except ValueError as error:
            return f"{shown}: {error}"
    return None


def _judge_refusal(answer):
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return f"{answer.status} is no error in the one shape: {answer.body[:200]!r}"
    if set(error) != _SHAPE or not error["message"] or error["request_id"] != answer.headers.get("x-request-id"):
        return f"{answer.status} is no error in the one shape: {error}"
    if len(answer.body) > 2000:
        return f"{answer.status} has {len(answer.body)} bytes: {answer.body[:200]!r}"
    if answer.headers.get("x-content-type-options") != "nosniff":
        return f"{answer.status} has no security headers"
    return None
