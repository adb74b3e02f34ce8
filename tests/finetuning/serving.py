"""A server over a fake model, with fake workers or real ones, to be killed.

`python -m tests.finetuning.serving DATA_DIR PORT [fake]`
"""

import sys
from functools import partial
from pathlib import Path

import uvicorn

import server.app
import server.work
from server.finetuning.jobs.worker_process import Workers
from server.settings import Settings
from tests.conftest import loaded
from tests.fakes import FakeBackend

FAKE_WORKER = (sys.executable, "-m", "tests.finetuning.fake_worker")


def create_app(settings, *, fake_workers):
    """Build the application, whose model `fake` has no folder."""
    if fake_workers:
        server.work.Workers = partial(Workers, command=FAKE_WORKER)
    return server.app.create_app(settings, load=lambda settings: {"fake": loaded(FakeBackend())})


if __name__ == "__main__":
    app = create_app(Settings(models=["fake"], data_dir=Path(sys.argv[1])), fake_workers="fake" in sys.argv)
    uvicorn.run(app, port=int(sys.argv[2]), log_config=None)
