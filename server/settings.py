"""Settings: everything that can be set from outside, read once from the environment; nothing else reads it."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ENV_PREFIX = "KELVIN_"
MEBIBYTE = 2**20


class SettingsError(ValueError):
    """The settings do not hold; the message names each setting, its value and what is allowed."""


def _split_names(value: object) -> object:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


def _xdg_home(variable: str, default: str) -> Path:
    """Return a base directory of the XDG specification, which says that a relative path counts as unset."""
    home = Path(os.environ.get(variable, ""))
    return home if home.is_absolute() else Path.home() / default


def _default_data_dir() -> Path:
    return _xdg_home("XDG_DATA_HOME", ".local/share") / "kelvin"


def _default_models_dir() -> Path:
    return _default_data_dir() / "models"


def _default_cache_dir() -> Path:
    return _xdg_home("XDG_CACHE_HOME", ".cache") / "kelvin"


ModelNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_names), Field(min_length=1)]
File = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
Directory = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class Settings(BaseSettings):
    """What a server is started with; frozen, and documented field by field in `docs/settings.md`.

    Every field can be set by its own name in capitals after `KELVIN_`, or by keyword; a keyword wins. An empty
    variable counts as unset.

    Raises:
        ValidationError: a value is out of range, or a `KELVIN_` variable or a keyword has a name that is not known.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", allow_inf_nan=False
    )

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 is every IPv4 interface.")
    port: int = Field(8000, ge=1, le=65535, description="TCP port to listen on.")
    api_keys_file: File | None = Field(
        None, description="File of the keys that open the server, one a line; without one there are no keys."
    )
    insecure: bool = Field(False, description="Listen on an address that others can reach, without keys.")
    models: ModelNames = Field(
        ("smollm2",),
        description="Models to serve, each NAME[=PATH][@framework]; commas between them.",
    )
    framework: Literal["torch", "tensorflow"] = Field(
        "torch", description="Framework of the models that name none themselves."
    )
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="Type of weights and cache; auto is bfloat16 where the device multiplies it fast."
    )
    quantization: Literal["none", "int8"] = Field(
        "none", description="Of weight matrices, in torch on CPU: int8 reads half the bytes of bfloat16."
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto, cpu, cuda or cuda:N; auto is a GPU if one is there.",
    )
    slots: int = Field(32, ge=1, le=1024, description="Sequences decoded at once, per model.")
    max_length: int = Field(
        2048, ge=2, description="Positions of a slot: prompt and generated tokens together, per sequence."
    )
    queue_limit: int = Field(256, ge=1, description="Samples that may wait for a slot before requests get a 429.")
    queue_tokens: int = Field(
        2**19, ge=2, description="Tokens that they may take together, prompts included; beyond it, likewise."
    )
    queue_timeout_s: float = Field(
        120.0, gt=0.0, description="How long a request may wait for its first slot before it gets a 429, in seconds."
    )
    prefix_cache: bool = Field(
        False, description="Let a prompt begin with what slots still hold of earlier prompts under the same key."
    )
    compile: bool = Field(
        True,
        description="Compile the decode step in the background; off, it stays eager. torch on CPU has none to compile.",
    )
    threads: int = Field(0, ge=0, description="CPU threads of the framework, or of two together; 0: its own choice.")
    models_dir: Directory = Field(
        default_factory=_default_models_dir, description="Folder of the models, one sub-folder each."
    )
    data_dir: Directory = Field(default_factory=_default_data_dir, description="Folder for state that must be kept.")
    cache_dir: Directory = Field(
        default_factory=_default_cache_dir, description="Folder for what can be made again, such as compiled code."
    )
    otlp_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="Collector of OpenTelemetry that gets a span of every request."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line to write."
    )
    max_comparison_tokens: int = Field(
        2_000_000, ge=1, description="Tokens that one comparison may draw: arms x prompts x samples x max_tokens."
    )
    max_body_bytes: int = Field(2 * MEBIBYTE, ge=1024, description="Largest request body; a larger one gets a 413.")
    max_file_bytes: int = Field(128 * MEBIBYTE, ge=1024, description="Largest uploaded file; a larger one gets a 413.")
    database_url: SecretStr | None = Field(
        None, description="Database of the jobs, sqlite:… or postgresql:…; without one, a file in the data folder."
    )
    finetune_jobs: int = Field(1, ge=1, le=64, description="Fine-tunes that run at once.")
    worker_threads: int = Field(
        0, ge=0, description="CPU threads of a fine-tune; 0: half of the cores, shared by those that run at once."
    )
    wandb_api_key_file: File | None = Field(
        None, description="File of the key for Weights & Biases; without one, what its own library finds."
    )
    loaded_classifiers: int = Field(4, ge=1, description="Classifiers that stay in memory, the last used ones.")
    drain_timeout_s: float = Field(
        20.0, ge=0.0, description="How long running requests may take to finish when the server is to stop, in seconds."
    )
    send_timeout_s: float = Field(
        30.0, gt=0.0, description="How long a client may take nothing of its answer before it is cut off, in seconds."
    )
    max_timeout_s: float = Field(600.0, gt=0.0, description="Longest timeout_s that a request may ask for, in seconds.")

    @model_validator(mode="after")
    def _refuse_unknown_variables(self) -> Self:
        given = {variable.upper() for variable in os.environ if variable.upper().startswith(ENV_PREFIX)}
        fields = type(self).model_fields
        unknown = min(given - {ENV_PREFIX + name.upper() for name in fields}, default=None)
        if unknown is not None:
            raise ValueError(f"{unknown} is no setting; {_remedy(unknown.removeprefix(ENV_PREFIX), fields)}")
        return self


def _remedy(unknown: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(unknown.lower(), known, n=1)
    return f"did you mean {ENV_PREFIX}{near[0].upper()}?" if near else "unset it; docs/settings.md lists the settings"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment, with overrides from the command line.

    Args:
        overrides: settings by name; None stands for "not given" and leaves the environment or the default in force.

    Raises:
        SettingsError: a value is out of range, or a `KELVIN_` variable has a name that is not known.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(_describe(detail) for detail in error.errors(include_url=False))) from error


def revealed(secret: SecretStr | None) -> str | None:
    """Return what a secret setting holds, for the one place that needs it; None: it is not set."""
    return None if secret is None else secret.get_secret_value()


def _describe(detail: Any) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not detail["loc"]:
        return message
    name = str(detail["loc"][0])
    return f"{name} ({ENV_PREFIX}{name.upper()}) is {detail['input']!r}: {message[0].lower()}{message[1:]}"
