"""The tables of the store: jobs, their events, and the parts of their work that are finished."""

from dataclasses import fields
from typing import Any, ClassVar

from sqlalchemy import JSON, Enum, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from server.jobs.job import Event, Job, Kind
from server.jobs.status import Status

SCHEMA_VERSION = 2  # 1 had no leases


def _names(kinds: type[Kind] | type[Status]) -> list[str]:
    return [kind.value for kind in kinds]


class Base(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map: ClassVar = {
        dict[str, Any]: JSON(none_as_null=True),
        Kind: Enum(Kind, native_enum=False, length=32, values_callable=_names),
        Status: Enum(Status, native_enum=False, length=32, values_callable=_names),
    }


class JobRow(Base):
    """A job; `server.jobs.job.Job` says what the columns mean.

    `number` orders jobs by age whatever the clock says, `last_event` is the number of the newest event, and `owner` is
    the lease of the server that runs the job, or will.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("jobs_in_line", "kind", "status", "number"),
        UniqueConstraint("kind", "idempotency_key"),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[Kind]
    status: Mapped[Status]
    owner: Mapped[str]
    idempotency_key: Mapped[str | None]
    request: Mapped[dict[str, Any]]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata")  # the bare name is SQLAlchemy's own
    progress: Mapped[float] = mapped_column(default=0.0)
    eta_s: Mapped[float | None]
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    pause_requested: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[int] = mapped_column(default=1)
    run: Mapped[int] = mapped_column(default=0)
    last_event: Mapped[int] = mapped_column(default=0)


class EventRow(Base):
    """An event of a job."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.id, ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[float]
    type: Mapped[str]
    level: Mapped[str]
    message: Mapped[str]
    data: Mapped[dict[str, Any]]


class PartRow(Base):
    """A finished part of a job's work."""

    __tablename__ = "parts"

    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.id, ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    payload: Mapped[dict[str, Any]]


class LeaseRow(Base):
    """A server that shares this database with others, and until when its jobs are its own.

    `home` names its data folder, which has the files of its jobs; `host` the running system whose kernel can tell
    whether it lives. Times are the database's, Unix seconds.
    """

    __tablename__ = "leases"

    owner: Mapped[str] = mapped_column(primary_key=True)
    home: Mapped[str]
    host: Mapped[str]
    heartbeat_at: Mapped[float]
    expires_at: Mapped[float]


def as_job(row: JobRow) -> Job:
    """Copy a row into what the store hands out."""
    names = [field.name for field in fields(Job)]
    return Job(**{name: getattr(row, "metadata_" if name == "metadata" else name) for name in names})


def as_event(row: EventRow) -> Event:
    """Copy a row into what the store hands out."""
    return Event(**{field.name: getattr(row, field.name) for field in fields(Event)})
