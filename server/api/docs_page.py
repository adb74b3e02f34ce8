"""GET /docs: every route and field as one page of plain HTML, which needs no network and no script."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from server.api.documented import failures, file_answer

router = APIRouter()

_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 3rem; border-top: 1px solid #8884; padding-top: 1rem }
code, pre { font: 14px/1.45 ui-monospace, monospace }
pre { overflow: auto; background: #8881; padding: .75rem; border-radius: .25rem }
table { border-collapse: collapse } td, th { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0 }
"""
_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {}",
    "maxProperties": "at most {}",
    "const": "only {}",
}


@router.get("/docs", responses=file_answer("text/html", "<!doctype html>…") | failures())
async def docs(request: Request) -> Response:
    """Show this page."""
    return HTMLResponse(render_docs(request.app.openapi()))


def render_docs(openapi: dict[str, Any]) -> str:
    """Render an OpenAPI document.

    Args:
        openapi: its bodies are written out, not referred to.
    """
    info = openapi["info"]
    operations = [
        _render_operation(method, path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><h1>{title}</h1>'
        f'<p>{escape(info.get("description", ""))}</p><p><a href="openapi.json">openapi.json</a></p>'
        f"{''.join(operations)}</body></html>"
    )


def _render_operation(method: str, path: str, operation: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    heading = f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
    parts = [heading, f"<p>{escape(operation.get('description', ''))}</p>"]
    if body is not None:
        parts += [_render_fields(body["schema"]), "<h3>Body</h3>", _render_json(body["example"])]
    parts += [
        part for status, response in operation["responses"].items() for part in _render_response(status, response)
    ]
    return "".join(parts)


def _render_response(status: str, response: dict[str, Any]) -> Iterator[str]:
    yield f"<h3>{escape(status)}</h3><p>{escape(response['description'])}</p>"
    for content in response.get("content", {}).values():
        if "example" in content:
            yield _render_json(content["example"])


def _render_json(example: Any) -> str:
    text = example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
    return f"<pre>{escape(text)}</pre>"


def _render_fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    fields = sorted(schema["properties"].items(), key=lambda item: item[0] not in required)
    rows = "".join(_render_field(name, field, name in required) for name, field in fields)
    return f"<table><tr><th>field</th><th>type</th><th>default</th><th></th></tr>{rows}</table>"


def _render_field(name: str, field: dict[str, Any], required: bool) -> str:
    default = "required" if required else json.dumps(field["default"])
    cells = (f"<code>{escape(name)}</code>", escape(_type(field)), escape(default), escape(_describe(field)))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if "enum" in field:
        return " or ".join(json.dumps(value) for value in field["enum"])
    items = f" of {_type(field['items'])}" if "items" in field else ""
    return field.get("type", "any") + items


def _describe(field: dict[str, Any]) -> str:
    limits = [text.format(json.dumps(field[key])) for key, text in _LIMITS.items() if key in field]
    return " ".join(part for part in (field.get("description", ""), ", ".join(limits)) if part)
