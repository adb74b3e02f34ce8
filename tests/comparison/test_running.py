"""Running: finished prompts are kept and never done again, by this process, the next one, or after a failure."""

import asyncio
import json
from contextlib import contextmanager

import pytest

from server.comparison.job import ComparisonJob
from server.comparison.local import MemoryParts, read_request
from server.comparison.part import Part, key_of
from server.comparison.plan import plan_of
from server.comparison.preparation import prepare
from server.comparison.running import report_of, run
from server.errors import ContextLengthError, KelvinError, NotFoundError, UnavailableError
from server.jobs.job import Kind
from server.jobs.runner import JobRunner
from server.jobs.status import Status
from server.jobs.store import JobStore
from tests.conftest import loaded
from tests.fakes import FakeBackend, says, wait_until

PROMPTS = [f"prompt number {number}" for number in range(6)]
SAMPLES = 2


def plan(**body):
    arms = [{"name": "cold", "temperature": 0.5}, {"name": "hot", "temperature": 1.2}]
    given = {"prompts": PROMPTS, "arms": arms, "samples_per_prompt": SAMPLES, "max_tokens": 8, "seed": 5} | body
    return plan_of(read_request(**given), first_model="fake", max_tokens=10**6)


@contextmanager
def serving(backend):
    model = loaded(backend)
    try:
        yield {"fake": model}
    finally:
        backend.allow(10_000)
        model.close()


class Interrupted(MemoryParts):
    """Fails to keep a part once it has kept so many."""

    def __init__(self, most):
        super().__init__()
        self.most = most
        self.kept = []

    def save_part(self, key, payload):
        if len(self.kept) == self.most:
            raise UnavailableError("the disk is full")
        self.kept.append(key)
        super().save_part(key, json.loads(json.dumps(payload, allow_nan=False)))


def done(kept, settled=None, backend=None, told=lambda finished, eta_s: None):
    backend = backend or FakeBackend()
    settled = settled or plan()
    with serving(backend) as models:
        preparation = prepare(settled, models)
        parts = asyncio.run(run(settled, preparation, kept, told))
        return parts, report_of(settled, preparation, parts), backend


def test_every_prompt_is_drawn_once_and_parts_come_in_order():
    parts, _, backend = done(MemoryParts())
    assert [part.prompt_index for part in parts] == [0, 1, 2, 3, 4, 5]
    assert backend.count("admit") == len(PROMPTS) * 2 * SAMPLES
    for part in parts:
        assert [(own.prompt_index, own.arm) for own in part.completions] == [
            (part.prompt_index, arm) for arm in ("cold", "hot") for _ in range(SAMPLES)
        ]


@pytest.mark.parametrize("finished", [1, 3])
def test_what_was_finished_before_a_failure_is_not_drawn_again(finished):
    kept = Interrupted(finished)
    with pytest.raises(UnavailableError, match="the disk is full"):
        done(kept)
    before = list(kept.kept)
    kept.most = len(PROMPTS)
    parts, report, backend = done(kept)
    assert len(before) == finished
    assert backend.count("admit") == (len(PROMPTS) - finished) * 2 * SAMPLES
    assert sorted(kept.kept) == sorted(map(key_of, range(len(PROMPTS))))
    whole_parts, whole_report, _ = done(MemoryParts())
    assert (parts, report) == (whole_parts, whole_report)


def test_when_all_is_finished_nothing_is_drawn():
    kept = MemoryParts()
    _, report, _ = done(kept)
    parts, again, backend = done(kept)
    assert backend.count("admit") == 0
    assert (len(parts), again) == (len(PROMPTS), report)


def test_a_part_kept_as_json_is_the_part():
    [part, *_], _, _ = done(MemoryParts())
    assert Part.model_validate(json.loads(json.dumps(part.model_dump(mode="json"), allow_nan=False))) == part


def test_progress_counts_what_earlier_runs_have_finished():
    kept, told = Interrupted(2), []
    with pytest.raises(UnavailableError):
        done(kept)
    kept.most = len(PROMPTS)
    done(kept, told=lambda finished, eta_s: told.append((finished, eta_s)))
    assert [finished for finished, _ in told] == [2, 3, 4, 5, 6]
    assert told[0][1] is None
    assert all(eta_s >= 0 for _, eta_s in told[1:])
    assert told[-1][1] == 0


def test_an_engine_that_dies_fails_the_comparison_with_its_own_words():
    backend = FakeBackend()
    with serving(backend) as models:
        preparation = prepare(plan(), models)
        models["fake"].engine.stop()
        with pytest.raises(UnavailableError):
            asyncio.run(run(plan(), preparation, MemoryParts(), lambda finished, eta_s: None))


