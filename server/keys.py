"""API keys: read from their file, kept as digests, compared in constant time; and whether a server may do without."""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import InvalidRequestError

if TYPE_CHECKING:
    from server.settings import Settings

SHORTEST = 16
LONGEST = 256
_LINE = re.compile(r"(?P<key>[\x21-\x7e]+)(\s+#.*)?")


class ApiKeys:
    """The keys that open the server; their texts are not kept."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Remember keys.

        Args:
            keys: at least one, each of visible ASCII characters.
        """
        self._digests = [digest_of(key.encode("ascii")) for key in keys]

    @classmethod
    def from_file(cls, path: Path) -> "ApiKeys":
        """Read keys, one a line; what follows `#` at a line's start or after a space is a comment.

        Args:
            path: the file.

        Raises:
            InvalidRequestError: the file cannot be read, holds no key, or one that is too short, too long or no key.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise InvalidRequestError(f"the keys in {path} cannot be read: {reason}", param="api_keys_file") from None
        stripped = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
        keys = [_key(path, number, line) for number, line in stripped if line and not line.startswith("#")]
        if not keys:
            raise InvalidRequestError(
                f"{path} holds no key; put one on a line of its own, such as the output of: openssl rand -hex 32",
                param="api_keys_file",
            )
        return cls(keys)

    def opens(self, given: bytes) -> bool:
        """Say whether a key is one of these; it takes equally long for any key of its length."""
        digest = digest_of(given)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]  # all of them, whichever it is
        return any(matches)


def require_closed(settings: "Settings") -> None:
    """Check, before anything is loaded, that not everybody who reaches the server may use it.

    Args:
        settings: of the server.

    Raises:
        InvalidRequestError: it is to listen on an address that others can reach, without keys and without `insecure`;
            or the keys cannot be read.
    """
    if settings.api_keys_file is not None:
        ApiKeys.from_file(settings.api_keys_file)
    elif not settings.insecure and not is_loopback(settings.host):
        raise InvalidRequestError(
            f"others can reach {settings.host}, and there are no keys: name a file of keys with --api-keys-file "
            "(KELVIN_API_KEYS_FILE), or say with --insecure (KELVIN_INSECURE=true) that whoever reaches the port may "
            "use it",
            param="host",
        )


def is_loopback(host: str) -> bool:
    """Say whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(path: Path, number: int, line: str) -> str:
    match = _LINE.fullmatch(line)
    if match is None or not SHORTEST <= len(match["key"]) <= LONGEST:
        raise InvalidRequestError(
            f"line {number} of {path} is no key: {SHORTEST} to {LONGEST} visible ASCII characters, and after a space "
            "perhaps # and a comment",
            param="api_keys_file",
        )
    return match["key"]


def digest_of(key: bytes) -> bytes:
    """Return what stands for a key where the key itself must not be kept."""
    return hashlib.sha256(key).digest()
