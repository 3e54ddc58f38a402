"""Settings: flags win over the environment, that over the file, that over defaults; each wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

import seatrial as st
from seatrial_serve.settings import Settings, load_settings


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "seatrial.toml"
    config.write_text('http_port = 1111\nmetrics_port = 1112\nhost = "::1"\n')
    monkeypatch.setenv("SEATRIAL_METRICS_PORT", "2222")
    monkeypatch.setenv("SEATRIAL_HOST", "127.0.0.2")
    settings = load_settings(config, host="127.0.0.3")
    assert (settings.http_port, settings.metrics_port, settings.host, settings.grace_s) == (
        1111,
        2222,
        "127.0.0.3",
        30.0,
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"http_port": 70000}, "setting 'http_port': got 70000"),
        ({"versions": "some"}, "setting 'versions': got 'some'"),
        ({"htp_port": 1}, "an unknown name"),
        ({"devices": "0,x"}, "setting 'devices': got 'x'"),
        ({"devices": (0, 0)}, "setting 'devices': got (0, 0), want numbers from 0 on, each once"),
        ({"devices": (-1,)}, "each once: 0,1"),
        ({"provider_options": "trt_fp16_enable"}, "want name=value, such as trt_fp16_enable=1"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_got(flags: dict[str, object], words: str) -> None:
    with pytest.raises(st.DeclarationError) as refused:
        load_settings(None, **flags)
    assert words in str(refused.value)


def test_a_wrong_environment_or_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEATRIAL_THREADS", "many")
    with pytest.raises(st.DeclarationError, match="setting 'threads'"):
        load_settings()
    monkeypatch.delenv("SEATRIAL_THREADS")
    (tmp_path / "bad.toml").write_text("http_port =")
    for path, words in ((tmp_path / "bad.toml", "want TOML"), (tmp_path / "none.toml", "No such file")):
        with pytest.raises(st.DeclarationError, match=words):
            load_settings(path)


def test_lists_are_written_with_commas_in_flags_and_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEATRIAL_PROVIDERS", "TensorrtExecutionProvider, CUDAExecutionProvider")
    monkeypatch.setenv("SEATRIAL_DEVICES", "1,0")
    settings = load_settings(provider_options=("trt_fp16_enable=1", "trt_profile_min_shapes=x:1x3", "y:1x4"))
    assert settings.providers == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert settings.devices == (1, 0)
    assert settings.provider_option_pairs == (("trt_fp16_enable", "1"), ("trt_profile_min_shapes", "x:1x3,y:1x4"))


def test_every_setting_has_a_sentence_of_advice() -> None:
    assert all(field.description and field.description.endswith(".") for field in Settings.model_fields.values())
