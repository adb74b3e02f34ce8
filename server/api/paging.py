"""Pages of lists, in the shape that OpenAI's clients turn."""

from typing import Any


def as_page(data: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Write a page.

    Args:
        data: what is on it, each with an `id`.
        has_more: whether another page follows; its `after` is this one's `last_id`.
    """
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
