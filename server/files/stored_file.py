"""StoredFile: what is known of an uploaded file besides its bytes."""

import re
import secrets
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Purpose = Literal["fine-tune"]

MAX_FILENAME = 255
_FILE_ID = re.compile(r"file-[0-9a-f]{24}")


class StoredFile(BaseModel):
    """A file that is on the disk whole.

    Attributes:
        id: unique, and the name of its folder.
        filename: what the client called it; shown, never used as a path.
        purpose: what it may be used for.
        num_bytes: its length.
        created_at: Unix time in seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    filename: str = Field(min_length=1, max_length=MAX_FILENAME)
    purpose: Purpose
    num_bytes: int
    created_at: float


def new_file_id() -> str:
    """Make up an id of 96 random bits."""
    return f"file-{secrets.token_hex(12)}"


def is_file_id(text: str) -> bool:
    """Tell whether a text has the form of an id, and so may be part of a path."""
    return _FILE_ID.fullmatch(text) is not None
