"""Schemathesis on a running server: what its OpenAPI document says is what it does.

It sends what the document allows and what it does not, and holds every answer to the documented statuses, types and
schemas; what the document forbids must be refused. That all it allows be taken is not asked: a token id may be too
large for the model that is there, and a prompt too long.
"""

import re
import subprocess
import sys
from pathlib import Path

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method", "use_after_free",
)  # fmt: skip
CONFIG = Path(__file__).with_name("schemathesis.toml")
_CASES = re.compile(r"(\d[\d,]*) generated")


def conformance(port, max_examples, seconds):
    """Run schemathesis.

    Args:
        port: of the server.
        max_examples: random ones of each route, besides those that follow from the document.
        seconds: after which it ends.

    Returns:
        Its exit code, how many cases it made, and what it printed.
    """
    command = [
        Path(sys.executable).with_name("schemathesis"), "--config-file", CONFIG,
        "run", f"http://127.0.0.1:{port}/openapi.json", "--no-color",
        "--phases", "examples,coverage,fuzzing", "--checks", ",".join(CHECKS), "--max-examples", max_examples,
        "--generation-deterministic", "--no-shrink", "--continue-on-failure", "--request-timeout", 20,
        "--max-time", seconds, "--warnings", "off", "--output-truncate", "false",
    ]  # fmt: skip
    outcome = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    found = _CASES.findall(outcome.stdout)
    return outcome.returncode, int(found[-1].replace(",", "")) if found else 0, outcome.stdout + outcome.stderr
