"""The store: what is submitted is kept, listed, found by its key, and deleted with all that belongs to it."""

import re
import threading

import pytest

from server.errors import InvalidRequestError, NotFoundError
from server.jobs.errors import JobStateError
from server.jobs.job import Kind
from server.jobs.status import ENDED, TRANSITIONS, Status
from tests.jobs.postgres import EVERYWHERE, url_of

REQUEST = {"prompts": ["Grüße, 世界\u2028"], "seed": 2**63, "temperature": 0.1}


@pytest.fixture(params=EVERYWHERE)
def database_url(request, tmp_path):
    return url_of(request.param, request, tmp_path)


def test_a_job_is_kept_as_it_was_submitted(store, open_store):
    job = store.submit(Kind.COMPARISON, REQUEST, metadata={"who": "me"})
    assert (job.status, job.progress, job.eta_s, job.attempts, job.run) == (Status.QUEUED, 0.0, None, 1, 0)
    assert (job.started_at, job.finished_at, job.error) == (None, None, None)
    assert open_store().get(job.id) == job
    assert (job.request, job.metadata) == (REQUEST, {"who": "me"})
    assert store.result(job.id) is None


@pytest.mark.parametrize(("kind", "prefix"), [(Kind.COMPARISON, "cmp"), (Kind.FINETUNE, "ftjob")])
def test_ids_tell_the_kind_and_fit_urls(store, kind, prefix):
    ids = {store.submit(kind, {}).id for _ in range(50)}
    assert len(ids) == 50
    assert all(re.fullmatch(rf"{prefix}-[0-9a-f]{{24}}", job_id) for job_id in ids)


def test_jobs_are_listed_by_kind_newest_first_and_page_by_page(store):
    ids = [store.submit(Kind.COMPARISON, {"number": number}).id for number in range(7)]
    store.submit(Kind.FINETUNE, {})
    pages = [store.list_jobs(Kind.COMPARISON, limit=3)]
    while len(pages[-1]) == 3:
        pages.append(store.list_jobs(Kind.COMPARISON, limit=3, after=pages[-1][-1].id))
    assert [[job.id for job in page] for page in pages] == [ids[6:3:-1], ids[3:0:-1], ids[0:1]]


def test_whoever_names_no_job_is_told_so(store):
    for ask in (store.get, store.result, store.cancel, store.pause, store.resume, store.delete, store.events):
        with pytest.raises(NotFoundError, match="no job of this id"):
            ask("cmp-none")
    with pytest.raises(NotFoundError):
        store.list_jobs(Kind.COMPARISON, limit=1, after="cmp-none")


def test_the_same_key_is_the_same_job(store):
    job = store.submit(Kind.COMPARISON, REQUEST, idempotency_key="once")
    assert store.submit(Kind.COMPARISON, REQUEST, idempotency_key="once") == job
    with pytest.raises(JobStateError, match="another request"):
        store.submit(Kind.COMPARISON, {}, idempotency_key="once")
    assert store.submit(Kind.FINETUNE, {}, idempotency_key="once").id != job.id
    assert store.submit(Kind.COMPARISON, REQUEST).id != job.id
    assert len(store.list_jobs(Kind.COMPARISON, limit=10)) == 2


def test_a_request_that_is_no_json_is_not_kept(store):
    for request in ({"t": float("nan")}, {"t": {1, 2}}):
        with pytest.raises(Exception, match="JSON"):
            store.submit(Kind.COMPARISON, request)
    assert store.list_jobs(Kind.COMPARISON, limit=10) == []


def test_the_oldest_is_claimed_first_and_each_kind_for_itself(store):
    first, second = (store.submit(Kind.COMPARISON, {}) for _ in range(2))
    assert store.claim(Kind.FINETUNE) is None
    assert [store.queue_position(job.id) for job in (first, second)] == [0, 1]
    claim = store.claim(Kind.COMPARISON)
    assert (claim.job.id, claim.job.status, claim.job.run) == (first.id, Status.RUNNING, 1)
    assert claim.job.started_at is not None
    assert [store.queue_position(job.id) for job in (first, second)] == [None, 1]
    assert store.claim(Kind.COMPARISON).job.id == second.id
    assert store.claim(Kind.COMPARISON) is None


def test_threads_that_claim_at_once_never_claim_the_same(store):
    ids = {store.submit(Kind.COMPARISON, {}).id for _ in range(40)}
    claimed, ready = [], threading.Barrier(4)

    def claim_all():
        ready.wait()
        while (claim := store.claim(Kind.COMPARISON)) is not None:
            claimed.append(claim.job.id)

    threads = [threading.Thread(target=claim_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 40
    assert set(claimed) == ids


def test_the_files_are_validated_before_a_job_is_queued(store):
    job = store.submit(Kind.FINETUNE, {}, status=Status.VALIDATING_FILES)
    assert store.claim(Kind.FINETUNE) is None
    with pytest.raises(JobStateError, match="validating_files"):
        store.pause(job.id)
    assert store.release(job.id).status is Status.QUEUED
    with pytest.raises(JobStateError, match="not being validated"):
        store.release(job.id)

    bad = store.submit(Kind.FINETUNE, {}, status=Status.VALIDATING_FILES)
    rejected = store.reject(bad.id, InvalidRequestError("line 3 has no label", param="training_file"))
    assert rejected.status is Status.FAILED
    assert rejected.error == {"message": "line 3 has no label", "code": "invalid_request", "param": "training_file"}


def test_a_job_that_has_ended_goes_with_its_files(store, tmp_path):
    job = store.submit(Kind.COMPARISON, {})
    claim = store.claim(Kind.COMPARISON)
    claim.save_part("prompt-0", {"texts": ["a"]})
    folder = store.folder(job.id)
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "report.html").write_text("report")
    with pytest.raises(JobStateError, match="is running; cancel it"):
        store.delete(job.id)
    claim.succeed({"report": 1})
    store.delete(job.id)
    with pytest.raises(NotFoundError):
        store.get(job.id)
    assert not folder.exists()
    assert (store.part(job.id, "prompt-0"), store.list_jobs(Kind.COMPARISON, limit=1)) == (None, [])
    with pytest.raises(NotFoundError):
        store.delete(job.id)


def test_ended_means_that_nothing_follows():
    assert {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED} == ENDED
    assert set(TRANSITIONS) == set(Status)
