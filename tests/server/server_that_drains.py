"""A server in a process of its own, to be stopped: `python -m tests.server.server_that_drains TIMEOUT_S DATA_DIR`.

Its model takes 20 ms a token. The port is printed when it is ready.
"""

import socket
import sys
import threading
import time
from pathlib import Path

from server.api.served import Phase
from server.app import create_app
from server.serving import Server
from server.settings import Settings
from tests.conftest import loaded
from tests.fakes import FakeBackend


class SlowBackend(FakeBackend):
    """Takes its time."""

    def decode(self, slots):
        time.sleep(0.02)
        return super().decode(slots)


if __name__ == "__main__":
    app = create_app(
        Settings(data_dir=Path(sys.argv[2])), load=lambda settings: {"fake": loaded(SlowBackend(max_length=4096))}
    )
    listener = socket.create_server(("127.0.0.1", 0))

    def tell():
        while app.state.phase is Phase.LOADING:
            time.sleep(0.01)
        print(listener.getsockname()[1], flush=True)

    threading.Thread(target=tell).start()
    Server(app, drain_timeout_s=float(sys.argv[1])).run(sockets=[listener])
