"""Examples of files and fine-tunes for the documentation; tests hold them to their schemas."""

from typing import Any

ROWS = '{"text": "the parcel came broken", "label": "complaint"}\n{"text": "thank you, it fits", "label": "praise"}\n'
FORM = (
    '--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    '--x\r\nContent-Disposition: form-data; name="file"; filename="train.jsonl"\r\n\r\n' + ROWS + "\r\n--x--\r\n"
)
FILE: dict[str, Any] = {
    "id": "file-3f1c0e9a7b5d42868a61c4e2",
    "object": "file",
    "bytes": len(ROWS),
    "created_at": 1795516700,
    "expires_at": None,
    "filename": "train.jsonl",
    "purpose": "fine-tune",
    "status": "processed",
    "status_details": None,
}
FILE_LIST: dict[str, Any] = {
    "object": "list",
    "data": [FILE],
    "first_id": FILE["id"],
    "last_id": FILE["id"],
    "has_more": False,
}
FILE_DELETED: dict[str, Any] = {"id": FILE["id"], "object": "file", "deleted": True}
