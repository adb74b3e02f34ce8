"""A server on a port of this machine, in a thread: for clients that speak HTTP and nothing else."""

import threading
from contextlib import contextmanager

import uvicorn

from server.api.served import Phase
from server.app import create_app
from server.protocol import Protocol
from tests.fakes import wait_until


@contextmanager
def serving(settings, load):
    """Give the address of a server that is ready."""
    app = create_app(settings, load=load)
    config = uvicorn.Config(
        app, http=Protocol, ws="none", port=0, log_config=None, access_log=False, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started and app.state.phase is Phase.READY)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
