"""Serving: an application on a socket until somebody ends it, which finishes what it has begun."""

import asyncio
import logging
import os
import socket
import sys
import time
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from server.api.served import Phase
from server.connections import Connections
from server.errors import UnavailableError
from server.protocol import Protocol

log = logging.getLogger(__name__)

TICKS_A_SWEEP = 10  # a second
FLUSH_S = 3  # for answers that say that time is up, and for connections to close


class Server(uvicorn.Server):
    """A server that, told to stop, first says so to whoever asks, then finishes its requests, then ends.

    While it drains it still listens: /health/ready and every new request are answered 503, so that a proxy looks
    elsewhere and nobody meets a closed port. A second signal ends it at once. An engine that dies ends it likewise, but
    /health/live is 503 then, and `broken` is set.

    Attributes:
        broken: an engine has died, so that whoever started the server should start it again.
    """

    def __init__(self, app: FastAPI, *, drain_timeout_s: float) -> None:
        """Prepare to serve.

        Args:
            app: the application.
            drain_timeout_s: seconds that running requests have to finish.
        """
        # The app writes its own line for a request, and configures logging.
        config = uvicorn.Config(
            app, http=Protocol, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=FLUSH_S
        )
        super().__init__(config)
        self._app = app
        self._drain_timeout_s = drain_timeout_s
        self._deadline_s: float | None = None
        self._connections = Connections(send_timeout_s=app.state.settings.send_timeout_s)
        self.broken = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; uvicorn would close the port at once, and end by the signal instead of with success."""
        if self._deadline_s is not None:
            self.should_exit = self.force_exit = True
            return
        self._deadline_s = time.monotonic() + self._drain_timeout_s
        self._app.state.phase = Phase.DRAINING

    async def on_tick(self, counter: int) -> bool:
        """Say, ten times a second, whether the end has come."""
        if self._app.state.phase is Phase.READY:
            self._end_if_broken()
        if not counter % TICKS_A_SWEEP:
            self._connections.sweep(list(self.server_state.connections))
        if self._deadline_s is not None and not self.should_exit:
            num_running = len(self.server_state.tasks)
            if num_running and time.monotonic() >= self._deadline_s:
                log.warning("%d requests have not finished within %g s", num_running, self._drain_timeout_s)
                engines = [model.engine for model in self._app.state.models.values()]
                await asyncio.gather(*(asyncio.to_thread(engine.stop) for engine in engines))  # which tells clients
                self.should_exit = True
            elif not num_running:
                self.should_exit = True
        return await super().on_tick(counter)

    def _end_if_broken(self) -> None:
        dead = [name for name, model in self._app.state.models.items() if not model.engine.alive]
        if dead:
            log.critical("the engine of %s has died; the server ends, to be started again", ", ".join(dead))
            self._app.state.phase = Phase.BROKEN
            self._deadline_s = time.monotonic() + self._drain_timeout_s
            self.broken = True


def bind(host: str, port: int) -> socket.socket:
    """Take a port before the models are loaded, so that one already taken is known at once.

    Args:
        host: an address, or a name of one.
        port: of TCP.

    Raises:
        UnavailableError: it is taken, or this machine has no such address.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UnavailableError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose others with --host and --port"
        ) from error
    return listener


def leave(exit_code: int) -> NoReturn:
    """End the process without the interpreter's own end, in which a compiler still at work in a thread would abort."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
