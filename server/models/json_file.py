"""One JSON object in one file: read with an error that names the file, written so that people can read it."""

import json
from pathlib import Path
from typing import Any

from server.errors import ModelError


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that must hold one JSON object.

    Args:
        path: the file.

    Raises:
        ModelError: the file is missing, unreadable, not UTF-8, not JSON, or holds something other than an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; a model folder needs it") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object, indented, ending in a newline."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
