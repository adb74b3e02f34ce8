"""Reading: what one writes comes back, and every bad line is named with its number, its field and a reason."""

import csv
import io
import json
import math
import re
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.finetuning.data.faults import DataError
from server.finetuning.data.reading import read_rows
from tests.finetuning.data.files import write

laws = settings(deadline=None, max_examples=50)  # a busy machine is no fault
texts = st.text(st.characters(codec="utf-8"), max_size=30).filter(str.strip)
labels = st.one_of(texts, st.integers(-(10**30), 10**30))
cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30).filter(str.strip)
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-(2**40), 2**40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


def bad(rows):
    return [(line.line, line.field, line.code) for line in rows.bad.shown]


@laws
@given(
    st.lists(st.tuples(texts, labels), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n", "\n\n", " \r\n\t\n"]),
    st.booleans(),
    st.booleans(),
)
def test_jsonl_comes_back_as_it_was_written(folder, rows, end, mark, escaped):
    lines = [json.dumps({"label": label, "text": text}, ensure_ascii=escaped) + end for text, label in rows]
    found = read_rows(write(folder, "rows", b"\xef\xbb\xbf" * mark + "".join(lines).encode()))
    assert (found.format, found.kind, bad(found)) == ("jsonl", "text", [])
    assert found.inputs == [text for text, _ in rows]
    assert found.labels == [str(label) for _, label in rows]
    assert list(found.lines) == [1 + place * end.count("\n") for place in range(len(rows))]


@laws
@given(
    st.lists(st.tuples(cells, cells), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_csv_comes_back_as_the_csv_module_writes_and_reads_it(folder, rows, end, mark, quoting, turned):
    """The module itself leaves a lone CR unquoted when lines end in LF, so such fields are all quoted."""
    quoting = csv.QUOTE_ALL if any("\r" in cell for row in rows for cell in row) else quoting
    written = io.StringIO()
    table = [("text", "label"), *rows]
    csv.writer(written, lineterminator=end, quoting=quoting).writerows(row[::-1] if turned else row for row in table)
    found = read_rows(write(folder, "rows", b"\xef\xbb\xbf" * mark + written.getvalue().encode()))
    expected = list(csv.reader(io.StringIO(written.getvalue(), newline="")))[1:]
    assert (found.format, bad(found)) == ("csv", [])
    assert [*zip(found.inputs, found.labels, strict=True)] == [tuple(row[::-1] if turned else row) for row in expected]
    assert found.inputs == [text for text, _ in rows]


@laws
@given(st.integers(1, 6), st.data())
def test_features_come_back_as_float32(folder, width, data):
    rows = data.draw(st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=1, max_size=6))
    expected = np.array(rows, np.float64).astype(np.float32)
    found = read_rows(write(folder, "rows", [{"features": row, "label": 1} for row in rows]))
    assert (found.kind, found.shape, bad(found)) == ("features", (width,), [])
    assert np.array_equal(found.inputs, expected)
    assert found.inputs.dtype == np.float32
    table = [",".join(["label", *(f"x{place}" for place in range(width))])]
    table += [",".join(["a", *map(repr, row)]) for row in rows]
    assert np.array_equal(read_rows(write(folder, "rows", "\n".join(table))).inputs, expected)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3), (1, 1, 1)])
def test_images_are_nested_lists(folder, shape):
    image = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    found = read_rows(write(folder, "rows", [{"features": (image + row).tolist(), "label": row} for row in range(3)]))
    assert found.shape == shape
    assert np.array_equal(found.inputs, np.stack([image, image + 1, image + 2]))


