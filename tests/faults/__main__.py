"""Every fault there is a test of, at every place: `python -m tests.faults` counts those injected and those survived.

A fault is survived if whoever it concerned was told so or not at all, nothing half-done was left, and work went on
afterwards; one that is not ends the program.
"""

import logging
import tempfile
from pathlib import Path

from tests.engine.driving import running
from tests.fakes import FakeBackend
from tests.faults.failing_disk import build, compiler
from tests.faults.stores import STORIES
from tests.faults.test_disk import ENDINGS, sweep
from tests.faults.test_forward import METHODS, REQUESTS, answers
from tests.faults.test_forward import sweep as sweep_calls


def backend():
    """Return a backend that computes nothing and checks everything."""
    return FakeBackend(num_slots=4, prefill_chunk=8)


def fail_calls(error):
    """Have each call of a backend fail once, and return how many there were."""
    with running(backend()) as engine:
        expected = answers(engine)
    failed = sweep_calls(backend, REQUESTS, lambda made: made, METHODS, error, expected)
    assert max(failed) == 1
    return len(failed)


def fail_disk(name, library, folder):
    """Have each write and sync of a story fail in each manner, and return how many there were."""
    faults = sweep(name, folder, library, 1)
    for _, manner, _, ending, acknowledged, found in faults:
        assert ending in ENDINGS[manner]
        assert acknowledged <= found <= acknowledged + 1
    return len(faults)


def main():
    """Inject everything and count."""
    logging.disable()
    total = 0
    for error in (RuntimeError("a kernel failed"), MemoryError(), ValueError("a request cannot be processed")):
        total += (count := fail_calls(error))
        print(f"{count:4} calls of the backend failed with {type(error).__name__}, all survived", flush=True)
    if compiler() is None:
        print("no compiler of C: no fault of the disk was injected")
    else:
        with tempfile.TemporaryDirectory() as folder:
            library = build(Path(folder))
            for name in STORIES:
                total += (count := fail_disk(name, library, Path(folder) / name))
                print(f"{count:4} writes and syncs of {name} failed or killed, all survived", flush=True)
    print(f"{total:4} faults injected, {total} survived")


if __name__ == "__main__":
    main()
