"""The process that runs a model's chat template; a script of its own, run as `python -I chat_worker.py`.

A template is a program that came with a model, and a program may loop for ever or fill the memory. So it runs where it
can be killed: in a sandbox that lets it change nothing, with a timer that ends the process and a limit to its memory.
The first line of standard input says what to run, each further line is a conversation; an answer is a line too.
"""

import datetime
import json
import resource
import signal
import sys
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_MEMORY_BYTES = 512 * 2**20


class _Generation(Extension):
    """Reads `{% generation %}…{% endgeneration %}`, which marks for training what a model has written, as its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _RefusedError(Exception):
    """What a template raises by `raise_exception`."""


def environment() -> ImmutableSandboxedEnvironment:
    """Build what templates are written for: the filters, functions and tags that `transformers` gives them."""
    built = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    built.filters["tojson"] = _as_json
    built.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    return built


def answer(template: jinja2.Template, values: dict[str, Any], max_characters: int) -> dict[str, Any]:
    """Render a template.

    Args:
        template: of the model.
        values: what it may name.
        max_characters: of what it writes.

    Returns:
        `text`; or `refused`, the template's own words; or `failed`, the name of an exception; or `long`.
    """
    pieces: list[str] = []
    left = max_characters
    try:
        for piece in template.generate(values):
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                return {"long": True}
        return {"text": "".join(pieces)}
    except _RefusedError as refusal:
        return {"refused": str(refusal)}
    except Exception as error:  # whatever a program may raise; the template's own name says enough
        return {"failed": type(error).__name__}


def main() -> None:
    """Answer line by line until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    task = json.loads(sys.stdin.readline())
    signal.setitimer(signal.ITIMER_REAL, task["limit_s"])
    try:
        template = environment().from_string(task["source"])
    except Exception as error:
        print(json.dumps({"broken": f"{type(error).__name__}: {error}"}), flush=True)
        return
    for line in _lines():
        signal.setitimer(signal.ITIMER_REAL, task["limit_s"])  # its signal ends the process, whatever that does
        values = {**task["values"], **json.loads(line)}
        print(json.dumps(answer(template, values, task["max_characters"])), flush=True)


def _lines() -> Any:
    while True:
        signal.setitimer(signal.ITIMER_REAL, 0)  # waiting costs nothing
        if not (line := sys.stdin.readline()):
            return
        yield line


def _refuse(message: object) -> None:
    raise _RefusedError(message)


def _now(layout: str) -> str:
    return datetime.datetime.now().strftime(layout)


def _as_json(value: object, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


if __name__ == "__main__":
    main()