JSON_FAULTS = [
    ('{"text": "", "label": "a"}', "text", "empty_text", "empty"),
    ('{"text": " \\t\\n", "label": "a"}', "text", "empty_text", "empty"),
    ('{"text": "\\u00a0\\u2003", "label": "a"}', "text", "empty_text", "empty"),
    ('{"label": "a"}', "text", "missing_field", "text is missing"),
    ('{"text": "x"}', "label", "missing_field", "label is missing"),
    ('{"text": "x", "features": [1], "label": "a"}', "text", "missing_field", "both"),
    ('{"text": 5, "label": "a"}', "text", "wrong_type", "string"),
    ('{"text": null, "label": "a"}', "text", "wrong_type", "string"),
    ('{"text": "x", "label": null}', "label", "wrong_type", "integer"),
    ('{"text": "x", "label": true}', "label", "wrong_type", "integer"),
    ('{"text": "x", "label": 1.5}', "label", "wrong_type", "integer"),
    ('{"text": "x", "label": ["a"]}', "label", "wrong_type", "integer"),
    ('{"text": "x", "label": " "}', "label", "empty_label", "empty"),
    ('{"text": "x", "label": "' + "y" * 201 + '"}', "label", "too_long", "200"),
    ('{"text": "x", "label": 1' + "0" * 200 + "}", "label", "too_long", "200"),
    ('{"text": "' + "x" * 131_073 + '", "label": "a"}', "text", "too_long", "131,072"),
    ('{"text": "\\ud800", "label": "a"}', "text", "not_utf8", "UTF-8"),
    ('{"text": "x", "label": "\\udfff"}', "label", "not_utf8", "UTF-8"),
    ('{"text": "x", "text": "y", "label": "a"}', None, "repeated_key", "'text' is given more than once"),
    ('{"text": "x", "label": "a"', None, "not_json", "column 27"),
    ("{'text': 'x'}", None, "not_json", "column 2"),
    ('{"text": "x", "label": 1' + "0" * 5000 + "}", None, "not_json", "digits"),
    ("[" * 100_000, None, "not_json", "deep"),
    ('["x", "a"]', None, "not_an_object", "object"),
    ('"x"', None, "not_an_object", "object"),
    ("text,label", None, "not_json", "column 1"),
    ('{"features": [1], "label": "a"}', None, "mixed_rows", "first row has text"),
]
FEATURE_FAULTS = [
    ("[1, 2]", "wrong_shape", r"shape \[2\].*first row \[3\]"),
    ("[[1, 2, 3]]", "wrong_shape", r"shape \[1, 3\]"),
    ("[[1, 2], [3]]", "wrong_shape", "ragged"),
    ("[[1, 2], 3]", "wrong_shape", "ragged"),
    ("[]", "wrong_shape", "empty"),
    ("[[]]", "wrong_shape", "empty"),
    ("[[[[1]]]]", "wrong_shape", "deep"),
    ('[1, "2", 3]', "not_a_number", "string as number 2"),
    ("[1, 2, true]", "not_a_number", "true or false as number 3"),
    ("[null, 2, 3]", "not_a_number", "null as number 1"),
    ("[1, {}, 3]", "not_a_number", "object as number 2"),
    ("[1, [2], 3]", "not_a_number", "list as number 2"),
    ("[1, NaN, 3]", "not_finite", "number 2"),
    ("[1, 2, -Infinity]", "not_finite", "number 3"),
    ("[1e39, 2, 3]", "not_finite", "number 1"),
    ("[1, 1" + "0" * 400 + ", 3]", "not_finite", "number 2"),
    ("5", "wrong_type", "not a number"),
    ('"1,2,3"', "wrong_type", "not a string"),
]


def test_a_line_that_cannot_be_read_says_at_which_character(folder):
    cut, bytes_before = '{"text": "\u00e9" "label": 1}\n'.encode(), '{"text": "\u00e9 '.encode()
    found = read_rows(
        write(folder, "rows", b'{"text": "a", "label": 1}\n' + cut + bytes_before + b'\xe9"}\n{"text": ""}\n')
    )
    assert [line.column for line in found.bad.shown] == [14, 13, None]


@pytest.mark.parametrize(("line", "field", "code", "words"), JSON_FAULTS)
def test_a_bad_line_of_jsonl_is_named_and_the_others_are_read(folder, line, field, code, words):
    good = '{"text": "good", "label": "a"}\n'
    found = read_rows(write(folder, "rows", good + line + "\n" + good))
    assert bad(found) == [(2, field, code)]
    assert words in found.bad.shown[0].message
    assert len(found.bad.shown[0].message) < 200
    assert found.inputs == ["good", "good"]
    assert list(found.lines) == [1, 3]


