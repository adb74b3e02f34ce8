"""The runner: whatever a handler does, its job ends as it should and the next one runs."""

import asyncio
import errno
import threading
import time
from concurrent.futures import Future

import pytest

from server.errors import InvalidRequestError
from server.jobs import context, runner, watching
from server.jobs.interruptions import Interrupted, Superseded
from server.jobs.job import Kind
from server.jobs.service import JobService
from server.jobs.status import Status
from server.jobs.watching import wait_for_end
from tests.fakes import wait_until


def ended(store, job_id, timeout_s=10.0):
    job = asyncio.run(wait_for_end(store, job_id, timeout_s))
    assert job.ended, job
    return job


def told(store, job_id):
    return [event.message for event in store.events(job_id)]


class Gate:
    """A handler that works until it is told to finish, and asks all the time whether to go on."""

    def __init__(self):
        self.entered, self.leave = threading.Event(), threading.Event()
        self.runs = 0

    def __call__(self, job, context):
        self.runs += 1
        self.entered.set()
        while not self.leave.wait(0.005):
            context.raise_if_cancelled()
        return {"runs": self.runs}


def test_a_job_runs_and_its_result_is_kept(store, run):
    def handler(job, context):
        context.event("metrics", "half", data={"loss": 0.5})
        context.report(0.5, eta_s=12.0)
        assert (store.get(job.id).progress, store.get(job.id).eta_s) == (0.5, 12.0)
        return {"sum": sum(job.request["numbers"])}

    run(handler)
    job = ended(store, store.submit(Kind.COMPARISON, {"numbers": [1, 2, 3]}).id)
    assert (job.status, job.progress, job.eta_s, job.error) == (Status.SUCCEEDED, 1.0, None, None)
    assert job.created_at <= job.started_at <= job.finished_at
    assert store.result(job.id) == {"sum": 6}
    assert told(store, job.id) == ["the job is queued", "the job is running", "half", "the job is succeeded"]
    assert store.events(job.id)[2].data == {"loss": 0.5}


@pytest.fixture
def nobody_polls(monkeypatch):
    """Let the waits of a test end by being told alone."""
    for module in (runner, context, watching):
        monkeypatch.setattr(module, "POLL_S", 600.0)


def test_a_submitted_job_is_begun_at_once(store, run, nobody_polls):
    run(lambda job, context: {})
    time.sleep(0.1)  # the runner is asleep by now
    ended(store, store.submit(Kind.COMPARISON, {}).id)


def raising(error):
    def handler(job, context):
        raise error

    return handler


def returning(result):
    return lambda job, context: result


@pytest.mark.parametrize(
    ("handler", "code", "message", "param"),
    [
        (raising(InvalidRequestError("no arm is left", param="arms")), "invalid_request", "no arm is left", "arms"),
        (raising(OSError(errno.ENOSPC, "No space left on device")), "disk_full", "the disk is full", None),
        (raising(ZeroDivisionError("secret")), "internal_error", "the server failed on this job", None),
        (raising(SystemExit(1)), "internal_error", "the server failed on this job", None),
        (returning({"nan": float("nan")}), "internal_error", "the server failed on this job", None),
        (returning({"set": {1}}), "internal_error", "the server failed on this job", None),
        (lambda job, context: context.report(1.5), "internal_error", "the server failed on this job", None),
        (lambda job, context: context.report(0.5, eta_s=-1.0), "internal_error", "the server failed on this job", None),
    ],
)
def test_a_failure_ends_its_own_job_and_no_other(store, run, handler, code, message, param):
    run(lambda job, context: handler(job, context) if job.request["bad"] else {"fine": True})
    bad, good = (store.submit(Kind.COMPARISON, {"bad": bad}) for bad in (True, False))
    job = ended(store, bad.id)
    assert job.status is Status.FAILED
    assert (job.error["code"], job.error["param"]) == (code, param)
    assert job.error["message"].startswith(message)
    assert "secret" not in job.error["message"]
    assert store.result(bad.id) is None
    last = store.events(bad.id)[-1]
    assert (last.level, last.message) == ("error", job.error["message"])
    assert ended(store, good.id).status is Status.SUCCEEDED


def test_a_running_job_is_cancelled_at_its_next_check(store, run):
    gate = Gate()
    run(gate)
    job = store.submit(Kind.COMPARISON, {})
    assert gate.entered.wait(10)
    store.cancel(job.id)
    assert ended(store, job.id).status is Status.CANCELLED
    assert store.cancel(job.id).status is Status.CANCELLED


