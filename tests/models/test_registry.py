import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from server.errors import InvalidRequestError, ModelError, NotFoundError
from server.models.publish import published_folder
from server.models.registry import Registry, parse_model_ref


@pytest.fixture
def root(tmp_path: Path, llama_folder: Path) -> Path:
    """Make a models root with one model, `tiny`."""
    root = tmp_path / "root"
    shutil.copytree(llama_folder, root / "tiny")
    return root


@pytest.fixture
def gguf_file(tmp_path: Path, make_llama: Any, write_gguf: Any, bpe: tokenizers.Tokenizer) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", make_llama(vocab_size=bpe.get_vocab_size()))


def test_a_name_is_a_folder_of_the_root(root: Path):
    assert Registry(root).locate(parse_model_ref("tiny")) == root / "tiny"
    assert Registry(root).path("tiny") == root / "tiny"


def test_a_path_is_used_as_it_is(root: Path, llama_folder: Path):
    assert Registry(root).locate(parse_model_ref(f"mine={llama_folder}@torch")) == llama_folder


def test_a_path_that_is_the_name_of_a_model_is_that_model(root: Path):
    assert Registry(root).locate(parse_model_ref("other=tiny@tensorflow")) == root / "tiny"


def test_an_unknown_name_is_not_found_and_the_remedies_are_named(root: Path):
    for name in ("absent", "org/absent"):
        with pytest.raises(NotFoundError, match=r"built in: smollm2.*kelvin models pull.*NAME=PATH") as caught:
            Registry(root).locate(parse_model_ref(name))
        assert caught.value.param == "model"


def test_an_unknown_built_in_is_not_pulled(tmp_path: Path):
    with pytest.raises(NotFoundError, match="no built-in model 'absent'; built in: smollm2"):
        Registry(tmp_path / "root").pull("absent")


def test_a_root_that_is_not_there_yet_is_empty(tmp_path: Path):
    assert Registry(tmp_path / "absent").list() == []
    with pytest.raises(NotFoundError):
        Registry(tmp_path / "absent").path("smollm2")


@pytest.mark.parametrize("name", ["..", "../root/tiny", "/etc", ".converted", "a/../..", ""])
def test_a_name_cannot_leave_the_root(root: Path, name: str):
    for act in (Registry(root).path, Registry(root).pull):
        with pytest.raises(InvalidRequestError, match="is not allowed"):
            act(name)


