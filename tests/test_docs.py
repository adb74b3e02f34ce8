"""The documentation names everything that can be set or sent, and its links lead somewhere."""

import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest
import typer.main
from pydantic import BaseModel

from server.app import create_app
from server.cli import app
from server.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def cli_options():
    """Collect (command, options), as in ("models list", ["--json"])."""
    pending = [("", typer.main.get_command(app))]
    while pending:
        name, command = pending.pop()
        pending += [(f"{name} {child}".strip(), node) for child, node in getattr(command, "commands", {}).items()]
        yield from (
            (name, option)
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("-")
        )


def request_fields():
    """Collect (schema, field) of every wire type under server.api.schemas."""
    package = importlib.import_module("server.api.schemas")
    modules = [
        package,
        *(importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)),
    ]
    schemas = {
        schema
        for module in modules
        for schema in vars(module).values()
        if isinstance(schema, type) and issubclass(schema, BaseModel) and schema.__module__.startswith(package.__name__)
    }
    return sorted(
        (schema.__name__, field.alias or name) for schema in schemas for name, field in schema.model_fields.items()
    )


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_row_with_its_variable_and_default(name):
    rows = (ROOT / "docs/settings.md").read_text(encoding="utf-8").splitlines()
    row = next((row for row in rows if row.startswith(f"| `{name}` | `KELVIN_{name.upper()}` |")), None)
    assert row is not None, f"docs/settings.md has no row for {name}"
    default = Settings.model_fields[name].default
    if name.endswith("_dir"):
        assert "`~/." in row
    else:
        shown = (
            ",".join(default)
            if isinstance(default, tuple)
            else f"{default:g}"
            if isinstance(default, float)
            else str(default).lower()
            if default is None
            else str(default)
        )
        assert f"| `{shown.lower() if isinstance(default, bool) else shown}` |" in row


@pytest.mark.parametrize(("command", "option"), list(cli_options()))
def test_every_option_of_the_command_line_is_documented(command, option):
    assert f"`{option}`" in (ROOT / "docs/cli.md").read_text(encoding="utf-8"), f"kelvin {command} {option}"


def test_the_documented_options_exist():
    documented = set(re.findall(r"`(--?[a-z][a-z-]*)`", (ROOT / "docs/cli.md").read_text(encoding="utf-8")))
    assert documented - {option for _, option in cli_options()} == {"--help"}


@pytest.mark.parametrize(("schema", "field"), request_fields())
def test_every_field_of_the_wire_is_documented(schema, field):
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert re.search(rf"[`\"]{re.escape(field)}[`\"]", page), f"{schema}.{field}"


def test_every_route_is_documented():
    paths = create_app(Settings()).openapi()["paths"]
    routes = {f"{method.upper()} {path}" for path, operations in paths.items() for method in operations}
    assert "POST /generate" in routes
    for page in ("README.md", "docs/api.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert sorted(route for route in routes if f"`{route}`" not in text) == [], page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_decisions_are_numbered_without_gaps_and_say_what_they_cost():
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [page.name[:4] for page in decisions] == [f"{number:04}" for number in range(len(decisions))]
    for page in decisions:
        headings = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Cost"], page.name


def test_architecture_stays_short_enough_to_read():
    assert len((ROOT / "docs/architecture.md").read_text(encoding="utf-8").splitlines()) <= 60


def test_the_image_installs_the_torch_that_the_project_pins():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    pinned = re.search(r"ARG TORCH_VERSION=(\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert extras["torch"] == [f"torch=={pinned[1]}"]
