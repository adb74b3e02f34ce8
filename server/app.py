"""The application: the only place that builds things. Loads models, holds them, and hands them to the routes."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware

from server.api import (
    compare,
    distribution,
    docs_page,
    files,
    finetuning,
    finetuning_results,
    generate,
    health,
    tokens,
    web_page,
)
from server.api import metrics as metrics_page
from server.api.documented import complete
from server.api.failures import UnforeseenFailures, install_failures
from server.api.health import installed_version
from server.api.openai import chat, completions, models
from server.api.served import Phase
from server.engine.engine import Engine
from server.errors import KelvinError, ModelError
from server.keys import ApiKeys
from server.loaded import LoadedModel, keep_out_of_collections
from server.metrics import CountResponses, Metrics
from server.models.chat_template import ChatTemplate
from server.models.load import load_spec
from server.models.progress import Progress
from server.models.reference import ModelRef, parse_model_ref
from server.models.tokenizer import Tokenizer
from server.request_head import HeadLimit, OwnHost, SameOrigin, WholeFiles
from server.security import BodyLimit, RequestId, RequireKey, SecurityHeaders
from server.settings import Settings
from server.telemetry import AccessLog, configure_logging
from server.threads import share_threads
from server.tracing import TraceRequests, open_provider
from server.work import Work, open_work

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger(__name__)

Load = Callable[[Settings], dict[str, LoadedModel]]
OnFailure = Callable[[Exception], None]

FORM_BYTES = 64 * 1024  # what a form has around a file

_DESCRIPTION = (
    "A text-generation sampling server. Bodies are JSON objects in UTF-8; an unknown field is refused, and every error "
    "has the same shape."
)


def load_models(settings: Settings) -> dict[str, LoadedModel]:
    """Load every model of the settings and start its engine, in the order given.

    Args:
        settings: `models` names them, each by another name.

    Raises:
        KelvinError: a model is not there or cannot be loaded; those loaded before it are closed.
    """
    loaded: dict[str, LoadedModel] = {}
    refs = [parse_model_ref(name) for name in settings.models]
    threads = share_threads(settings, [ref.framework or settings.framework for ref in refs])
    try:
        for ref in refs:
            if ref.name in loaded:
                raise ModelError(f"two models are called {ref.name}; give one another name, as in other=PATH")
            log.info("loading %s", ref.name)
            share = threads[ref.framework or settings.framework]
            loaded[ref.name] = load_engine(settings.model_copy(update={"threads": share}), ref)
    except Exception:
        _close(loaded, None)
        raise
    keep_out_of_collections()
    return loaded


def load_engine(settings: Settings, ref: ModelRef, progress: Progress | None = None) -> LoadedModel:
    """Load a model and start its engine.

    Args:
        settings: framework, type, device, slots and the like; a sequence is no longer than the model's context.
        ref: the model; its own framework wins.
        progress: told how far downloads, conversions and reading are; None: nobody is told.

    Raises:
        KelvinError: the model is not there or cannot be loaded.
    """
    from server.backends import load_backend  # brings a framework
    from server.models.registry import Registry  # these two bring what reads files, which takes a second
    from server.models.weights import read_weights

    folder = Registry(settings.models_dir).locate(ref, progress)
    tokenizer, chat, spec = Tokenizer.from_folder(folder), ChatTemplate.from_folder(folder), load_spec(folder)
    backend = load_backend(
        ref.framework or settings.framework,
        spec,
        read_weights(folder, spec, progress),
        dtype=settings.dtype,
        device=settings.device,
        num_slots=settings.slots,
        max_length=min(settings.max_length, spec.context_length),
        compile=settings.compile,
        threads=settings.threads,
        cache_dir=settings.cache_dir,
        quantization=settings.quantization,
    )
    engine = Engine(
        backend,
        queue_limit=settings.queue_limit,
        queue_tokens=settings.queue_tokens,
        prefix_cache=settings.prefix_cache,
    )
    engine.start()
    return LoadedModel(ref.name, tokenizer, engine, backend.framework, backend.device, backend.dtype, chat)


def create_app(
    settings: Settings,
    load: Load = load_models,
    on_failure: OnFailure | None = None,
    tracing: "TracerProvider | None" = None,
) -> FastAPI:
    """Build the application; models are loaded when it starts, while it already answers /health.

    Args:
        settings: everything that can be set.
        load: loads the models, on a thread of its own.
        on_failure: called on the event loop if that fails; the routes answer 503 from then on.
        tracing: makes a span of every request; None: as the settings say.

    Raises:
        InvalidRequestError: the keys cannot be read.
        ModelError: traces are asked for, and OpenTelemetry is not installed.
    """
    version = installed_version("kelvin-server") or "from source"
    if tracing is None and settings.otlp_endpoint is not None:
        tracing = open_provider(settings.otlp_endpoint, version)
    keys = None if settings.api_keys_file is None else ApiKeys.from_file(settings.api_keys_file)
    metrics = Metrics(lambda: app.state)
    app = FastAPI(
        title="Kelvin",
        version=version,
        description=_DESCRIPTION,
        lifespan=_lifespan(load, on_failure, tracing),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=_middleware(settings, keys, metrics, tracing),
    )
    app.state.settings, app.state.metrics = settings, metrics
    app.state.models = {}
    app.state.work = app.state.jobs = app.state.files = app.state.finetuning = None
    app.state.phase = Phase.LOADING
    install_failures(app)
    routes = _include_routes(app)
    describe = app.openapi
    app.openapi = lambda: complete(describe(), routes)  # type: ignore[method-assign]
    return app


def _include_routes(app: FastAPI) -> list[APIRoute]:
    """Give an application all its routes, and return those that are documented."""
    rooms = (
        generate, completions, chat, models, compare, files, finetuning, finetuning_results, distribution, tokens,
        health, metrics_page, docs_page, web_page,
    )  # fmt: skip
    routers = [room.router for room in rooms]
    for router in routers:
        app.include_router(router)
    app.mount("/web", web_page.static_files)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return [route for route in routes if route.include_in_schema]


def _middleware(
    settings: Settings, keys: ApiKeys | None, metrics: Metrics, tracing: "TracerProvider | None"
) -> list[Middleware]:
    """List what every request passes, the outermost first."""
    return [
        Middleware(RequestId),
        *([] if tracing is None else [Middleware(TraceRequests, provider=tracing)]),
        Middleware(AccessLog),
        Middleware(CountResponses, metrics=metrics),
        Middleware(SecurityHeaders),
        Middleware(HeadLimit),
        *([Middleware(OwnHost)] if keys is None and not settings.insecure else []),
        Middleware(SameOrigin),
        Middleware(WholeFiles),
        *([] if keys is None else [Middleware(RequireKey, keys=keys)]),
        Middleware(UnforeseenFailures),
        Middleware(
            BodyLimit,
            max_bytes=settings.max_body_bytes,
            by_path={"/v1/files": settings.max_file_bytes + FORM_BYTES},
        ),
    ]


def _lifespan(
    load: Load, on_failure: OnFailure | None, tracing: "TracerProvider | None"
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure_logging(app.state.settings.log_level)
        loop = asyncio.get_running_loop()
        # A daemon, so that nobody who interrupts the server has to wait for a model that nobody wants any more.
        threading.Thread(target=_load, args=(app, load, on_failure, loop), name="load", daemon=True).start()
        yield
        app.state.phase = Phase.DRAINING
        await asyncio.to_thread(_close, app.state.models, app.state.work)
        if tracing is not None:
            await asyncio.to_thread(tracing.shutdown)  # which sends what is left

    return lifespan


def _load(app: FastAPI, load: Load, on_failure: OnFailure | None, loop: asyncio.AbstractEventLoop) -> None:
    models: dict[str, LoadedModel] = {}
    work: Work | None = None
    try:
        models = load(app.state.settings)
        work = open_work(app.state.settings, models)
    except Exception as error:
        report = partial(_fail, app, error, on_failure)
    else:
        report = partial(_serve, app, models, work)
    try:
        loop.call_soon_threadsafe(report)
    except RuntimeError:  # the loop has closed: the server was stopped meanwhile
        _close(models, work)


def _serve(app: FastAPI, models: dict[str, LoadedModel], work: Work) -> None:
    if app.state.phase is Phase.DRAINING:
        _close(models, work)
        return
    app.state.work, app.state.models, app.state.phase = work, models, Phase.READY
    app.state.jobs, app.state.files, app.state.finetuning = work.jobs, work.files, work.finetuning
    log.info("ready: %s", ", ".join(models))


def _close(models: dict[str, LoadedModel], work: Work | None) -> None:
    if work is not None:
        work.close()
    for model in models.values():
        model.close()


def _fail(app: FastAPI, error: Exception, on_failure: OnFailure | None) -> None:
    if isinstance(error, KelvinError):
        log.error("a model could not be loaded: %s", error.message)
    else:
        log.error("a model could not be loaded", exc_info=error)
    app.state.phase = Phase.FAILED
    if on_failure is not None:
        on_failure(error)
