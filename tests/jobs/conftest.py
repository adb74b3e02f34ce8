"""Stores in a folder of their own, on SQLite and PostgreSQL, and runners that are stopped when a test ends."""

import pytest

from server.jobs.job import Kind
from server.jobs.runner import JobRunner
from server.jobs.store import JobStore
from tests.jobs.postgres import postgres_server  # noqa: F401  # a fixture


@pytest.fixture
def database_url():
    """Return where the stores of a test keep their rows; modules whose tests hold everywhere have one of their own."""
    return


@pytest.fixture
def open_store(tmp_path, database_url):
    """Open the store of the test's folder; each call is another process, as far as the store can tell."""
    stores = []

    def open_store(folder=tmp_path, **options):
        stores.append(JobStore.open(folder, database_url, **options))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture
def run(store):
    """Start a runner of comparisons with a handler."""
    runners = []

    def run(handler, of=store):
        runner = JobRunner(of, Kind.COMPARISON, handler)
        runner.start()
        runners.append(runner)
        return runner

    yield run
    for runner in runners:
        assert runner.stop(timeout_s=10.0), "a handler did not stop"
