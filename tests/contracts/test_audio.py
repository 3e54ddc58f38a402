"""Sounds: what soundfile, SciPy, librosa and transformers make of them, and files that are bad."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as some
from scipy.io import wavfile
from support.properties import drawing
from transformers import (
    ASTFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
    audio_utils,
)

import seatrial as st
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_contracts.kinds.file_kind import base64_text
from seatrial_contracts.kinds.sound import SUBTYPES, draw_sound, encode_sound
from seatrial_contracts.profile import DriftFeatures

AUDIO = st.Audio(max_seconds=2)
FORMS = [(fmt, subtype) for fmt, subtypes in SUBTYPES.items() for subtype in subtypes]


def chirp(samples: int, rate_hz: int) -> Any:
    times = np.arange(samples) / rate_hz
    tone = np.sin(2 * np.pi * (100 * times + 1500 * times * times))
    return (0.6 * tone * np.hanning(samples)).astype(np.float32)


def code_of(data: bytes, kind: st.Audio = AUDIO) -> str:
    with pytest.raises(st.Refusal) as caught:
        kind.decode(data)
    assert "soundfile" not in str(caught.value).lower()
    return caught.value.code


@pytest.mark.filterwarnings("ignore:Chunk .* not understood")
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE"])
def test_a_wav_is_what_scipy_reads_as_a_share_of_full_scale(subtype: str) -> None:
    data = encode_sound(chirp(900, 16_000), 16_000, "WAV", subtype)
    _, read = wavfile.read(io.BytesIO(data))
    full = {"u": 2.0**7, "i": 2.0 ** (8 * read.itemsize - 1), "f": 1.0}[read.dtype.kind]
    want = (read.astype(np.float64) - (128 if read.dtype.kind == "u" else 0)) / full
    assert np.array_equal(AUDIO.decode(data), want.astype(np.float32))


@pytest.mark.parametrize(("fmt", "subtype"), FORMS)
def test_each_format_is_what_soundfile_and_soxr_make_of_the_whole_file(
    fmt: str, subtype: str
) -> None:
    data = draw_sound(9_600, 48_000, fmt=fmt, subtype=subtype, channels=2)
    read, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    assert rate == 48_000
    want = soxr.resample(read.mean(1), rate, 16_000, quality="HQ")
    assert np.array_equal(AUDIO.decode(data), want)
    assert len(want) == 3_200


def test_a_stereo_flac_is_resampled_as_librosa_loads_it() -> None:
    left = chirp(44_100, 44_100)
    data = encode_sound(np.stack([left, 0.5 * left[::-1]], 1), 44_100, "FLAC")
    made = AUDIO.decode(data)
    assert len(made) == 16_000
    # librosa 0.11.0: librosa.load(file, sr=16000), at these places
    want = [5.67062201639601e-08, -0.0017380871577188373, -0.2208389937877655, 0.06303520500659943]
    assert np.allclose(made[[0, 500, 4000, 8001]], want, rtol=1e-5, atol=1e-9)


def test_blocks_of_many_channels_are_what_the_whole_file_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seatrial_contracts.kinds.sound.BLOCK_VALUES", 1000)
    kind = st.Audio(max_seconds=2, max_channels=8)
    for fmt in ("WAV", "FLAC", "OGG"):
        data = draw_sound(5_000, 16_000, fmt=fmt, channels=8)
        read, _ = soundfile.read(io.BytesIO(data), dtype="float32")
        assert np.allclose(kind.decode(data), read.mean(1), atol=1e-7)


def test_a_vorbis_file_that_overshoots_keeps_its_peaks_or_ends_at_full_scale() -> None:
    square = np.sign(np.sin(np.arange(16_000) * 0.05)).astype(np.float32)
    data = encode_sound(square, 16_000, "OGG")
    assert AUDIO.decode(data).max() > 1.0
    clipped = st.Audio(clip=True).decode(data)
    assert (clipped.min(), clipped.max()) == (-1.0, 1.0)


def test_a_row_is_normalised_alone_as_wav2vec2_does_it() -> None:
    sound = chirp(8_000, 16_000) + np.float32(0.1)
    made = st.Audio(normalize="mean_variance").decode(encode_sound(sound, 16_000, "WAV", "FLOAT"))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    want = extractor(sound, sampling_rate=16_000, return_tensors="np")["input_values"][0]
    assert np.array_equal(made, want)


def test_a_peak_is_1_and_silence_stays_silence() -> None:
    kind = st.Audio(normalize="peak")
    assert np.abs(kind.decode(draw_sound(800, 16_000, level=0.01))).max() == 1.0
    assert not kind.decode(draw_sound(800, 16_000, level=0.0)).any()


def test_whisper_features_are_those_of_its_extractor() -> None:
    sound = chirp(8_000, 16_000)
    data = encode_sound(sound, 16_000, "WAV", "FLOAT")
    kind = st.Audio(padding="max_length", mark="none", log_mel=st.LogMel(log="whisper"))
    (made,) = kind.stage("clip", {})(kind._file(data))
    extractor = WhisperFeatureExtractor()
    want = extractor(sound, sampling_rate=16_000, return_tensors="np")["input_features"][0]
    assert made.shape == (3000, 80)
    assert np.abs(made.T - want).max() < 1e-4


KALDI = st.LogMel(
    n_fft=512, win_length=400, n_mels=64, fmin=20.0, center=False, htk=True, norm=None,
    amin=2.0**-23, log="kaldi",
)  # fmt: skip


@pytest.mark.parametrize(
    ("samples", "rate_hz", "level"),
    [(400, 16_000, 1.0), (1_999, 16_000, 1e-4), (30_000, 16_000, 0.0), (70_000, 48_000, 1.0),
     (9_000, 11_025, 1.0), (163_999, 16_000, 0.1)],
)  # fmt: skip
def test_filter_banks_are_those_of_the_extractor_of_ast(
    samples: int, rate_hz: int, level: float
) -> None:
    noise = np.random.default_rng(samples).normal(0.01, 0.02, samples).astype(np.float32)
    data = encode_sound(level * (chirp(samples, rate_hz) + noise), rate_hz, "WAV", "FLOAT")
    kind = st.Audio(padding="max_length", mark="mask", max_seconds=10.255, log_mel=KALDI)
    made, mask = kind.stage("clip", {})(kind._file(data))
    extractor = ASTFeatureExtractor(num_mel_bins=64, max_length=1024, do_normalize=False)
    want = extractor(kind.decode(data), sampling_rate=16_000, return_tensors="np")["input_values"]
    assert mask.sum() == (want[0] != 0).any(1).sum() >= 1
    np.testing.assert_allclose(made * mask[:, None], want[0], rtol=0, atol=2e-6)


def test_poveys_window_is_that_of_transformers() -> None:
    sound = chirp(8_000, 16_000)
    filters = audio_utils.mel_filter_bank(
        257, 64, 20, 8_000, 16_000, mel_scale="kaldi", triangularize_in_mel_space=True
    )
    want = audio_utils.spectrogram(
        sound, audio_utils.window_function(400, "povey", periodic=False), 400, 160, 512, power=2.0,
        center=False, preemphasis=0.97, mel_filters=filters, mel_floor=2.0**-23, log_mel="log",
        remove_dc_offset=True,
    )  # fmt: skip
    made = KALDI.model_copy(update={"window": "povey"}).of(sound, 16_000)
    np.testing.assert_allclose(made, want.T, rtol=0, atol=2e-6)

    # librosa 0.11.0: power_to_db(feature.melspectrogram(y, sr=16000, ...)), frames 0 and 20


LIBROSA: list[tuple[dict[str, Any], int, list[list[float]]]] = [
    (
        {"n_fft": 512, "hop_length": 128, "pad_mode": "constant"}, 63,
        [[-52.9064, *[-67.3740] * 5], [8.3283, 5.3157, -65.5114, *[-67.3740] * 3]],
    ),
    (
        {"htk": True, "norm": None, "fmin": 50.0, "fmax": 7000.0}, 51,
        [[-30.8248, *[-43.0689] * 5], [27.9819, 35.7826, -0.8904, *[-43.0689] * 3]],
    ),
    (
        {"n_fft": 1024, "hop_length": 256, "win_length": 800, "power": 1.0}, 32,
        [
            [-29.7237, -58.8182, -68.2116, -75.0450, -80.1840, -80.1840],
            [-38.5345, -2.9748, -6.0497, -47.9024, -60.2574, -68.9346],
        ],
    ),
    (
        {"n_fft": 512, "hop_length": 200, "center": False}, 38,
        [[-29.3701, *[-67.3672] * 5], [-15.2521, 12.3941, 0.1586, *[-67.3672] * 3]],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "frames", "want"), LIBROSA)
def test_log_mel_features_are_those_of_librosa(
    options: dict[str, Any], frames: int, want: list[list[float]]
) -> None:
    mel = st.LogMel(n_mels=6, **options)
    made = mel.of(chirp(8_000, 16_000), 16_000)
    assert made.shape == (frames, 6) == (mel.frames(8_000), 6)
    assert np.allclose(made[[0, 20]], want, atol=2e-4)


@pytest.mark.parametrize("log", ["db", "natural", "whisper", None])
def test_the_shortest_sound_has_a_frame(log: Any) -> None:
    for center in (True, False):
        mel = st.LogMel(log=log, center=center)
        for samples in (mel.least_samples, mel.least_samples + 1, mel.least_samples + 160):
            made = mel.of(np.ones(samples, np.float32), 16_000)
            assert len(made) == mel.frames(samples) >= 1
            assert np.isfinite(made).all()


def test_the_shortest_sound_of_filter_banks_is_one_window() -> None:
    assert (KALDI.least_samples, KALDI.frames(400), KALDI.frames(559), KALDI.frames(560)) == (
        400, 1, 1, 2,
    )  # fmt: skip
    assert len(KALDI.of(np.ones(400, np.float32), 16_000)) == 1


def test_rows_of_unlike_length_are_padded_and_say_their_own() -> None:
    class Clip(st.Row):
        clip: Annotated[bytes, st.Audio(max_seconds=1)]
        mel: Annotated[bytes | None, st.Audio(max_seconds=1, mark="mask", log_mel=st.LogMel())]

    class Seen(st.Answer):
        seen: float

    front = HostStage(st.contract_from_rows(Clip, Seen), {})
    long, short = (draw_sound(count, 16_000) for count in (1_600, 800))
    rows = [
        front.encode_row(front.contract.validate_row(row))
        for row in ({"clip": long, "mel": short}, {"clip": short, "mel": None})
    ]
    feeds = collate(front.specs, rows)
    assert feeds["clip"].shape == (2, 1_600)
    assert feeds["clip_length"].tolist() == [1_600, 800]
    assert not feeds["clip"][1, 800:].any()
    assert feeds["mel"].shape == (2, 6, 80)
    assert feeds["mel_mask"].tolist() == [[True] * 6, [True] + [False] * 5]
    assert feeds["mel_present"].tolist() == [True, False]


def test_drift_sees_loudness_length_silence_and_clipping() -> None:
    class Clip(st.Row):
        clip: Annotated[bytes, AUDIO]

    class Seen(st.Answer):
        seen: float

    contract = st.contract_from_rows(Clip, Seen)
    times = np.arange(16_000) / 16_000
    full = np.where(times < 0.5, np.sin(2 * np.pi * 440 * times), 0).astype(np.float32)
    square = np.sign(np.sin(2 * np.pi * 440 * times + 0.1)).astype(np.float32)
    traits = DriftFeatures(HostStage(contract, {})).inputs(
        {"clip": [encode_sound(each, 16_000, "WAV", "FLOAT") for each in (full, square, 0 * full)]}
    )
    # A sine of peak 1 has a root mean square of -3.01 dBFS; half of it silent is 3.01 dB less.
    assert np.allclose(traits["clip.loudness"], [-6.02, 0.0, -120.0], atol=0.01)
    assert np.allclose(traits["clip.seconds"], [1, 1, 1])
    assert np.allclose(traits["clip.silence"], [0.5, 0, 1], atol=0.005)
    assert np.allclose(traits["clip.clipping"], [0.007, 1, 0], atol=0.004)


def wav(claimed: int, held: int, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    """16 bits a sample, silence; its header claims so many bytes."""
    block = 2 * channels
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * block, block, 16)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", claimed)
    return b"RIFF" + struct.pack("<I", 36 + claimed) + b"WAVE" + chunks + bytes(held)


def flac_without_length(data: bytes) -> bytes:
    """As ffmpeg writes it into a pipe: STREAMINFO's total is 0 (RFC 9639, 8.2)."""
    return data[:21] + bytes([data[21] & 0xF0]) + bytes(4) + data[26:]


