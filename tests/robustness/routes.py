"""The routes that a server says it has, and a right body for each: a new route is walked without being named."""

import copy
import itertools
import json
from dataclasses import dataclass
from urllib.parse import quote

from tests.robustness.tiny_model import LENGTH
from tests.robustness.wire import as_json, request_bytes, send

# What a field that is left out would have to hold, so that something inside it can be wrong.
_NESTS = {
    "dynamic_temperature": {"min": 0.5, "max": 1.5},
    "stream_options": {"include_usage": True},
    "method": {"type": "supervised", "supervised": {"hyperparameters": {}}},
    "search": {"algorithm": "grid", "n_trials": 3},
}
_SMALL = {"max_tokens": 2, "n": 1, "samples_per_prompt": 1, "top": 5, "logprobs": None}  # so that a walk is short


@dataclass(frozen=True)
class Route:
    """One operation of the OpenAPI document.

    Attributes:
        method: of HTTP.
        path: with its parameters in braces.
        body: one that is right; None: the route takes no JSON.
        schema: of its JSON body; None likewise.
        form: whether it takes a form with a file.
        query: its parameters there, by name.
        names: those of its path.
        documented: statuses that its answers may have, by the document.
    """

    method: str
    path: str
    body: dict | None
    schema: dict | None
    form: bool
    query: tuple[str, ...]
    names: tuple[str, ...]
    documented: frozenset[int]

    def __str__(self):
        return f"{self.method} {self.path}"

    def at(self, values, query=""):
        """Write the path with values in it, as they are; a name without one has an id that nothing has."""
        path = self.path
        for name in self.names:
            path = path.replace(f"{{{name}}}", values.get(name, "nothing"))
        return path + query

    def request(self, values=(), *headers, query="", body=None):
        """Write a request that is right, or has another body."""
        path = self.at(dict(values), query)
        body = self.body if body is None else body
        if self.schema is not None:
            return as_json(self.method, path, body, *headers)
        if self.form:
            kind = "Content-Type: multipart/form-data; boundary=x"
            return request_bytes(self.method, path, form(b'{"text": "a", "label": "b"}\n'), kind, *headers)
        return request_bytes(self.method, path, b"", *headers)


def form(content, *, name="train.jsonl", purpose="fine-tune"):
    """Write a form with a file, whose boundary is x."""
    return (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + purpose.encode() + b"\r\n"
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="' + name.encode() + b'"\r\n\r\n'
        + content + b"\r\n--x--\r\n"
    )  # fmt: skip


def read_routes(port):
    """Read a server's routes out of its OpenAPI document."""
    document = send(port, request_bytes("GET", "/openapi.json")).json()
    return [
        _route(method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def _route(method, path, operation):
    content = operation.get("requestBody", {}).get("content", {})
    body, parameters = content.get("application/json"), operation.get("parameters", [])
    return Route(
        method=method,
        path=path,
        body=None if body is None else _small(body["example"]),
        schema=None if body is None else body["schema"],
        form="multipart/form-data" in content,
        query=tuple(own["name"] for own in parameters if own["in"] == "query"),
        names=tuple(own["name"] for own in parameters if own["in"] == "path"),
        documented=frozenset(map(int, operation["responses"])),
    )


def _small(example):
    """Return an example with this server's names, and little work: of a file that is not there nothing is trained."""
    body = {name: _SMALL.get(name, value) for name, value in example.items()}
    body = {name: value for name, value in body.items() if value is not None}
    if str(body.get("model")).startswith("smollm2"):
        body["model"] = "tiny"
    if "training_file" in body:
        body["training_file"] = "file-" + "0" * 24
    if "prompts" in body:
        body["prompts"] = ["a"]
    if "tokens" in body:
        body["tokens"] = [100, 101]
    return body


def places(schema, above=()):
    """Go down a JSON schema and give the way to every value that it names, as keys and indices."""
    for option in schema.get("anyOf", ()):
        yield from places(option, above)
    for name, inner in schema.get("properties", {}).items():
        yield (*above, name)
        yield from places(inner, (*above, name))
    if "items" in schema:
        yield (*above, 0)
        yield from places(schema["items"], (*above, 0))
    if isinstance(schema.get("additionalProperties"), dict):
        yield (*above, "65")
        yield from places(schema["additionalProperties"], (*above, "65"))


def put(body, way, value):
    """Return a copy of a body with a value in one place, which is made where it is missing."""
    body = copy.deepcopy(body)
    inner = body
    for step, following in itertools.pairwise(way):
        kind = list if following == 0 else dict
        made = copy.deepcopy(_NESTS.get(step, kind()))
        if isinstance(inner, list):
            inner[0:1] = [inner[0] if inner and isinstance(inner[0], kind) else made]
        elif not isinstance(inner.get(step), kind):
            inner[step] = made
            if step == "dynamic_temperature":
                inner.pop("temperature", None)
        inner = inner[step]
    if isinstance(inner, list):
        inner[way[-1] :] = [value]
    else:
        inner[way[-1]] = value
    return body


_HERE = "@here@"


def put_raw(body, way, raw):
    """Write a body as JSON with bytes in one place that `json` would not write."""
    return json.dumps(put(body, way, _HERE)).encode().replace(json.dumps(_HERE).encode(), raw)


def quoted(text):
    """Quote a text whole, so that it is one part of a path."""
    return quote(text, safe="")


__all__ = ["LENGTH", "Route", "form", "places", "put", "put_raw", "quoted", "read_routes"]
