"""One request over a connection of its own, by a client that behaves as it is told, and what became of it."""

import asyncio
import itertools
import json
import random
import socket
import time
from dataclasses import dataclass, field

SMALL_BUFFER = 2048
PATIENCE_S = 240.0


@dataclass
class Outcome:
    """What became of a request.

    Attributes:
        behaviour: of its client.
        status: of the answer; 0: none came before the client left.
        started_s: clock reading when it was sent.
        first_s: seconds until its first token; None: none came.
        total_s: seconds until it ended.
        gaps: seconds between tokens, of streams.
        tokens: that came.
        whole: whether the answer came to its end.
        retry_after: what a refusal said.
        error: code of the error; None: there was none.
    """

    behaviour: str
    status: int = 0
    started_s: float = 0.0
    first_s: float | None = None
    total_s: float = 0.0
    gaps: list = field(default_factory=list)
    tokens: int = 0
    whole: bool = False
    retry_after: int | None = None
    error: str | None = None


async def ask(port, path, content, *, behaviour="reads", content_type="application/json") -> Outcome:
    """Send a request and read its answer.

    Args:
        port: of the server, on this machine.
        path: with the leading slash.
        content: the body, bytes.
        behaviour: `reads`; `leaves` after a while; `dawdles`, reading little by little; or `sleeps`, reading nothing.
        content_type: of the body.
    """
    outcome = Outcome(behaviour, started_s=time.perf_counter())
    reader, writer = await _connect(port, patient=behaviour in ("reads", "leaves"))
    try:
        head = f"POST {path} HTTP/1.1\r\nHost: soak\r\nContent-Type: {content_type}\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        if behaviour == "sleeps":
            await asyncio.sleep(10)
        else:
            limit_s = random.uniform(0.0, 4.0) if behaviour == "leaves" else PATIENCE_S
            async with asyncio.timeout(limit_s):
                await _read(reader, outcome, pause_s=0.05 if behaviour == "dawdles" else 0.0)
    except TimeoutError:
        if behaviour == "reads":
            outcome.error = "no_end"
    except (ConnectionError, asyncio.IncompleteReadError):
        outcome.error = outcome.error or "connection_lost"
    finally:
        writer.transport.abort()
        outcome.total_s = time.perf_counter() - outcome.started_s
    return outcome


async def _connect(port, *, patient):
    """Open a connection; one that is read slowly has small buffers, so that the server feels it."""
    if patient:
        return await asyncio.open_connection("127.0.0.1", port)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=client, limit=SMALL_BUFFER)


async def _read(reader, outcome, *, pause_s):
    outcome.status = int((await reader.readline()).split()[1])
    headers = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    if "retry-after" in headers:
        outcome.retry_after = int(headers["retry-after"])
    if headers["content-type"].startswith("text/event-stream"):
        await _read_events(reader, outcome, pause_s)
    else:
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        outcome.whole = True
        outcome.error = body.get("error", {}).get("code")
        outcome.tokens = body.get("usage", {}).get("completion_tokens", 0)


async def _read_events(reader, outcome, pause_s):
    times = []
    async for line in _lines(reader):
        if line == b"data: [DONE]":
            outcome.whole = True
        elif line.startswith(b"data: {"):
            event = json.loads(line[6:])
            if "error" in event:
                outcome.error = event["error"]["code"]
            if event.get("choices"):
                times.append(time.perf_counter())
        await asyncio.sleep(pause_s)
    outcome.tokens = len(times)
    outcome.first_s = times[0] - outcome.started_s if times else None
    outcome.gaps = [after - before for before, after in itertools.pairwise(times)]


async def _lines(reader):
    """Give the lines of a body in chunks, however the chunks part them."""
    data = b""
    while piece := await reader.read(1024):
        data += piece
        *lines, data = data.split(b"\n")
        for line in lines:
            yield line.strip()