FLOATS = np.zeros(100, np.float32)
HUGE = np.full((9, 2), 3e38, np.float32)
LONG_FLAC = draw_sound(48_000, 16_000, fmt="FLAC", level=0)
BAD: list[tuple[str, bytes, str]] = [
    ("no sound", b"no sound at all" * 9, "E_AUDIO_FORMAT"),
    ("a picture", b"\x89PNG\r\n\x1a\n" + bytes(99), "E_AUDIO_FORMAT"),
    ("an AIFF", encode_sound(FLOATS, 8_000, "AIFF", "PCM_16"), "E_AUDIO_FORMAT"),
    ("ADPCM in a WAV", encode_sound(FLOATS, 8_000, "WAV", "IMA_ADPCM"), "E_AUDIO_FORMAT"),
    ("a WAV that claims an hour", wav(3600 * 32_000, 900), "E_AUDIO_LENGTH"),
    ("a WAV that is cut", wav(3_200, 900), "E_AUDIO"),
    ("a WAV without data", wav(0, 0)[:36], "E_AUDIO"),
    ("no samples", wav(0, 0), "E_AUDIO_SHORT"),
    ("a sample that resampling leaves none of", wav(2, 2, 44_100), "E_AUDIO_SHORT"),
    ("3 channels", draw_sound(99, 8_000, channels=3), "E_AUDIO_CHANNELS"),
    ("500 Hz", wav(20, 20, 500), "E_AUDIO_RATE"),
    ("500 kHz", wav(20, 20, 500_000), "E_AUDIO_RATE"),
    ("a FLAC of three seconds of silence", LONG_FLAC, "E_AUDIO_LENGTH"),
    ("a FLAC without a length", flac_without_length(draw_sound(900, 8_000, fmt="FLAC")), "E_AUDIO"),
    ("an MP3 of three seconds", draw_sound(48_000, 16_000, fmt="MP3"), "E_AUDIO_LENGTH"),
    ("an OGG of three seconds", draw_sound(48_000, 16_000, fmt="OGG"), "E_AUDIO_LENGTH"),
    ("NaN", encode_sound(FLOATS * np.nan, 8_000, "WAV", "FLOAT"), "E_NONFINITE"),
    ("1e300", encode_sound(np.full(9, 1e300), 8_000, "WAV", "DOUBLE"), "E_NONFINITE"),
    ("1e20", encode_sound(FLOATS + 1e20, 8_000, "WAV", "FLOAT"), "E_RANGE"),
    ("sums beyond float32", encode_sound(HUGE, 16_000, "WAV", "FLOAT"), "E_NONFINITE"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "code"), [case[1:] for case in BAD], ids=[c[0] for c in BAD])