def test_a_queued_job_is_cancelled_at_once_and_never_runs(store, run):
    gate = Gate()
    run(gate)
    first, second = (store.submit(Kind.COMPARISON, {}) for _ in range(2))
    assert gate.entered.wait(10)
    assert store.cancel(second.id).status is Status.CANCELLED
    gate.leave.set()
    assert ended(store, first.id).status is Status.SUCCEEDED
    assert (gate.runs, store.get(second.id).started_at) == (1, None)


def test_a_paused_job_goes_on_from_its_finished_parts(store, run):
    made, third = [], threading.Event()

    def handler(job, context):
        for number in range(6):
            context.raise_if_cancelled()
            if context.part(f"prompt-{number}") is None:
                made.append(number)
                context.save_part(f"prompt-{number}", {"square": number**2})
            if number == 3:
                third.set()
                while not job.run > 1:
                    context.raise_if_cancelled()
        return {"squares": [context.part(key)["square"] for key in store.part_keys(job.id)]}

    run(handler)
    job = store.submit(Kind.COMPARISON, {})
    assert third.wait(10)
    store.pause(job.id)
    wait_until(lambda: store.get(job.id).status is Status.PAUSED)
    assert made == [0, 1, 2, 3]
    store.resume(job.id)
    assert ended(store, job.id).attempts == 1
    assert made == [0, 1, 2, 3, 4, 5]
    assert store.result(job.id) == {"squares": [0, 1, 4, 9, 16, 25]}


def test_a_job_that_is_resumed_while_its_handler_still_stops_goes_on(store, run):
    stopping, resumed = threading.Event(), threading.Event()

    def handler(job, context):
        try:
            while job.run == 1:
                context.raise_if_cancelled()
        except Interrupted:
            stopping.set()
            assert resumed.wait(10)
            raise
        return {}

    run(handler)
    job = store.submit(Kind.COMPARISON, {})
    wait_until(lambda: store.get(job.id).status is Status.RUNNING)
    store.pause(job.id)
    assert stopping.wait(10)
    store.resume(job.id)
    resumed.set()
    assert (ended(store, job.id).status, store.get(job.id).run) == (Status.SUCCEEDED, 2)


def test_another_job_runs_while_one_is_paused(store, run):
    gate = Gate()
    run(gate)
    paused = store.submit(Kind.COMPARISON, {})
    assert gate.entered.wait(10)
    other = store.submit(Kind.COMPARISON, {})
    store.pause(paused.id)
    wait_until(lambda: store.get(other.id).status is Status.RUNNING)
    assert store.get(paused.id).status is Status.PAUSED
    gate.leave.set()
    ended(store, other.id)


def test_a_stopping_runner_puts_its_job_back(store, run):
    gate = Gate()
    runner = run(gate)
    job = store.submit(Kind.COMPARISON, {})
    assert gate.entered.wait(10)
    assert runner.stop(timeout_s=10.0)
    assert (store.get(job.id).status, store.get(job.id).attempts) == (Status.QUEUED, 1)
    gate.leave.set()
    run(gate)
    assert (ended(store, job.id).status, gate.runs) == (Status.SUCCEEDED, 2)


def test_what_fails_while_the_server_stops_is_run_again(store, run):
    entered, leave = threading.Event(), threading.Event()

    def handler(job, context):
        entered.set()
        leave.wait(10)
        raise RuntimeError("the engine has stopped")

    runner = run(handler)
    job = store.submit(Kind.COMPARISON, {})
    assert entered.wait(10)
    assert not runner.stop(timeout_s=0.0)
    leave.set()
    assert runner.stop(timeout_s=10.0)
    assert store.get(job.id).status is Status.QUEUED


def test_a_handler_that_catches_every_exception_is_interrupted_all_the_same(store, run):
    entered = threading.Event()

    def handler(job, context):
        while True:
            entered.set()
            try:
                context.raise_if_cancelled()
            except Exception:
                continue

    run(handler)
    job = store.submit(Kind.COMPARISON, {})
    assert entered.wait(10)
    store.cancel(job.id)
    assert ended(store, job.id).status is Status.CANCELLED


@pytest.mark.parametrize("order", ["cancel", "pause", "stop"])
def test_waiting_for_a_coroutine_ends_with_the_job(store, run, order, nobody_polls):
    future, begun = Future(), threading.Event()

    def handler(job, context):
        begun.set()
        context.result_of(future)

    running = run(handler)
    job = store.submit(Kind.COMPARISON, {})
    assert begun.wait(10)
    time.sleep(0.05)  # it waits by now
    if order == "stop":
        running.stop(timeout_s=30.0)
    else:
        getattr(store, order)(job.id)
    wait_until(lambda: store.get(job.id).status is not Status.RUNNING)
    assert future.cancelled()


