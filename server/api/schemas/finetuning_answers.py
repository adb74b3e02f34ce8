"""The answers about files and fine-tunes, in OpenAI's shapes, with Kelvin's fields beside them."""

from typing import Literal

from server.api.schemas.answers import Answer


class FileAnswer(Answer):
    """An uploaded file; times are Unix seconds, and nothing expires."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: None
    filename: str
    purpose: Literal["fine-tune"]
    status: Literal["processed"]
    status_details: None


class FileList(Answer):
    """A page of files."""

    object: Literal["list"]
    data: list[FileAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeletedAnswer(Answer):
    """What was deleted."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]
