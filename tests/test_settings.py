import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from server.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for variable in os.environ:
        if variable.upper().startswith(("KELVIN_", "XDG_")):
            monkeypatch.delenv(variable)


def test_defaults_serve_the_built_in_model_to_this_machine_alone():
    settings = Settings()
    assert (settings.host, settings.port, settings.models) == ("127.0.0.1", 8000, ("smollm2",))
    assert (settings.framework, settings.dtype, settings.device, settings.compile) == ("torch", "auto", "auto", True)
    assert (settings.slots, settings.max_length, settings.queue_limit, settings.threads) == (32, 2048, 256, 0)
    assert (settings.api_keys_file, settings.insecure) == (None, False)
    assert (settings.max_body_bytes, settings.max_timeout_s) == (2 * 1024 * 1024, 600.0)


def test_every_field_is_described():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 9000


def test_a_keyword_wins_over_the_environment_and_that_over_the_default(monkeypatch):
    monkeypatch.setenv("KELVIN_PORT", "9000")
    monkeypatch.setenv("KELVIN_SLOTS", "4")
    settings = load_settings(port=9001, slots=None)
    assert (settings.port, settings.slots, settings.queue_limit) == (9001, 4, 256)


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("KELVIN_PORT", "")
    monkeypatch.setenv("KELVIN_MODELS_DIR", "")
    settings = load_settings()
    assert settings.port == 8000
    assert settings.models_dir == Path.home() / ".local/share/kelvin/models"


def test_models_are_split_at_commas(monkeypatch):
    monkeypatch.setenv("KELVIN_MODELS", "smollm2, mine=/srv/a@tensorflow ,")
    assert load_settings().models == ("smollm2", "mine=/srv/a@tensorflow")
    assert load_settings(models=["other"]).models == ("other",)


def test_folders_follow_the_xdg_base_directories(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/counts/as/unset")
    settings = load_settings()
    assert settings.data_dir == tmp_path / "share" / "kelvin"
    assert settings.models_dir == tmp_path / "share" / "kelvin" / "models"
    assert settings.cache_dir == Path.home() / ".cache" / "kelvin"


def test_folders_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = load_settings(models_dir="~/models", data_dir="state")
    assert settings.models_dir == Path.home() / "models"
    assert settings.data_dir == tmp_path / "state"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 0),
        ("port", 65536),
        ("port", "http"),
        ("models", ","),
        ("framework", "jax"),
        ("dtype", "float16"),
        ("device", "tpu"),
        ("device", "cuda:"),
        ("slots", 0),
        ("slots", 2.5),
        ("max_length", 1),
        ("queue_limit", 0),
        ("threads", -1),
        ("log_level", "loud"),
        ("max_body_bytes", 0),
        ("max_timeout_s", 0),
        ("max_timeout_s", "nan"),
        ("max_timeout_s", "inf"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_variable(field, value):
    with pytest.raises(SettingsError) as refusal:
        load_settings(**{field: value})
    assert str(refusal.value).startswith(f"{field} (KELVIN_{field.upper()}) is {value!r}: ")


def test_all_bad_values_are_named_at_once():
    with pytest.raises(SettingsError, match=r"port \(KELVIN_PORT\).*; slots \(KELVIN_SLOTS\)"):
        load_settings(port=0, slots=0)


@pytest.mark.parametrize(
    ("misspelt", "remedy"),
    [
        ("KELVIN_PROT", "did you mean KELVIN_PORT?"),
        ("KELVIN_MODEL", "did you mean KELVIN_MODELS?"),
        ("kelvin_max_body", "did you mean KELVIN_MAX_BODY_BYTES?"),
        ("KELVIN_ZZZ", "docs/settings.md lists the settings"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_name(monkeypatch, misspelt, remedy):
    monkeypatch.setenv(misspelt, "1")
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert str(refusal.value).startswith(f"{misspelt.upper()} is no setting; ")
    assert remedy in str(refusal.value)


def test_an_unknown_keyword_is_refused():
    with pytest.raises(SettingsError, match="prot"):
        load_settings(prot=8000)


def test_variables_of_others_are_left_alone(monkeypatch):
    monkeypatch.setenv("MYKELVIN_PORT", "1")
    monkeypatch.setenv("PORT", "1")
    assert load_settings().port == 8000