def test_files_that_are_no_good_sound_are_refused_by_code(data: bytes, code: str) -> None:
    assert code_of(data) == code


def test_a_wav_that_was_written_into_a_pipe_is_as_long_as_what_came() -> None:
    for mark in (0xFFFFFFFF, 0x7FFFFFFF):
        head = bytearray(wav(3_200, 3_200))
        head[40:44] = struct.pack("<I", mark)
        assert len(AUDIO.decode(bytes(head))) == 1_600


def test_an_mp3_whose_length_is_an_estimate_is_refused_since_its_end_would_be_lost() -> None:
    sound = chirp(32_000, 16_000)
    sound[8_000:24_000] = 0
    sink = io.BytesIO()
    with soundfile.SoundFile(
        sink, "w", 16_000, 1, format="MP3", bitrate_mode="VARIABLE", compression_level=0.3
    ) as file:
        file.write(sound)
    data = sink.getvalue()
    kind = st.Audio(max_seconds=30)
    assert len(kind.decode(data)) == 32_000
    without = data[data.index(data[:2], 4) :]
    read, _ = soundfile.read(io.BytesIO(without))
    assert len(read) != 32_000, "libsndfile reads as many as it estimates"
    assert code_of(without, kind) in ("E_AUDIO", "E_AUDIO_LENGTH")


