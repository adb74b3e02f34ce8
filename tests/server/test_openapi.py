"""The documentation is right: examples are real, bounds are the sampler's, pages need no network."""

import re
from html.parser import HTMLParser

import pytest
from pydantic import TypeAdapter

from samplers.checks import SamplingParamsError
from samplers.params import SamplingParams
from server.api import examples
from server.api.schemas import answers, finetuning_answers, openai_answers
from server.api.schemas.generate import GenerateRequest

NEED_FILES = ("/v1/fine_tuning/jobs", "/v1/fine_tuning/validate", "/classify")  # tests/finetuning has their examples


@pytest.fixture
def document(client):
    return client.get("/openapi.json").json()


def operations(document):
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_is_there_and_documented(document):
    assert {(path, method) for path, method, _ in operations(document)} == {
        ("/generate", "post"),
        ("/v1/completions", "post"),
        ("/v1/chat/completions", "post"),
        ("/v1/models", "get"),
        ("/v1/models/{model_id}", "get"),
        ("/distribution", "post"),
        ("/tokenize", "post"),
        ("/detokenize", "post"),
        ("/health/live", "get"),
        ("/health/ready", "get"),
        ("/version", "get"),
        ("/", "get"),
        ("/docs", "get"),
        ("/metrics", "get"),
        ("/compare", "post"),
        ("/compare", "get"),
        ("/compare/{comparison_id}", "get"),
        ("/compare/{comparison_id}", "delete"),
        ("/compare/{comparison_id}/cancel", "post"),
        ("/compare/{comparison_id}/events", "get"),
        ("/compare/{comparison_id}/completions.jsonl", "get"),
        ("/compare/{comparison_id}/report.html", "get"),
        ("/v1/files", "post"),
        ("/v1/files", "get"),
        ("/v1/files/{file_id}", "get"),
        ("/v1/files/{file_id}", "delete"),
        ("/v1/files/{file_id}/content", "get"),
        ("/v1/fine_tuning/jobs", "post"),
        ("/v1/fine_tuning/jobs", "get"),
        ("/v1/fine_tuning/validate", "post"),
        ("/v1/fine_tuning/jobs/{job_id}", "get"),
        ("/v1/fine_tuning/jobs/{job_id}", "delete"),
        ("/v1/fine_tuning/jobs/{job_id}/cancel", "post"),
        ("/v1/fine_tuning/jobs/{job_id}/pause", "post"),
        ("/v1/fine_tuning/jobs/{job_id}/resume", "post"),
        ("/v1/fine_tuning/jobs/{job_id}/events", "get"),
        ("/v1/fine_tuning/jobs/{job_id}/checkpoints", "get"),
        ("/v1/fine_tuning/jobs/{job_id}/report.html", "get"),
        ("/v1/fine_tuning/jobs/{job_id}/artifacts/{name}", "get"),
        ("/classify", "post"),
        ("/v1/models/{model_id}", "delete"),
    }
    for _, _, operation in operations(document):
        assert operation["description"]
        assert operation["responses"]["200"]["description"]


def test_every_post_documents_its_body_and_the_errors_with_their_one_schema(document):
    for _, _, operation in operations(document):
        if "application/json" not in operation.get("requestBody", {}).get("content", {}):
            continue  # no body, or a form with a file
        assert "example" in operation["requestBody"]["content"]["application/json"]
        assert {"200", "400", "404", "408", "413", "415", "503"} <= set(operation["responses"])
        assert "422" not in operation["responses"]
        for status, response in operation["responses"].items():
            content = response["content"]["application/json"]
            if not status.startswith("2"):
                assert content["schema"] == {"$ref": "#/components/schemas/FailureAnswer"}
                assert answers.FailureAnswer.model_validate(content["example"])


def test_the_examples_of_bodies_are_taken_and_those_of_answers_fit_their_schemas(client, document):
    for path, method, operation in operations(document):
        content = operation["responses"]["200"]["content"]
        if "{" in path or (method == "post" and path in NEED_FILES):
            continue
        if (path, method) == ("/v1/files", "post"):
            [(media_type, form)] = operation["requestBody"]["content"].items()
            headers = {"content-type": f"{media_type}; boundary=x"}
            response = client.post(path, content=form["example"].encode(), headers=headers)
        elif method == "post":
            body = operation["requestBody"]["content"]["application/json"]["example"]
            if "tokens" in body:
                body = body | {"tokens": [97]}  # the example's ids are those of another model
            response = client.post(path, json=body)
            assert str(response.status_code) in operation["responses"], response.text
            assert response.is_success
        elif path not in ("/", "/docs", "/metrics"):
            response = client.get(path)
        else:
            continue
        name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
        homes = [home for home in (answers, finetuning_answers, openai_answers) if hasattr(home, name)]
        schema = TypeAdapter(getattr(homes[0], name))
        schema.validate_python(response.json())
        schema.validate_python(content["application/json"]["example"])


def test_a_default_of_null_is_documented_as_one(document):
    body = document["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]
    for name in ("seed", "logprobs", "timeout_s", "dynamic_temperature"):
        assert body["schema"]["properties"][name]["default"] is None
    assert body["schema"]["required"] == ["prompt"]
    assert body["schema"]["additionalProperties"] is False


def test_the_example_of_a_stream_ends_as_a_stream_does():
    events = examples.EVENTS.removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert all(event.startswith("data: {") for event in events[:-1])


BOUNDS = [
    (name, key, schema[key])
    for name, field in GenerateRequest.model_json_schema()["properties"].items()
    for schema in [field, *field.get("anyOf", [])]
    for key in ("minimum", "exclusiveMinimum", "maximum")
    if key in schema and name in SamplingParams.__dataclass_fields__
]


@pytest.mark.parametrize(("name", "key", "bound"), BOUNDS)
def test_documented_bounds_are_the_samplers_own(name, key, bound):
    step = 1 if isinstance(SamplingParams.__dataclass_fields__[name].default, int | None) else 1e-9
    outside = bound - step if "inimum" in key else bound + step
    with pytest.raises(SamplingParamsError) as refused:
        SamplingParams(**{name: bound if key == "exclusiveMinimum" else outside})
    assert refused.value.param == name
    if key != "exclusiveMinimum":
        SamplingParams(**{name: bound})


def test_there_are_bounds_to_compare():
    assert {name for name, _, _ in BOUNDS} >= {"temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"}


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src")]


def test_the_page_shows_everything_and_loads_nothing(client, document):
    response = client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    page = Links()
    page.feed(response.text)
    assert page.links == ["openapi.json"]
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not re.search(r"url\(|@import", response.text)
    for path in document["paths"]:
        assert f" {path}<" in response.text
    for field in GenerateRequest.model_fields:
        assert f"<code>{field}</code>" in response.text
    assert "&lt;|im_start|&gt;" in response.text
