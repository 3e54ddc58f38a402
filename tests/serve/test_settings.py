"""Settings: flags win over the environment, that over the file, that over defaults.

Each wrong one is named.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import seatrial as st
from seatrial_serve.settings import Settings, ignored_variables, load_settings


def test_flags_win_over_environment_over_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        ({"http_port": 70000}, "setting 'http_port': got 70000, want at most 65535"),
        ({"versions": "some"}, "setting 'versions': got 'some', want 'latest' or 'all'"),
        (
            {"model_memory_bytes": 1000},
            "setting 'model_memory_bytes': got 1000, want at least 1048576 bytes",
        ),
        ({"request_timeout_s": 9999}, "got 9999, want at most 3600 s"),
        ({"client_share": 0}, "setting 'client_share': got 0, want more than 0"),
        ({"body_bytes_per_s": -1}, "got -1, want at least 0 bytes per s"),
        ({"workers": "many"}, "got 'many', want a valid integer"),
        (
            {"htp_port": 1},
            (
                "setting 'htp_port': got an unknown name, want a setting of seatrial serve; "
                "did you mean http_port?"
            ),
        ),
        ({"quux": 1}, "got an unknown name, want one of bundles, versions, "),
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


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            {"live_parity_violations": 6, "live_parity_window": 5},
            (
                "settings 'live_parity_violations' and 'live_parity_window': "
                "got 6 wrong answers of the last 5, want at most"
            ),
        ),
        ({"workers": 2, "admin": True}, "settings 'workers' and 'admin': got both"),
        (
            {"workers": 2, "feedback_answers": 9},
            "settings 'workers' and 'feedback_answers': got both",
        ),
        (
            {"max_wait_s": 2, "request_timeout_s": 1},
            "settings 'max_wait_s' and 'request_timeout_s': got 2 s of 1 s",
        ),
        (
            {"keep_failures_plain": True},
            "settings 'keep_failures_plain' and 'keep_failures': got the first alone",
        ),
        (
            {
                "keep_failures": Path("kept"),
                "keep_failures_key": "age1",
                "keep_failures_plain": True,
            },
            "settings 'keep_failures_key' and 'keep_failures_plain': got both",
        ),
        (
            {"devices": "0"},
            "settings 'devices' and 'providers': got no card among CPUExecutionProvider",
        ),
        ({"cuda_graphs": True}, "settings 'cuda_graphs' and 'providers'"),
        (
            {"allow_rollback": True},
            "settings 'allow_rollback' and 'require_signature': got the first alone",
        ),
        (
            {"http_port": 9000, "metrics_port": 9000},
            "settings 'http_port' and 'metrics_port': got 9000 for both",
        ),
        ({"grpc_port": 8002}, "settings 'grpc_port' and 'metrics_port': got 8002 for both"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_by_their_names(
    flags: dict[str, Any], words: str
) -> None:
    with pytest.raises(st.DeclarationError) as refused:
        load_settings(None, **flags)
    assert words in str(refused.value)


def test_settings_that_would_contradict_each_other_but_for_one_that_is_off_are_taken() -> None:
    load_settings(live_parity_per_s=0.0, live_parity_violations=6, live_parity_window=5)
    load_settings(grpc=False, grpc_port=8002, http_port=0)
    load_settings(http_port=0, grpc_port=0, metrics_port=0)
    load_settings(devices="0,1", providers="CUDAExecutionProvider,CPUExecutionProvider")


SERVICES = {
    "SEATRIAL_METRICS_PORT": "tcp://10.96.0.7:8002",
    "SEATRIAL_METRICS_SERVICE_HOST": "10.96.0.7",
    "SEATRIAL_METRICS_SERVICE_PORT": "8002",
    "SEATRIAL_METRICS_SERVICE_PORT_SCRAPE": "8002",
    "SEATRIAL_METRICS_PORT_8002_TCP": "tcp://10.96.0.7:8002",
    "SEATRIAL_METRICS_PORT_8002_TCP_PROTO": "tcp",
    "SEATRIAL_METRICS_PORT_8002_TCP_PORT": "8002",
    "SEATRIAL_METRICS_PORT_8002_TCP_ADDR": "10.96.0.7",
    "SEATRIAL_PORT": "udp://10.96.0.8:80",
    "SEATRIAL_SERVICE_HOST": "10.96.0.8",
    "SEATRIAL_SERVICE_PORT": "80",
    "SEATRIAL_PORT_80_UDP": "udp://10.96.0.8:80",
}
"""What a pod finds in its environment beside Services named seatrial-metrics and seatrial."""


def test_variables_that_kubernetes_sets_for_a_service_are_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SERVICES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SEATRIAL_HTTP_PORT", "1111")
    (tmp_path / "seatrial.toml").write_text("metrics_port = 1112")
    settings = load_settings(tmp_path / "seatrial.toml")
    assert (settings.http_port, settings.metrics_port) == (1111, 1112)
    assert ignored_variables(os.environ) == sorted(SERVICES)


def test_a_misspelt_prefix_is_refused_if_a_setting_stands_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEATRIALS_HOME", "no setting's name")
    monkeypatch.setenv("TRIAL_HTTP_PORT", "of another program")
    load_settings()
    monkeypatch.setenv("SEATRAIL_HTTP_PORT", "1111")
    with pytest.raises(st.DeclarationError, match="did you mean SEATRIAL_HTTP_PORT"):
        load_settings()


def test_a_misspelt_variable_is_refused_with_the_name_it_was_probably_meant_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEATRIAL_HTP_PORT", "1111")
    with pytest.raises(st.DeclarationError) as refused:
        load_settings()
    said = str(refused.value)
    assert said.startswith(
        "environment variable 'SEATRIAL_HTP_PORT': got an unknown name, want a setting"
    )
    assert said.endswith("; did you mean SEATRIAL_HTTP_PORT?")


def test_a_variable_in_lower_case_wins_over_the_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("seatrial_http_port", "1111")
    (tmp_path / "seatrial.toml").write_text("http_port = 1112")
    assert load_settings(tmp_path / "seatrial.toml").http_port == 1111


def test_a_settings_file_that_is_no_plain_file_of_usual_size_is_refused_without_waiting(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * (2**20 + 1))
    (tmp_path / "deep").write_text("a = " + "[" * 100_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, words in (
        ("pipe", "no plain file"),
        ("large", "more than the 1048576"),
        ("deep", "TOML"),
        ("binary", "TOML"),
    ):
        with pytest.raises(st.DeclarationError, match=words):
            load_settings(tmp_path / name)


def test_a_wrong_environment_or_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEATRIAL_THREADS", "many")
    with pytest.raises(st.DeclarationError, match="setting 'threads'"):
        load_settings()
    monkeypatch.delenv("SEATRIAL_THREADS")
    (tmp_path / "bad.toml").write_text("http_port =")
    for path, words in (
        (tmp_path / "bad.toml", "want TOML"),
        (tmp_path / "none.toml", "No such file"),
    ):
        with pytest.raises(st.DeclarationError, match=words):
            load_settings(path)


def test_lists_are_written_with_commas_in_flags_and_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEATRIAL_PROVIDERS", "TensorrtExecutionProvider, CUDAExecutionProvider")
    monkeypatch.setenv("SEATRIAL_DEVICES", "1,0")
    settings = load_settings(
        provider_options=("trt_fp16_enable=1", "trt_profile_min_shapes=x:1x3", "y:1x4")
    )
    assert settings.providers == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert settings.devices == (1, 0)
    assert settings.provider_option_pairs == (
        ("trt_fp16_enable", "1"),
        ("trt_profile_min_shapes", "x:1x3,y:1x4"),
    )


def test_every_setting_has_a_sentence_of_advice() -> None:
    assert all(
        field.description and field.description.endswith(".")
        for field in Settings.model_fields.values()
    )