def test_nothing_is_decoded_of_a_file_that_says_it_is_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [data for name, data, code in BAD if code == "E_AUDIO_LENGTH"]
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_: pytest.fail("decoded"))
    assert {code_of(data) for data in files} == {"E_AUDIO_LENGTH"}


def test_a_file_over_the_byte_limit_is_refused_before_it_is_decoded() -> None:
    kind = st.Audio(max_bytes=10)
    with pytest.raises(st.Refusal) as caught:
        kind.column([b"x" * 11])
    assert (caught.value.code, caught.value.where) == ("E_AUDIO_BYTES", "row 0")


@given(some.data())
@drawing(120)
def test_damage_anywhere_is_decoded_or_refused_but_never_raises(data: some.DataObject) -> None:
    fmt, subtype = data.draw(some.sampled_from(FORMS))
    file = bytearray(draw_sound(600, 16_000, fmt=fmt, subtype=subtype))
    for place in data.draw(some.lists(some.integers(0, len(file) - 1), max_size=4)):
        file[place] ^= data.draw(some.integers(1, 255))
    with suppress(st.Refusal):
        made = AUDIO.decode(bytes(file[: data.draw(some.integers(0, len(file)))]))
        assert made.ndim == 1
        assert 0 < len(made) <= AUDIO.most_samples


