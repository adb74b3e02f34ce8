"""/v1/files: what goes up comes down, forms that are none are refused, and nothing half-written stays."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.files.store import FileStore, Incoming
from server.jobs.errors import DiskFullError
from tests.fakes import FakeBackend

ROOT = Path(__file__).parents[2]
HALF = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf'
ROWS = b'{"text": "good", "label": "praise"}\n{"text": "bad", "label": "complaint"}\n'


@pytest.fixture
def client(serve):
    return serve(FakeBackend())


def upload(client, content=ROWS, name="train.jsonl", **fields):
    return client.post("/v1/files", files={"file": (name, content)}, data={"purpose": "fine-tune"} | fields)


def refused(response, status=400):
    assert response.status_code == status, response.text
    return response.json()["error"]


def folders(settings):
    return sorted(path.name for path in (settings.data_dir / "files").iterdir())


def test_what_goes_up_comes_down(client):
    answer = upload(client)
    assert answer.status_code == 200, answer.text
    file = answer.json()
    assert (file["object"], file["bytes"], file["filename"]) == ("file", len(ROWS), "train.jsonl")
    assert (file["purpose"], file["status"]) == ("fine-tune", "processed")
    assert client.get(f"/v1/files/{file['id']}").json() == file
    content = client.get(f"/v1/files/{file['id']}/content")
    assert content.content == ROWS
    assert 'filename="train.jsonl"' in content.headers["content-disposition"]
    assert client.delete(f"/v1/files/{file['id']}").json() == {"id": file["id"], "object": "file", "deleted": True}
    assert refused(client.get(f"/v1/files/{file['id']}"), 404)["param"] == "file_id"
    assert refused(client.delete(f"/v1/files/{file['id']}"), 404)


def test_every_byte_survives(client):
    content = bytes(range(256)) * 100 + b"\r\n--almost\r\n" * 50
    file = upload(client, content).json()
    assert client.get(f"/v1/files/{file['id']}/content").content == content


def test_the_list_comes_in_pages(client):
    ids = [upload(client, name=f"{number}.jsonl").json()["id"] for number in range(3)]
    first = client.get("/v1/files?limit=2").json()
    assert [file["id"] for file in first["data"]] == [ids[2], ids[1]]
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, ids[2], ids[1])
    second = client.get(f"/v1/files?limit=2&after={ids[1]}").json()
    assert ([file["id"] for file in second["data"]], second["has_more"]) == ([ids[0]], False)
    assert [file["id"] for file in client.get("/v1/files?order=asc").json()["data"]] == ids
    assert client.get("/v1/files?purpose=vision").json()["data"] == []
    assert refused(client.get("/v1/files?after=file-unknown"), 404)["param"] == "after"


def test_a_name_is_shown_and_never_a_path(client, settings):
    assert upload(client, name="../../etc/passwd").json()["filename"] == "passwd"
    assert upload(client, name="C:\\data\\träin.csv").json()["filename"] == "träin.csv"
    assert all(name.startswith("file-") for name in folders(settings))


@pytest.mark.parametrize("file_id", ["..", "file-..", "%2e%2e", "file-" + "0" * 24, "file-" + "g" * 24])
def test_an_id_that_is_none_is_not_found(client, file_id):
    assert client.get(f"/v1/files/{file_id}/content").status_code == 404


@pytest.mark.parametrize(
    ("form", "said", "param"),
    [
        ({"data": {"purpose": "fine-tune"}, "files": {"other": ("a", b"x")}}, "neither file nor purpose", None),
        ({"files": {"file": ("a", b"x")}}, "purpose must be fine-tune", "purpose"),
        ({"data": {"purpose": "vision"}, "files": {"file": ("a", b"x")}}, "purpose must be fine-tune", "purpose"),
        ({"data": {"purpose": "x" * 2000}, "files": {"file": ("a", b"x")}}, "purpose is too long", "purpose"),
        ({"data": {"purpose": "fine-tune"}, "files": {"file": ("a", b"")}}, "file is empty", "file"),
        ({"data": {"purpose": "fine-tune"}, "files": {"file": ("a" * 300, b"x")}}, "1 to 255", "file"),
        ({"data": {"purpose": "fine-tune"}, "files": [("file", ("a", b"x"))] * 2}, "file is given twice", "file"),
        ({"data": {"expires_after[seconds]": "5"}, "files": {"file": ("a", b"x")}}, "leave it out", None),
        ({"data": {"purpose": "fine-tune"}}, "form", None),
    ],
)  # fmt: skip
def test_a_wrong_form_is_refused_by_name_and_leaves_nothing(client, settings, form, said, param):
    response = client.post("/v1/files", **form)
    error = refused(response, 415 if "files" not in form else 400)
    assert said in error["message"]
    assert error["param"] == param
    assert folders(settings) == []


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"--x--", 400),
        ("multipart/form-data; boundary=x", b"", 400),
        ("multipart/form-data; boundary=x", b"no form at all", 400),
        ("multipart/form-data; boundary=x", HALF, 400),
        ("multipart/form-data; boundary=" + "x" * 300, b"--x--", 400),
    ],
)  # fmt: skip
def test_a_body_that_is_no_form_is_refused(client, settings, content_type, body, status):
    refused(client.post("/v1/files", content=body, headers={"content-type": content_type}), status)
    assert folders(settings) == []


def test_a_file_over_the_limit_is_refused_and_one_over_the_limit_of_bodies_is_not(serve, settings):
    object.__setattr__(settings, "max_file_bytes", 100_000)
    client = serve(FakeBackend())
    assert settings.max_body_bytes < 90_000
    assert upload(client, b"x" * 90_000).status_code == 200
    assert "100000 bytes" in refused(upload(client, b"x" * 100_001), 413)["message"]
    assert refused(upload(client, b"x" * 300_000), 413)["code"] == "body_too_large"
    assert len(folders(settings)) == 1


def test_a_full_disk_is_said_and_nothing_stays(client, settings, monkeypatch):
    def full(self, data):
        raise DiskFullError("files cannot be written: its disk is full")

    monkeypatch.setattr(Incoming, "write", full)
    assert refused(upload(client), 503)["code"] == "disk_full"
    assert folders(settings) == []


def test_a_disk_that_fills_up_at_the_last_moment_leaves_nothing(tmp_path, monkeypatch):
    store = FileStore.open(tmp_path)
    incoming = store.receive()
    incoming.write(ROWS)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError):
        incoming.publish("a", "fine-tune")
    incoming.discard()
    assert list((tmp_path / "files").iterdir()) == []


def test_what_a_dead_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from server.files.store import FileStore\n"
        "incoming = FileStore.open(Path(sys.argv[1])).receive(); incoming.write(b'half')\n"
        "print('written', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "written\n"
        FileStore.open(tmp_path)
        assert len(list((tmp_path / "files").iterdir())) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert FileStore.open(tmp_path).list() == []
    assert list((tmp_path / "files").iterdir()) == []


def test_a_folder_that_cannot_be_used_fails_files_alone(serve, settings):
    settings.data_dir.mkdir()
    (settings.data_dir / "files").write_text("no folder")
    client = serve(FakeBackend())
    assert client.post("/generate", json={"prompt": "hello"}).status_code == 200
    assert refused(client.get("/v1/files"), 503)["code"] == "storage_error"


def test_damaged_notes_about_a_file_are_left_out(client, settings):
    kept, damaged = upload(client).json(), upload(client).json()
    (settings.data_dir / "files" / damaged["id"] / "file.json").write_text("{")
    assert [file["id"] for file in client.get("/v1/files").json()["data"]] == [kept["id"]]
    assert client.get(f"/v1/files/{damaged['id']}").status_code == 404


@pytest.mark.parametrize(
    "given", ["bytes=0-3", "bytes=9999-", "bytes=5-2", "lines=1", "", "0", "bytes=" + "0-1," * 500]
)
def test_a_file_comes_whole_whatever_part_is_asked_for(client, given):
    file_id = upload(client).json()["id"]
    for path in (f"/v1/files/{file_id}/content", "/", "/web/main.js"):
        answer = client.get(path, headers={"range": given})
        assert answer.status_code == 200
        assert answer.content == client.get(path).content
        assert answer.headers["accept-ranges"] == "none"


def test_a_file_that_is_a_link_is_none(client, settings, tmp_path):
    """Nothing that the server writes is a link; one may lead out of the data directory."""
    (tmp_path / "secret").write_text("secret")
    file_id = upload(client).json()["id"]
    content = settings.data_dir / "files" / file_id / "content"
    content.unlink()
    content.symlink_to(tmp_path / "secret")
    assert client.get(f"/v1/files/{file_id}/content").status_code == 404
    assert client.get("/v1/files").json()["data"] == []
