"""ModelRef: what `--model` names, parsed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from server.errors import InvalidRequestError

Framework = Literal["torch", "tensorflow"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FORMS = "NAME, NAME=PATH, NAME@FRAMEWORK or NAME=PATH@FRAMEWORK"


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model as the command line names it.

    Attributes:
        name: what requests call it: letters, digits, `.`, `_` and `-`, at most 64, or two such parts with a `/`.
        path: a model folder or a .gguf file; None: the name is looked up under the models root.
        framework: what shall run it; None: the server's default.
    """

    name: str
    path: Path | None = None
    framework: Framework | None = None


def parse_model_ref(text: str) -> ModelRef:
    """Parse one `--model` value.

    Args:
        text: `NAME`, `NAME=PATH`, `NAME@FRAMEWORK` or `NAME=PATH@FRAMEWORK`. An `@` in the last part of a path always
            begins the framework: write `PATH/` for a folder whose own name has one. `~` is the home folder.

    Raises:
        InvalidRequestError: another form, a name that is not allowed, or an unknown framework.
    """
    name, equals, path = text.partition("=")
    rest, framework = _split_framework(path if equals else name)
    if not equals:
        return ModelRef(valid_name(rest), framework=framework)
    if not rest:
        raise InvalidRequestError(f"model {name!r} has an empty path; write {_FORMS}", param="model")
    return ModelRef(valid_name(name), Path(rest).expanduser(), framework)


def valid_name(name: str) -> str:
    """Return a model's name, or refuse it.

    Args:
        name: one part, or `organisation/name`; a part begins with a letter or a digit, so none is `..` or hidden.

    Raises:
        InvalidRequestError: the name has another form.
    """
    parts = name.split("/")
    if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts):
        raise InvalidRequestError(
            f"model name {name[:80]!r} is not allowed: 1 to 64 letters, digits, '.', '_' and '-', the first a letter "
            f"or a digit, or a hub id of two such parts; to name a folder or a .gguf file write NAME=PATH",
            param="model",
        )
    return name


def _split_framework(text: str) -> tuple[str, Framework | None]:
    rest, at, framework = text.rpartition("@")
    if not at or "/" in framework:
        return text, None
    for known in get_args(Framework):
        if framework == known:
            return rest, known
    raise InvalidRequestError(
        f"framework {framework[:80]!r} is not known; supported: {', '.join(get_args(Framework))}", param="model"
    )