@pytest.mark.parametrize(("features", "code", "words"), FEATURE_FAULTS)
def test_bad_features_are_named(folder, features, code, words):
    good = '{"features": [1, 2, 3], "label": "a"}\n'
    found = read_rows(write(folder, "rows", f'{good}{{"features": {features}, "label": "a"}}\n{good}'))
    assert bad(found) == [(2, "features", code)]
    assert re.search(words, found.bad.shown[0].message)
    assert len(found) == 2


CSV_FAULTS = [
    ("text,label\nx,a\nonly one\ny,b\n", 3, None, "wrong_columns", "1 fields and the header 2"),
    ("text,label\nx,a\none, two,b\ny,b\n", 3, None, "wrong_columns", "3 fields and the header 2"),
    ("text,label\nx,a\n ,b\ny,b\n", 3, "text", "empty_text", "empty"),
    ("text,label\nx,a\nz,\ny,b\n", 3, "label", "empty_label", "empty"),
    ('text,label\nx,a\n"z"z,a\ny,b\n', 3, None, "not_csv", "closing quote"),
    ("text,label\nx,a\nz\rz,a\ny,b\n", 3, None, "not_csv", "CR alone"),
    ('text,label\nx,a\ny,b\n"z,a\nw,b\n', 4, None, "not_csv", "left open"),
    ("x,label\n1,a\ntwo,b\n2,b\n", 3, "x", "not_a_number", "'x' is not a number"),
    ("x,label\n1,a\n,b\n2,b\n", 3, "x", "not_a_number", "is empty"),
    ("x,label\n1,a\n1_000,b\n2,b\n", 3, "x", "not_a_number", "is not a number"),
    ("x,y,label\n1,1,a\n1,nan,b\n2,2,b\n", 3, "y", "not_finite", "'y'"),
    ("x,y,label\n1,1,a\n-inf,1,b\n2,2,b\n", 3, "x", "not_finite", "'x'"),
    ("x,y,label\n1,1,a\n1,1e39,b\n2,2,b\n", 3, "y", "not_finite", "3.4e38"),
]


@pytest.mark.parametrize(("table", "line", "field", "code", "words"), CSV_FAULTS)
def test_a_bad_line_of_csv_is_named_and_the_others_are_read(folder, table, line, field, code, words):
    found = read_rows(write(folder, "rows", table))
    assert bad(found) == [(line, field, code)]
    assert words in found.bad.shown[0].message
    assert len(found) == 2


def test_a_record_over_several_lines_is_called_by_its_first(folder):
    found = read_rows(write(folder, "rows", 'text,label\r\n"a\r\nb",x\r\n"c\r\nd\r\ne",\r\n\r\nlast,x\r\n'))
    assert found.inputs == ["a\r\nb", "last"]
    assert list(found.lines) == [2, 8]
    assert bad(found) == [(4, "label", "empty_label")]


def test_what_is_not_utf8_spoils_its_own_row_alone(folder):
    found = read_rows(write(folder, "rows", b'{"text": "a", "label": 1}\n{"text": "\xe9t\xe9", "label": 1}\n'))
    assert bad(found) == [(2, None, "not_utf8")]
    assert "byte 11" in found.bad.shown[0].message
    assert found.bad.shown[0].column == 11
    found = read_rows(write(folder, "rows", b"text,label\n\xe9t\xe9,a\nete,b\xff\nok,a\n"))
    assert bad(found) == [(2, "text", "not_utf8"), (3, "label", "not_utf8")]
    assert found.inputs == ["ok"]


def test_the_first_fifty_bad_lines_are_shown_and_all_are_counted(folder):
    lines = ['{"text": "x", "label": "a"}', *['{"text": "", "label": "a"}'] * 70, *["nope"] * 7]
    found = read_rows(write(folder, "rows", "\n".join(lines)))
    assert [line.line for line in found.bad.shown] == list(range(2, 52))
    assert found.bad.counts == {"empty_text": 70, "not_json": 7}
    assert found.bad.total == 77


