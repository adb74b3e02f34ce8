"""Bad forms, and data sets that are wrong: each is uploaded, and what holds rows is looked at as a fine-tune would."""

import json

from tests.robustness.case import ANY, Case
from tests.robustness.live_server import MAX_FILE_BYTES
from tests.robustness.routes import form
from tests.robustness.wire import request_bytes

BAD = frozenset({400})
MULTIPART = "Content-Type: multipart/form-data; boundary=x"
ROW = b'{"text": "a", "label": "b"}\n'
_DISPOSITION = b"--x\r\nContent-Disposition: form-data; name="
_FILE = b'"file"; filename="a"\r\n\r\n'
_END = b"\r\n--x--\r\n"

FORMS = {
    "no parts": b"--x--\r\n", "no file": _DISPOSITION + b'"purpose"\r\n\r\nfine-tune' + _END, "no end": form(ROW)[:-8],
    "no purpose": _DISPOSITION + _FILE + ROW + _END, "another purpose": form(ROW, purpose="assistants"), "empty": b"",
    "two files": form(ROW)[:-6] + b"\r\n" + form(ROW), "an empty file": form(b""),
    "a long purpose": form(ROW, purpose="x" * 5000),
    "a third part": _DISPOSITION + b'"other"\r\n\r\nx\r\n' + form(ROW), "no name": form(ROW, name=""),
    "no boundary": ROW, "a long name": form(ROW, name="x" * 300), "a nul in the name": form(ROW, name="a\0b"),
    "a line end in the name": form(ROW, name="a\x1bb"),
    "no UTF-8 in the name": form(ROW).replace(b"train", b"\xff\xfe"), "dots": form(ROW, name=".." + "/" * 3),
    "a part of no name": b"--x\r\nContent-Disposition: form-data\r\n\r\nx" + _END,
    "no disposition": b"--x\r\n\r\nx" + _END, "a long header": b"--x\r\nA: " + b"y" * 60_000 + b"\r\n\r\n" + _END,
    "bad header": b"--x\r\n\0\0: a\r\n\r\n" + _END, "1000 headers": b"--x\r\n" + b"A: b\r\n" * 1000 + b"\r\nx" + _END,
    "1000 parts": (_DISPOSITION + b'"p"\r\n\r\nx\r\n') * 1000 + b"--x--\r\n",
}  # fmt: skip
KINDS = {
    "no boundary": "multipart/form-data", "an empty boundary": "multipart/form-data; boundary=",
    "a boundary of 300 letters": "multipart/form-data; boundary=" + "x" * 300,
    "a boundary with a line end": "multipart/form-data; boundary=\"a\tb\"",
    "another multipart": "multipart/mixed; boundary=x",
    "a charset beside": "multipart/form-data; charset=utf-16; boundary=x",
}  # fmt: skip
NAMES = (
    "../../etc/passwd",
    "/etc/passwd",
    "..\\..\\boot.ini",
    "a/b.jsonl",
    "🦊.jsonl",
    "%2e%2e%2fx.csv",
    ".hidden",
    "con",
    'a;b="c"',
)


def _rows(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


_GOOD = [{"text": f"row {place}", "label": "ab"[place % 2]} for place in range(60)]
DATA_SETS = {
    "one row": ROW, "blank": b"\n\n\n", "no JSON": b"hello\n" * 50, "a list": b"[1, 2]\n" * 50, "one class": ROW * 50,
    "header only": b"text,label\n", "no label column": b"text\na\nb\n",
    "csv of one class": b"text,label\n" + b"a,b\n" * 40, "missing label": _rows(*[{"text": "a"}] * 30),
    "empty label": _rows(*[{"text": "a", "label": ""}] * 30),
    "null label": _rows(*[{"text": "a", "label": None}] * 30),
    "labels of two types": _rows(*_GOOD, *[{"text": "a", "label": 1}] * 30),
    "NaN label": b'{"text": "a", "label": NaN}\n' * 30, "bom": b"\xef\xbb\xbf" + _rows(*_GOOD),
    "crlf": _rows(*_GOOD).replace(b"\n", b"\r\n"), "cr": _rows(*_GOOD).replace(b"\n", b"\r"),
    "latin-1": b'{"text": "\xe9", "label": "a"}\n' * 30, "utf-16": _rows(*_GOOD).decode().encode("utf-16"),
    "quotes": b'text,label\n"a ""b"" \n c",x\n"unclosed,y\n',
    "a field of 150 kB": _rows({"text": "x" * 150_000, "label": "a"}, *_GOOD),
    "deep": b'{"text": ' + b"[" * 50_000 + b"\n", "surrogate": b'{"text": "\\ud800", "label": "a"}\n' * 30,
    "nul": b'{"text": "\\u0000", "label": "a"}\n' * 30,
    "the same text, two classes": _rows(*[{"text": "same", "label": own} for own in "ab" * 20]),
    "empty texts": _rows(*[{"text": "", "label": "a"}] * 30),
    "1:1000": _rows(*[{"text": f"r{place}", "label": "a"} for place in range(1000)], {"text": "x", "label": "b"}),
    "500 classes": _rows(*[{"text": f"r{place}", "label": str(place)} for place in range(500)]),
    "twice a key": b'{"text": "a", "text": "b", "label": "c"}\n' * 30,
    "features": _rows(*[{"features": [place, -place], "label": "ab"[place % 2]} for place in range(40)]),
    "ragged": _rows({"features": [1], "label": "a"}, {"features": [1, 2], "label": "b"}),
    "features of text": _rows(*[{"features": ["a"], "label": "a"}] * 30),
    "huge features": _rows(*[{"features": [1e308, -1e308], "label": own} for own in "ab" * 20]),
    "infinite features": b'{"features": [1e999], "label": "a"}\n' * 30,
    "no features": _rows(*[{"features": [], "label": "a"}] * 30),
    "a long label": _rows(*[{"text": "a", "label": "x" * 5000}] * 30),
    "markup label": _rows(*_GOOD, *[{"text": f"m{place}", "label": "<script>"} for place in range(20)]),
    "ids twice": _rows(*[{"id": 1, "text": f"r{place}", "label": "ab"[place % 2]} for place in range(40)]),
    "nuls": b"\0" * 1000, "gzip": b"\x1f\x8b\x08\0" + b"\xff" * 500,
    "many columns": b",".join(b"c%d" % place for place in range(5000)) + b"\n" + b"," * 4999 + b"\n",
    "text,label,text": b"text,label,text\n" + b"a,b,c\n" * 20,
}  # fmt: skip


def bad_forms(route):
    """Give forms that are none."""
    for name, data in FORMS.items():
        yield Case(f"{route}: {name}", request_bytes("POST", route.path, data, MULTIPART), BAD)
    for name, kind in KINDS.items():
        yield Case(f"{route}: {name}", request_bytes("POST", route.path, form(ROW), f"Content-Type: {kind}"), ANY)
    for name in NAMES:
        yield Case(f"{route}: called {name}", request_bytes("POST", route.path, form(ROW, name=name), MULTIPART), ANY)
    too_large = form(b"x" * (MAX_FILE_BYTES + 1))
    yield Case(f"{route}: a byte too many", request_bytes("POST", route.path, too_large, MULTIPART), frozenset({413}))


def upload(route, content):
    """Write a request that uploads a data set."""
    return request_bytes("POST", route.path, form(content), MULTIPART)
