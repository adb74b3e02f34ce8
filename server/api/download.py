"""Download: a file of the disk as a response, always whole."""

from pathlib import Path

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send


class Download(FileResponse):
    """Sends a file as bytes; a `Range` is ignored, as HTTP allows, and with it all that can be wrong in one."""

    def __init__(self, path: Path, filename: str) -> None:
        """Prepare the response.

        Args:
            path: of the file.
            filename: under which a browser keeps it.
        """
        headers = {"accept-ranges": "none"}
        super().__init__(path, headers=headers, media_type="application/octet-stream", filename=filename)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)