@pytest.mark.parametrize("fmt", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_file_cut_anywhere_is_refused(fmt: str) -> None:
    data = draw_sound(8_000, 16_000, fmt=fmt)
    for cut in range(1, len(data), 97 if fmt == "WAV" else 13):
        if fmt == "OGG" and data[cut : cut + 4] == b"OggS":
            continue  # between two pages: a shorter file, which its format allows (RFC 3533)
        assert code_of(data[:cut]).startswith("E_AUDIO"), cut


@given(some.data())
@drawing(60)
def test_what_the_kind_draws_it_decodes(data: some.DataObject) -> None:
    kind = data.draw(
        some.sampled_from(
            [
                AUDIO,
                st.Audio(rate_hz=22_050, max_seconds=0.5, min_seconds=0.2, formats=("OGG", "MP3")),
                st.Audio(max_seconds=1, log_mel=st.LogMel(log="whisper"), max_channels=1),
            ]
        )
    )
    value = data.draw(kind.strategy())
    made = kind.decode(kind._file(value))
    assert kind.least_samples <= len(made) <= kind.most_samples


@pytest.mark.parametrize(
    "options",
    [
        {"formats": ()},
        {"max_seconds": 0.1, "min_seconds": 0.2},
        {"mark": "none"},
        {"log_mel": st.LogMel(fmax=9_000.0)},
        {"log_mel": st.LogMel(win_length=500)},
        {"log_mel": st.LogMel(fmin=8_000.0)},
        {"log_mel": st.LogMel(log="kaldi")},
        {"log_mel": st.LogMel(log="kaldi", center=False, htk=True)},
        {"log_mel": st.LogMel(window="povey")},
        {"max_seconds": 0.01, "log_mel": st.LogMel(center=False)},
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(st.DeclarationError, match=r"st\.(Audio|LogMel): got .*, want "):
        st.Audio(**options).declared(bytes, nullable=False)


@pytest.mark.parametrize(
    ("old", "new", "option", "breaks"),
    [
        ({}, {"formats": ("WAV",)}, "formats", True),
        ({"formats": ("WAV",)}, {}, "formats", False),
        ({}, {"max_seconds": 20.0}, "max_seconds", True),
        ({}, {"max_seconds": 40.0}, "max_seconds", False),
        ({}, {"min_seconds": 1.0}, "min_seconds", True),
        ({}, {"max_channels": 1}, "max_channels", True),
        ({}, {"max_bytes": 9}, "max_bytes", True),
        ({}, {"rate_hz": 8_000}, "rate_hz", True),
        ({}, {"rate_hz": 22_050}, "rate_hz", False),
        ({}, {"log_mel": st.LogMel()}, "log_mel", False),
        ({}, {"log_mel": st.LogMel(log="whisper")}, "log_mel", True),
        ({}, {"normalize": "peak"}, "normalize", False),
        ({}, {"clip": True}, "clip", False),
    ],
)
def test_changes_break_clients_where_files_of_today_would_be_refused(
    old: dict[str, Any], new: dict[str, Any], option: str, breaks: bool
) -> None:
    assert st.Audio(**new).breaks(option, st.Audio(**old)) is breaks


def test_edges_hold_the_shortest_the_longest_silence_and_each_format() -> None:
    stage = AUDIO.stage("clip", {})
    seen = [(edge.what, stage(AUDIO._file(edge.value))[1]) for edge in AUDIO.edges(stage)]
    assert (min(length for _, length in seen), max(length for _, length in seen)) == (1, 32_000)
    said = " ".join(f"{what} " for what, _ in seen)
    for word in [*(subtype for _, subtype in FORMS), "peak 0 ", "peak 1", "192000 Hz"]:
        assert word in said, word


def test_a_file_is_told_in_a_line() -> None:
    told = AUDIO.told(draw_sound(800, 8_000, fmt="FLAC", channels=2))
    assert told is not None
    assert told.startswith("FLAC (PCM_16) of 0.100 s, 8000 Hz, channels: 2, ")
    assert AUDIO.told(b"no sound") is None


def test_kinds_that_have_been_used_are_equal_and_survive_their_json() -> None:
    used, other = (st.Audio(log_mel=st.LogMel(win_length=300)) for _ in range(2))
    used.decode(draw_sound(800, 16_000))
    used.stage("clip", {})(draw_sound(800, 16_000))
    assert used == other
    assert hash(used) == hash(other)
    assert st.Audio.model_validate(used.model_dump(mode="json")) == used


def test_base64_and_bytes_are_the_same_sound() -> None:
    data = draw_sound(800, 16_000)
    assert AUDIO._file(base64_text(data)) == AUDIO._file(data) == data
