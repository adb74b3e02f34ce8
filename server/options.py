"""Options that the commands share, and the settings that options ask for."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from server.settings import Settings

MODEL = "NAME[=PATH][@FRAMEWORK]"
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


def settings_of(**overrides: Any) -> "Settings":
    """Return the settings of this process, with some taken from options.

    Args:
        overrides: values by field of `Settings`; None leaves what the environment or the default says.

    Raises:
        typer.BadParameter: a value is not allowed.
    """
    from server.settings import SettingsError, load_settings

    try:
        return load_settings(**overrides)
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from error
