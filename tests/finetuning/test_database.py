"""Fine-tunes whose jobs are in PostgreSQL, and several at once: through a whole server."""

from tests.jobs.postgres import postgres_server  # noqa: F401  # a fixture


def test_fine_tunes_are_kept_in_postgresql_and_go_on_in_the_next_server(serve_here, request, tmp_path):
    url = request.getfixturevalue("postgres_server").new_database()
    live = serve_here(database_url=url)
    ended = live.wait(live.create(headers={"Idempotency-Key": "once"}, training_file=(own := live.upload())).id)
    assert ended.status == "succeeded", ended.error
    assert live.create(headers={"Idempotency-Key": "once"}, training_file=own).id == ended.id
    steps = [epoch.metrics.step for epoch in live.client.fine_tuning.jobs.checkpoints.list(ended.id).data]
    assert steps == [30, 20, 10]
    assert not (tmp_path / "kelvin.db").exists()
    running = live.create(epoch_ms=300, epochs=6)
    live.wait_for_epoch(running.id)
    serve_here.stop()
    again = serve_here(database_url=url)
    assert again.job(ended.id).metrics == ended.metrics
    assert again.wait(running.id).status == "succeeded"


def test_two_fine_tunes_run_at_once_where_the_setting_says_so(serve_here):
    live = serve_here(finetune_jobs=2)
    first, second = (live.create(epoch_ms=100, epochs=1000) for _ in range(2))
    live.wait_for_epoch(first.id)
    live.wait_for_epoch(second.id)
    third = live.create()
    live.wait(third.id, "queued")
    assert [live.job(own.id).queue_position for own in (first, second, third)] == [None, None, 1]
    live.client.fine_tuning.jobs.cancel(second.id)
    assert live.wait(third.id).status == "succeeded"
    assert live.job(first.id).status == "running"
    live.client.fine_tuning.jobs.cancel(first.id)
    live.wait(first.id)
