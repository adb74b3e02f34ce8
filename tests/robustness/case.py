"""A bad input, and what may come of it."""

from dataclasses import dataclass

ANY = frozenset(range(200, 500))  # whatever the route makes of it, so long as it is no failure of the server


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        name: route and what is wrong.
        data: bytes of the request, or pieces of them; None is a pause.
        statuses: that the answer may have.
        method: of the request, for HEAD has no body.
        silence: whether the server may close the connection without an answer.
        documented: statuses by the OpenAPI document; None: the request reaches no route.
    """

    name: str
    data: bytes | list
    statuses: frozenset
    method: str = "POST"
    silence: bool = False
    documented: frozenset | None = None
