"""The command line: kelvin serve | generate | compare | finetune | models | version.

A command imports what it needs when it runs, so that help is instant and a framework loads only where it is used.
"""

import asyncio
import contextlib
import json
import platform
import socket
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from samplers.params import MAX_TOP_LOGPROBS, SamplingParams
from server import terminal
from server.comparison.command import compare
from server.errors import InvalidRequestError, KelvinError
from server.finetuning.cli.command import app as finetune_app
from server.keys import require_closed
from server.models.command import app as models_app
from server.options import MODEL, JsonOption, settings_of

if TYPE_CHECKING:
    from server.settings import Settings

DISTRIBUTIONS = ("kelvin-server", "torch", "tensorflow", "tensorflow-cpu")
IDENTITY = SamplingParams()

Framework = Literal["torch", "tensorflow"]
FrameworkOption = Annotated[Framework | None, typer.Option(help="Framework to run in.", show_default="torch")]

app = typer.Typer(
    help="Sample text from a causal language model, at any temperature, with seeds that mean something.",
    epilog="Every default can be set as a KELVIN_ variable: docs/settings.md.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(compare)
app.add_typer(models_app, name="models")
app.add_typer(finetune_app, name="finetune")


def main() -> None:
    """Run the command line and exit: 0 when all went well, 1 after a failure, 2 for a wrong option or value."""
    try:
        exit_code = app(args=sys.argv[1:] or ["--help"], prog_name="kelvin", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "kelvin"
        exit_code = _complain(f"{error.format_message()} See {command} --help.", exit_code=error.exit_code)
    except KelvinError as error:
        exit_code = _fail(error)
    sys.exit(exit_code)


def _fail(error: KelvinError) -> int:
    return _complain(error.message, exit_code=2 if isinstance(error, InvalidRequestError) else 1)


def _complain(message: str, *, exit_code: int) -> int:
    print(f"kelvin: {message}", file=sys.stderr)
    return exit_code


@app.command()
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(metavar=MODEL, help="Model to serve; give it again for another.", show_default="smollm2"),
    ] = None,
    framework: FrameworkOption = None,
    dtype: Annotated[
        Literal["auto", "bfloat16", "float32"] | None,
        typer.Option(help="Type of weights and cache.", show_default="auto"),
    ] = None,
    quantization: Annotated[
        Literal["none", "int8"] | None,
        typer.Option(help="Of weight matrices, in torch on CPU.", show_default="none"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", show_default="8000")] = None,
    api_keys_file: Annotated[
        str | None, typer.Option(metavar="PATH", help="Ask for one of the keys in this file.", show_default="none")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Let others reach it without a key.", show_default="False")
    ] = None,
    slots: Annotated[int | None, typer.Option(help="Sequences decoded at once.", show_default="32")] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Positions of a sequence, prompt included.", show_default="2048")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="auto")] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; 0: as the framework does.", show_default="0")
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Compile the decode step.", show_default="compile"),
    ] = None,
    queue_limit: Annotated[
        int | None, typer.Option(help="Samples that may wait before requests get a 429.", show_default="256")
    ] = None,
    prefix_cache: Annotated[
        bool | None,
        typer.Option("--prefix-cache/--no-prefix-cache", help="Share beginnings of prompts.", show_default="False"),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option(help="Least severe log line to write.", show_default="info"),
    ] = None,
) -> None:
    """Serve models over HTTP until SIGTERM or Ctrl-C."""
    from server.serving import bind

    settings = settings_of(
        models=model or None, framework=framework, dtype=dtype, quantization=quantization, host=host, port=port,
        api_keys_file=api_keys_file, insecure=insecure, slots=slots, max_length=max_length, device=device,
        threads=threads, compile=compile, queue_limit=queue_limit, prefix_cache=prefix_cache,
        log_level=log_level,
    )  # fmt: skip
    require_closed(settings)
    listener = bind(settings.host, settings.port)
    _fetch_models(settings)
    _run(settings, listener)


def _fetch_models(settings: "Settings") -> None:
    from server.models.registry import Registry, parse_model_ref

    registry = Registry(settings.models_dir)
    references = [parse_model_ref(text) for text in settings.models]
    with terminal.progress_bars() as progress:
        for reference in references:
            registry.locate(reference, progress)


def _run(settings: "Settings", listener: socket.socket) -> None:
    from server.app import create_app
    from server.serving import Server, leave

    failures: list[Exception] = []

    def give_up(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    server = Server(create_app(settings, on_failure=give_up), drain_timeout_s=settings.drain_timeout_s)
    terminal.announce(settings.host, settings.port, settings.models, with_keys=settings.api_keys_file is not None)
    server.run(sockets=[listener])
    if not failures:
        leave(int(server.broken))
    if isinstance(failures[0], KelvinError):
        leave(_fail(failures[0]))
    raise failures[0]


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="Text to continue; - reads it from standard input.")],
    temperature: Annotated[float, typer.Option("--temperature", "-t", help="0 is greedy.")] = IDENTITY.temperature,
    n: Annotated[int, typer.Option("-n", help="Samples to draw.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Names the noise.", show_default="drawn, and printed")] = None,
    max_tokens: Annotated[int, typer.Option(help="Tokens of a sample at most.")] = IDENTITY.max_tokens,
    top_k: Annotated[int, typer.Option(help="Keep the k most probable tokens; 0: all.")] = IDENTITY.top_k,
    top_p: Annotated[float, typer.Option(help="Keep the tokens that make up this mass.")] = IDENTITY.top_p,
    min_p: Annotated[float, typer.Option(help="Keep tokens this probable against the best.")] = IDENTITY.min_p,
    stop: Annotated[list[str] | None, typer.Option(help="End a sample before this text; may be repeated.")] = None,
    logprobs: Annotated[
        int | None, typer.Option(help=f"Report each token and this many others, 0 to {MAX_TOP_LOGPROBS}.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar=MODEL, help="Model to use.", show_default="smollm2")] = None,
    framework: FrameworkOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sample continuations of a prompt right here; no server is needed."""
    from server import local, showing

    # Compiling would take longer than one answer does.
    settings = settings_of(models=[model] if model else None, framework=framework, compile=False)
    request = local.read_request(
        prompt=sys.stdin.read() if prompt == "-" else prompt, n=n, stop=stop, seed=seed, temperature=temperature,
        top_k=top_k, top_p=top_p, min_p=min_p, max_tokens=max_tokens, logprobs=logprobs,
    )  # fmt: skip
    sampling = local.settle_sampling(request, settings)
    with terminal.progress_bars() as progress:
        loaded = local.load_model(settings.model_copy(update={"slots": min(n, settings.slots)}), progress)
    with contextlib.closing(loaded), showing.growing_samples(0 if as_json else n) as write:
        generation, samples = asyncio.run(local.draw_samples(loaded, request, sampling, write))
    if as_json:
        print(json.dumps(local.describe_answer(generation, sampling, samples)))
    else:
        showing.show_logprobs(samples, loaded.tokenizer)
        showing.show_endings(samples, sampling.params.seed)


@app.command()
def version() -> None:
    """Print the versions of Kelvin, Python and the frameworks."""
    print("python", platform.python_version())
    for distribution in DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            print(distribution, metadata.version(distribution))
