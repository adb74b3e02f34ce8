"""A server whose engine dies when there is a file `die`: `python -m tests.faults.server_that_breaks PORT DATA_DIR`.

It is started as `kelvin serve` starts one, and ends as that does.
"""

import sys
import time
from functools import partial
from pathlib import Path

import server.app
from server import cli
from server.serving import bind
from server.settings import Settings
from tests.conftest import loaded
from tests.fakes import FakeBackend


class MortalBackend(FakeBackend):
    """Takes 5 ms a token, and takes its thread along when a file says so."""

    def __init__(self, doom):
        super().__init__(max_length=4096)
        self._doom = doom

    def decode(self, slots):
        time.sleep(0.005)
        if self._doom.exists():
            raise SystemExit("no handler of exceptions catches this")
        return super().decode(slots)


if __name__ == "__main__":
    port, data_dir = int(sys.argv[1]), Path(sys.argv[2])
    server.app.create_app = partial(
        server.app.create_app, load=lambda settings: {"fake": loaded(MortalBackend(data_dir / "die"))}
    )
    cli._run(Settings(models=["fake"], data_dir=data_dir, port=port, drain_timeout_s=3.0), bind("127.0.0.1", port))