def test_a_quote_that_is_never_closed_ends_the_reading(folder):
    rest = "long text without an end, b\n" * 6_000
    found = read_rows(write(folder, "rows", f'text,label\nx,a\n"{rest}'))
    assert bad(found) == [(3, None, "too_long")]
    assert "reading ended here" in found.bad.shown[0].message


def test_a_line_without_end_is_skipped_and_not_held(folder):
    path = folder / "long"
    with path.open("wb") as file:
        file.write(b'{"text": "x", "label": "a"}\n{"text": "')
        for _ in range(40):
            file.write(b"x" * 2**20)
        file.write(b'", "label": "a"}\n{"text": "y", "label": "a"}\n')
    tracemalloc.start()
    found = read_rows(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bad(found) == [(2, None, "too_long")]
    assert found.inputs == ["x", "y"]
    assert peak < 30e6  # two copies of 8 MiB, and the reader's buffers


def test_a_big_file_takes_no_more_memory_than_its_rows(folder):
    """20 MB of numbers as text are 3.6 MB of float32; the file as a whole would not fit into the bound."""
    path, row = folder / "big", ", ".join(["0.123456789012345678"] * 200)
    with path.open("w") as file:
        file.writelines(f'{{"features": [{row}], "label": {place % 3}}}\n' for place in range(4_500))
    assert path.stat().st_size > 19e6
    tracemalloc.start()
    found = read_rows(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.inputs.shape == (4_500, 200)
    assert peak < 10e6


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "no_rows", "no rows"),
        (b"\xef\xbb\xbf", "no_rows", "no rows"),
        (b" \r\n\n\t", "no_rows", "no rows"),
        ('{"text": "a"}'.encode("utf-16"), "unknown_format", "UTF-16"),
        ('{"text": "a"}'.encode("utf-16-le"), "unknown_format", "UTF-16"),
        ("text,label".encode("utf-32"), "unknown_format", "UTF-32"),
        (b"PK\x03\x04rest", "unknown_format", "workbook"),
        (b"\x1f\x8brest", "unknown_format", "gzip"),
        (b"PAR1rest", "unknown_format", "Parquet"),
        (b'[{"text": "a", "label": 1}]', "unknown_format", "one object a line"),
        (b"text;label\na;b\n", "missing_column", "instead of semicolons"),
        (b"text\tlabel\na\tb\n", "missing_column", "instead of tabs"),
        (b"hello,world\nx,a\n", "missing_column", "no column label"),
        (b"Text,label\nx,a\n", "missing_column", "text, in small letters"),
        (b"text,LABEL\nx,a\n", "missing_column", "label, in small letters"),
        (b"label\na\n", "missing_column", "only column"),
        (b"x,label,x\n1,a,2\n", "repeated_column", "twice"),
        (b"\xff\xe9,label\n1,a\n", "not_utf8", "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_at_all(folder, content, code, words):
    with pytest.raises(DataError) as raised:
        read_rows(write(folder, "rows", content))
    assert raised.value.code == code
    assert words in raised.value.message


def test_columns_without_a_use_are_named(folder):
    assert read_rows(write(folder, "rows", "id,text,label\n1,x,a\n")).ignored == {"id"}
    assert read_rows(write(folder, "rows", [{"id": 1, "text": "x", "label": "a"}])).ignored == {"id"}


def test_too_many_rows(folder, monkeypatch):
    monkeypatch.setattr("server.finetuning.data.rows.MOST_ROWS", 3)
    rows = [{"text": "x", "label": "a"}] * 3
    assert len(read_rows(write(folder, "rows", rows))) == 3
    with pytest.raises(DataError, match="more than 3 rows"):
        read_rows(write(folder, "rows", rows * 2))


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(DataError, match="upload it again"):
        read_rows(tmp_path / "gone")


@laws
@given(st.binary(max_size=80) | st.text('{}[]",:\\textlabl\n\r 1.e', max_size=80).map(str.encode))
def test_no_bytes_at_all_make_the_reader_fail(folder, content):
    with suppress(DataError):
        rows = read_rows(write(folder, "rows", content))
        assert len(rows) == len(rows.lines) == len(rows.inputs)
