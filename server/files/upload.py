"""Upload: the parts of a multipart body, the file's bytes going to the disk as they come."""

from collections.abc import Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException

from server.errors import InvalidRequestError
from server.files.stored_file import MAX_FILENAME

MAX_FIELD_BYTES = 1024
FIELDS = ("purpose",)


class Upload:
    """Takes a body of `multipart/form-data` piece by piece: one part `file`, and a few short texts.

    Attributes:
        fields: the texts, by name.
        filename: of the file; None: it has not come.
        num_bytes: of the file so far.
    """

    def __init__(self, content_type: str, write: Callable[[bytes], None], max_bytes: int) -> None:
        """Prepare for a body.

        Args:
            content_type: the request's header.
            write: takes the file's bytes.
            max_bytes: of the file.

        Raises:
            HTTPException: 415: the body is of another type.
            InvalidRequestError: the header names no boundary.
        """
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data":
            raise HTTPException(415, "the body must be a form; send the file as multipart/form-data (curl -F)")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.num_bytes = 0
        self._write = write
        self._max_bytes = max_bytes
        self._header = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._text = b""
        self._ended = False
        try:
            self._parser = MultipartParser(
                options.get(b"boundary", b""),
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._add_header(0, data[start:end]),
                    "on_header_value": lambda data, start, end: self._add_header(1, data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_data,
                    "on_part_data": lambda data, start, end: self._add_data(data[start:end]),
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise InvalidRequestError(
                "the Content-Type names no boundary that can be one; let the client set it"
            ) from None

    def write(self, data: bytes) -> None:
        """Take a piece of the body.

        Raises:
            InvalidRequestError: it is no form, or has a part that it should not have.
            HTTPException: 413: the file is too large.
            StorageError: the file could not be written.
        """
        try:
            self._parser.write(data)
        except FormParserError:
            raise InvalidRequestError("the body is no multipart form; send the file with curl -F or a client") from None

    def finish(self) -> str:
        """Require that everything has come, and return the file's name.

        Raises:
            InvalidRequestError: a part is missing, or the body was cut off.
        """
        if not self._ended:
            raise InvalidRequestError("the form ends in the middle; send all of it")
        if self.filename is None:
            raise InvalidRequestError("file is missing; add it to the form, as in -F file=@train.jsonl", param="file")
        if self.num_bytes == 0:
            raise InvalidRequestError("file is empty; send a file that has rows", param="file")
        return self.filename

    def _begin_part(self) -> None:
        self._headers, self._text = {}, b""

    def _add_header(self, side: int, piece: bytes) -> None:
        self._header[side] += piece

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = [b"", b""]

    def _begin_data(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name == "file":
            if self.filename is not None:
                raise InvalidRequestError("file is given twice; send one file at a time", param="file")
            self.filename = _filename(options.get(b"filename", b""))
        elif self._name not in FIELDS:
            raise InvalidRequestError("the form has a part that is neither file nor purpose; leave it out")
        elif self._name in self.fields:
            raise InvalidRequestError(f"{self._name} is given twice; give it once", param=self._name)

    def _add_data(self, data: bytes) -> None:
        if self._name == "file":
            self.num_bytes += len(data)
            if self.num_bytes > self._max_bytes:
                raise HTTPException(
                    413,
                    f"the file has more than the {self._max_bytes} bytes that this server takes; send a shorter one",
                )
            self._write(data)
        else:
            self._text += data
            if len(self._text) > MAX_FIELD_BYTES:
                raise InvalidRequestError(f"{self._name} is too long; send a word", param=self._name)

    def _end_part(self) -> None:
        if self._name != "file":
            self.fields[self._name] = self._text.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True


def _filename(given: bytes) -> str:
    """Return a file's name, which is shown and never opened."""
    try:
        name = given.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequestError("the file's name is not UTF-8; give it another", param="file") from None
    name = name.replace("\\", "/").rpartition("/")[2]
    if not 0 < len(name) <= MAX_FILENAME or not name.isprintable():
        raise InvalidRequestError(
            f'file must come with a name of 1 to {MAX_FILENAME} printable characters, as in filename="train.jsonl"',
            param="file",
        )
    return name
