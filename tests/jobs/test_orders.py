"""Orders and claims in any sequence: the store does as a model of it does that fits on a page."""

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from server.errors import KelvinError
from server.jobs.errors import JobStateError
from server.jobs.interruptions import Superseded
from server.jobs.job import Kind
from server.jobs.status import ENDED, TRANSITIONS, Status
from server.jobs.store import JobStore

ENDS = {
    "succeed": (lambda claim: claim.succeed({"answer": 42}), Status.SUCCEEDED),
    "fail": (lambda claim: claim.fail(KelvinError("bad luck")), Status.FAILED),
    "put back": (lambda claim: claim.leave(Status.QUEUED), Status.QUEUED),
}
# What an order makes of a job that waits in a status; others are refused. A running job is told in Jobs.order.
ORDERS = {
    "cancel": dict.fromkeys([Status.QUEUED, Status.PAUSED, Status.CANCELLED], Status.CANCELLED),
    "pause": dict.fromkeys([Status.QUEUED, Status.PAUSED], Status.PAUSED),
    "resume": {Status.PAUSED: Status.QUEUED},
}


class Jobs(RuleBasedStateMachine):
    """Two dictionaries against the store."""

    jobs = Bundle("jobs")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = JobStore.open(Path(self.folder.name))
        self.status, self.asked, self.claims = {}, {}, {}

    def teardown(self):
        self.store.close()
        self.folder.cleanup()

    @rule(target=jobs)
    def submit(self):
        job_id = self.store.submit(Kind.COMPARISON, {}).id
        self.status[job_id], self.asked[job_id] = Status.QUEUED, set()
        return job_id

    @rule()
    def claim(self):
        queued = [job_id for job_id, status in self.status.items() if status is Status.QUEUED]
        claim = self.store.claim(Kind.COMPARISON)
        assert (claim.job.id if claim else None) == (queued[0] if queued else None)
        if claim:
            self.status[claim.job.id] = Status.RUNNING
            self.claims.setdefault(claim.job.id, []).append(claim)

    @rule(job_id=jobs, order=st.sampled_from(sorted(ORDERS)))
    def order(self, job_id, order):
        give, asked = getattr(self.store, order), self.asked[job_id]
        if self.status[job_id] is Status.RUNNING and not (order == "resume" and "pause" not in asked):
            give(job_id)
            if order == "resume":
                asked.discard("pause")
            else:
                asked.add(order)
        elif self.status[job_id] in ORDERS[order]:
            give(job_id)
            self.status[job_id] = ORDERS[order][self.status[job_id]]
        else:
            with pytest.raises(JobStateError):
                give(job_id)

    @rule(job_id=jobs, end=st.sampled_from(sorted(ENDS)))
    def end(self, job_id, end):
        *old, newest = self.claims.get(job_id) or [None]
        write, status = ENDS[end]
        for claim in old:
            with pytest.raises(Superseded):
                write(claim)
        if newest is None:
            return
        if self.status[job_id] is not Status.RUNNING:
            with pytest.raises(Superseded):
                write(newest)
            return
        write(newest)
        if end == "put back" and self.asked[job_id]:
            status = Status.CANCELLED if "cancel" in self.asked[job_id] else Status.PAUSED
        self.status[job_id], self.asked[job_id] = status, set()

    @invariant()
    def the_store_agrees(self):
        for job_id, status in self.status.items():
            job = self.store.get(job_id)
            assert job.status is status
            assert (job.cancel_requested, job.pause_requested) == tuple(
                order in self.asked[job_id] for order in ("cancel", "pause")
            )
            assert (job.finished_at is not None) == (status in ENDED)
            assert (self.store.result(job_id) is not None) == (status is Status.SUCCEEDED)
            assert (job.error is not None) == (status is Status.FAILED)

    @invariant()
    def every_change_is_an_event_and_legal(self):
        for job_id, status in self.status.items():
            events = self.store.events(job_id)
            assert [event.number for event in events] == list(range(1, len(events) + 1))
            told = [Status(event.data["status"]) for event in events if event.type == "status"]
            assert told[0] is Status.QUEUED
            assert told[-1] is status
            assert all(after in TRANSITIONS[before] for before, after in itertools.pairwise(told))


TestJobs = Jobs.TestCase
TestJobs.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