def test_the_result_of_a_coroutine_or_its_error_comes_back(store, run):
    async def answer(value):
        await asyncio.sleep(0.01)
        return 10 / value

    async def main():
        loop = asyncio.get_running_loop()

        def handler(job, context):
            return {"answer": context.result_of(asyncio.run_coroutine_threadsafe(answer(job.request["value"]), loop))}

        run(handler)
        jobs = [store.submit(Kind.COMPARISON, {"value": value}) for value in (5, 0)]
        return [await wait_for_end(store, job.id, 10.0) for job in jobs]

    right, wrong = asyncio.run(main())
    assert store.result(right.id) == {"answer": 2.0}
    assert wrong.status is Status.FAILED


def test_a_run_that_was_superseded_writes_nothing(store):
    job = store.submit(Kind.COMPARISON, {})
    old = store.claim(Kind.COMPARISON)
    old.leave(Status.QUEUED)
    new = store.claim(Kind.COMPARISON)
    for write in (
        lambda: old.report(0.9, None),
        lambda: old.save_part("key", {}),
        lambda: old.record("message", "late", "info", None),
        lambda: old.succeed({"by": "old"}),
        lambda: old.fail(InvalidRequestError("old")),
        old.now,
    ):
        with pytest.raises(Superseded):
            write()
    new.succeed({"by": "new"})
    assert store.result(job.id) == {"by": "new"}
    assert (store.part_keys(job.id), store.events(job.id)[-1].message) == ([], "the job is succeeded")
    store.delete(job.id)
    with pytest.raises(Superseded):
        old.now()


def test_reports_that_follow_at_once_are_not_all_written(store, run):
    written = []

    def handler(job, context):
        for step in range(1000):
            context.report(step / 1000)
        written.append(store.get(job.id).progress)
        return {}

    run(handler)
    ended(store, store.submit(Kind.COMPARISON, {}).id)
    assert 0.0 <= written[0] < 1.0


def test_waiting_gives_the_job_as_it_is_when_the_time_is_up(store):
    job = store.submit(Kind.COMPARISON, {})
    assert asyncio.run(wait_for_end(store, job.id, 0.1)) == job


def test_many_wait_for_one_job_and_the_loop_goes_on(store, run):
    gate = Gate()
    run(gate)

    async def main():
        job = store.submit(Kind.COMPARISON, {})
        waiting = [asyncio.ensure_future(wait_for_end(store, job.id, 10.0)) for _ in range(20)]
        await asyncio.to_thread(gate.entered.wait, 10)
        waiting[0].cancel()  # one that gives up takes nobody with it
        ticks = 0
        while ticks < 20:
            await asyncio.sleep(0.005)
            ticks += 1
        assert not any(wait.done() for wait in waiting[1:])
        gate.leave.set()
        return await asyncio.gather(*waiting[1:])

    assert {job.status for job in asyncio.run(main())} == {Status.SUCCEEDED}


def test_an_interruption_is_no_exception():
    assert not issubclass(Interrupted, Exception)
    assert not issubclass(Superseded, Exception)


def test_as_many_jobs_run_at_once_as_the_store_says_and_the_queue_counts_right(open_store):
    store = open_store(at_once={Kind.FINETUNE: 3})
    running, most, lock, go_on = [], [], threading.Lock(), threading.Event()

    def handler(job, context):
        with lock:
            running.append(job.id)
            most.append(len(running))
        assert go_on.wait(10)
        with lock:
            running.remove(job.id)
        return {}

    ids = [store.submit(Kind.FINETUNE, {}).id for _ in range(6)]
    assert [store.queue_position(own) for own in ids] == [0, 0, 0, 1, 2, 3]
    service = JobService(store, {Kind.FINETUNE: handler})
    wait_until(lambda: len(running) == 3)
    assert [store.queue_position(own) for own in ids] == [None, None, None, 1, 2, 3]
    store.cancel(ids[3])
    assert [store.queue_position(own) for own in ids[4:]] == [1, 2]
    go_on.set()
    ended = {Status.SUCCEEDED, Status.CANCELLED}
    wait_until(lambda: all(store.get(own).status in ended for own in ids))
    assert max(most) == 3
    service.close()


def test_a_stopping_service_asks_all_its_runners_at_once(open_store):
    """Each would take a second to stop; one after another they would take three."""
    store = open_store(at_once={Kind.FINETUNE: 3})

    def handler(job, context):
        while True:
            time.sleep(1.0)
            context.raise_if_cancelled()

    ids = [store.submit(Kind.FINETUNE, {}).id for _ in range(3)]
    service = JobService(store, {Kind.FINETUNE: handler})
    wait_until(lambda: all(store.get(own).status is Status.RUNNING for own in ids))
    began_s = time.monotonic()
    service.close()
    assert time.monotonic() - began_s < 2.5
    again = open_store()
    assert [again.get(own).status for own in ids] == [Status.QUEUED] * 3