def test_a_link_out_of_the_root_is_refused_and_one_inside_is_not(root: Path, llama_folder: Path):
    (root / "out").symlink_to(llama_folder)
    (root / "in").symlink_to(root / "tiny")
    with pytest.raises(ModelError, match=r"link that leads out of the models folder.*NAME=PATH"):
        Registry(root).locate(parse_model_ref("out"))
    assert Registry(root).locate(parse_model_ref("in")) == root / "in"


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("config.json", r"config\.json is missing"),
        ("tokenizer.json", r"tokenizer\.json is missing.*save_pretrained"),
        ("model.safetensors", "no weights"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused(root: Path, remove: str, message: str):
    (root / "tiny" / remove).unlink()
    with pytest.raises(ModelError, match=message):
        Registry(root).locate(parse_model_ref("tiny"))


def test_a_folder_around_a_gguf_file_is_refused_with_a_hint(root: Path, gguf_file: Path):
    with pytest.raises(ModelError, match=r"to use tiny\.gguf, name that file"):
        Registry(root).locate(parse_model_ref(f"mine={gguf_file.parent}"))


def test_a_path_that_is_nothing_is_refused(root: Path, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no model")
    for path in (tmp_path / "absent", tmp_path / "absent.gguf", tmp_path / "notes.txt"):
        with pytest.raises(ModelError, match=r"neither a model folder nor a \.gguf file"):
            Registry(root).locate(parse_model_ref(f"mine={path}"))


def test_a_gguf_file_is_converted_once_until_it_changes(root: Path, gguf_file: Path):
    told: list[str] = []
    registry, ref = Registry(root), parse_model_ref(f"mine={gguf_file}")
    first = registry.locate(ref, lambda what, fraction: told.append(what))
    assert first.is_relative_to(root)
    assert set(told) == {"converting weights"}
    told.clear()
    assert registry.locate(ref, lambda what, fraction: told.append(what)) == first
    assert told == []
    os.utime(gguf_file, ns=(1, 1))
    assert registry.locate(ref) != first


def test_the_list_has_sizes_and_sources_and_no_conversions(root: Path, gguf_file: Path, llama_folder: Path):
    Registry(root).locate(parse_model_ref(f"mine={gguf_file}"))
    shutil.copytree(llama_folder, root / "org" / "name")
    (root / "org" / "name" / "kelvin.json").write_text('{"source": "hub: org/name"}')
    (root / "notes").mkdir()
    entries = Registry(root).list()
    assert [(entry.name, entry.source) for entry in entries] == [("org/name", "hub: org/name"), ("tiny", "folder")]
    assert entries[1].path == root / "tiny"
    assert entries[1].size_bytes == sum(path.stat().st_size for path in (root / "tiny").iterdir())


def test_offline_the_hub_is_refused_with_the_remedies(tmp_path: Path):
    with pytest.raises(ModelError, match=r"org/name cannot be pulled from the hub.*NAME=PATH.*package registry"):
        Registry(tmp_path / "root").pull("org/name")
    assert list((tmp_path / "root" / "org").iterdir()) == []


class FakeHub:
    """Stands in for `huggingface_hub.snapshot_download`, whose selection of files is the real one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[list[str]] = []

    def __call__(self, hub_id: str, *, local_dir: Path, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        from huggingface_hub.utils import filter_repo_objects

        names = [path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()]
        chosen = sorted(filter_repo_objects(names, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns))
        self.asked.append(chosen)
        for name in chosen:
            shutil.copy(self.folder / name, local_dir)
        (local_dir / ".cache" / "huggingface").mkdir(parents=True, exist_ok=True)
        return str(local_dir)


@pytest.fixture
def hub(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    (llama_folder / "original").mkdir()
    for name in ("pytorch_model.bin", "modeling.py", "original/consolidated.safetensors"):
        (llama_folder / name).write_text("not to be downloaded")
    hub = FakeHub(llama_folder)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    return hub


def test_a_pull_takes_no_pickles_and_no_code(tmp_path: Path, hub: FakeHub):
    registry = Registry(tmp_path / "root")
    folder = registry.pull("org/name")
    assert folder == tmp_path / "root" / "org" / "name"
    files = {path.name for path in folder.iterdir()}
    assert files == {"config.json", "generation_config.json", "kelvin.json", "model.safetensors", "tokenizer.json"}
    assert [entry.source for entry in registry.list()] == ["hub: org/name"]
    assert registry.locate(parse_model_ref("org/name")) == folder
    assert registry.pull("org/name") == folder
    assert len(hub.asked) == 2


def test_a_model_that_is_not_supported_is_refused_before_its_weights_are_downloaded(tmp_path: Path, hub: FakeHub):
    (hub.folder / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(ModelError, match="model_type 'mamba' is not supported"):
        Registry(tmp_path / "root").pull("org/name")
    assert hub.asked == [["config.json", "generation_config.json"]]
    assert list((tmp_path / "root" / "org").iterdir()) == []


def test_a_repository_without_safetensors_is_refused(tmp_path: Path, hub: FakeHub):
    (hub.folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights; supported"):
        Registry(tmp_path / "root").pull("org/name")
    assert Registry(tmp_path / "root").list() == []


def test_the_loser_of_a_race_uses_the_winners_folder(tmp_path: Path):
    target = tmp_path / "target"
    with published_folder(target) as slow:
        (slow / "who").write_text("slow")
        with published_folder(target) as fast:
            (fast / "who").write_text("fast")
    assert (target / "who").read_text() == "fast"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path: Path, failure: type[BaseException]):
    def fail_half_way() -> None:
        with published_folder(tmp_path / "target") as folder:
            (folder / "half").write_text("half")
            raise failure

    with pytest.raises(failure):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(ModelError, match=r"file/target cannot be written: File exists"),
        published_folder(tmp_path / "file" / "target"),
    ):
        pass


def test_a_published_folder_is_as_open_as_any(tmp_path: Path):
    (tmp_path / "usual").mkdir()
    with published_folder(tmp_path / "target"):
        pass
    assert (tmp_path / "target").stat().st_mode == (tmp_path / "usual").stat().st_mode