def test_completions_that_end_at_once_make_a_report_of_strict_json():
    _, report, _ = done(MemoryParts(), backend=FakeBackend(script=says("")))
    assert [arm.counts.empty for arm in report.arms] == [12, 12]
    json.dumps(report.model_dump(mode="json"), allow_nan=False)
    json.loads(report.model_dump_json(), parse_constant=pytest.fail)


def test_one_prompt_and_the_baseline_again():
    settled = plan(prompts=PROMPTS[:1], arms=[{"name": "cold"}], aa=True, samples_per_prompt=6)
    _, report, _ = done(MemoryParts(), settled)
    assert [arm.name for arm in report.arms] == ["cold", "cold again"]
    assert report.verdict[0].startswith("noise floor: cold again is cold with other seeds")
    assert report.verdict[0].endswith("one prompt, of which alone this holds")


def test_a_model_that_is_not_served_is_named():
    with serving(FakeBackend()) as models, pytest.raises(NotFoundError, match="arm hot asks for a model"):
        prepare(plan(arms=[{"name": "cold"}, {"name": "hot", "model": "gone"}]), models)


def test_a_parameter_out_of_range_names_the_arm():
    with serving(FakeBackend()) as models, pytest.raises(KelvinError, match="arm hot: top_p"):
        prepare(plan(arms=[{"name": "cold"}, {"name": "hot", "top_p": 2.0}]), models)


def test_samples_that_leave_no_room_for_any_prompt_are_refused_at_once():
    with serving(FakeBackend(max_length=64)) as models:
        prepare(plan(max_tokens=63), models)
        with pytest.raises(ContextLengthError, match=r"max_tokens is 64.* holds 64 positions"):
            prepare(plan(max_tokens=64), models)


@contextmanager
def at_work(folder, models):
    store = JobStore.open(folder)
    runner = JobRunner(store, Kind.COMPARISON, ComparisonJob(lambda: models))
    runner.start()
    try:
        yield store
    finally:
        assert runner.stop(timeout_s=10.0)
        store.close()


def test_a_job_goes_on_after_a_restart_and_draws_only_what_is_wanting(tmp_path):
    first = FakeBackend(gated=True)
    with serving(first) as models:
        with at_work(tmp_path, models) as store:
            job = store.submit(Kind.COMPARISON, plan().model_dump(mode="json"))
            wait_until(lambda: first.allow() or len(store.part_keys(job.id)) >= 2)
        first.allow(10_000)
    between = JobStore.open(tmp_path)
    kept = {key: between.part(job.id, key) for key in between.part_keys(job.id)}
    between.close()
    assert 2 <= len(kept) < len(PROMPTS)
    second = FakeBackend()
    with serving(second) as models, at_work(tmp_path, models) as store:
        wait_until(lambda: store.get(job.id).status is Status.SUCCEEDED)
        assert second.count("admit") == (len(PROMPTS) - len(kept)) * 2 * SAMPLES
        assert {key: store.part(job.id, key) for key in kept} == kept
        assert len(store.part_keys(job.id)) == len(PROMPTS)
        assert store.get(job.id).run == 2
        _, whole, _ = done(MemoryParts())
        assert store.result(job.id) == whole.model_dump(mode="json")


def test_a_cancelled_job_frees_its_slots_and_keeps_its_parts(tmp_path):
    backend = FakeBackend(gated=True)
    with serving(backend) as models, at_work(tmp_path, models) as store:
        job = store.submit(Kind.COMPARISON, plan().model_dump(mode="json"))
        wait_until(lambda: backend.allow() or store.part_keys(job.id))
        store.cancel(job.id)
        wait_until(lambda: store.get(job.id).status is Status.CANCELLED)
        kept = store.part_keys(job.id)
        backend.allow(10_000)
        wait_until(lambda: backend.count("admit") == backend.count("release"))
        assert store.part_keys(job.id) == kept
        assert backend.count("admit") < len(PROMPTS) * 2 * SAMPLES


def test_a_job_whose_model_has_gone_fails_and_says_so(tmp_path):
    with serving(FakeBackend()) as models, at_work(tmp_path, {"other": models["fake"]}) as store:
        job = store.submit(Kind.COMPARISON, plan().model_dump(mode="json"))
        wait_until(lambda: store.get(job.id).status is Status.FAILED)
        assert "arm cold asks for a model that is not served; served: other" in store.get(job.id).error["message"]
