"""The file of keys: what is written, read, edited and refused."""

from __future__ import annotations

import json
import os
import stat
import threading
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from support.keyed import key_of

from seatrial.main import cli
from seatrial_contracts.errors import DeclarationError, SeatrialError
from seatrial_serve.access.keys_file import read_keys, revoke_keys
from seatrial_serve.access.secret import Hash, parts_of

HASH = "scrypt:14:8:1:cnwVLXQkyKslrfEmaPsxYQ:BOWOEIYYN6S21m2VpC8NR_QpL5DOCIGBmJPtXJVzWv0"
KEY = f'[[keys]]\nid = "096329d8389c"\nname = "app"\nscopes = ["infer"]\nhash = "{HASH}"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def run(*words: str) -> tuple[int, str, str]:
    """Exit status, output and errors of the command line."""
    result = CliRunner().invoke(cli, [*words])
    said = str(result.exception) if isinstance(result.exception, SeatrialError) else ""
    return result.exit_code, result.stdout, result.stderr + said


def test_a_key_is_shown_once_and_kept_as_a_hash(file: Path) -> None:
    status, key, said = run("keys", "new", "--file", str(file), "--name", "app",
                            "--scope", "infer", "--scope", "read", "--model", "churn-*",
                            "--expires", "2031-02-03", "--requests-per-s", "50")  # fmt: skip
    assert status == 0, said
    parts = parts_of(key.strip())
    assert parts is not None
    assert parts[1] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    entry = read_keys(file).keys[0]
    assert (entry.id, entry.name, entry.scopes) == (parts[0], "app", ("infer", "read"))
    assert (entry.models, entry.requests_per_s) == (("churn-*",), 50)
    assert entry.expires == datetime(2031, 2, 3, tzinfo=UTC)


def test_the_hash_is_scrypt(file: Path) -> None:
    """Judged by the library cryptography."""
    parts = parts_of(key_of(file, "app", "infer"))
    assert parts is not None
    kept = Hash.parse(read_keys(file).keys[0].hash)
    judge = Scrypt(salt=kept.salt, length=32, n=2**kept.log_n, r=kept.block, p=kept.lanes)
    judge.verify(parts[1].encode(), kept.digest)
    assert kept.fits(parts[1])
    assert not kept.fits(parts[1][:-1] + ("A" if parts[1][-1] != "A" else "B"))


def test_keys_are_listed_without_secrets_and_revoked_by_id_or_name(file: Path) -> None:
    first, other = key_of(file, "app", "infer"), key_of(file, "other", "metrics")
    key_of(file, "old", "read", expires=datetime(2020, 1, 1, tzinfo=UTC))
    assert run("keys", "revoke", "--file", str(file), "app")[0] == 0
    rows = json.loads(run("keys", "list", "--file", str(file), "--json")[1])
    assert [(row["name"], row["state"]) for row in rows] == [
        ("app", "revoked"), ("other", "valid"), ("old", "expired"),
    ]  # fmt: skip
    table = run("keys", "list", "--file", str(file))[1]
    assert "metrics" in table
    assert "scrypt" not in table + json.dumps(rows)
    parts = parts_of(other)
    assert parts is not None
    assert run("keys", "revoke", "--file", str(file), parts[0])[1] == f"revoked {parts[0]}\n"
    assert all(key.revoked for key in read_keys(file).keys[:2])
    assert first not in file.read_text()


def test_a_key_that_is_not_there_revokes_none(file: Path) -> None:
    key_of(file, "app", "infer")
    before = file.read_bytes()
    status, _, said = run("keys", "revoke", "--file", str(file), "app", "nobody")
    assert status == 1
    assert "key 'nobody': got no such id or name, want one of app" in said
    assert file.read_bytes() == before


def test_what_operators_wrote_stays(file: Path) -> None:
    """Comments, and entries of other kinds; a link is followed, and stays one."""
    real = file.with_name("real.toml")
    real.write_text(
        "# ours\n[[certificates]]\nname = 'dns:a'\nscopes = ['metrics']  # Prometheus\n"
    )
    file.symlink_to(real)
    key_of(file, "app", "infer")
    text = file.read_text()
    assert file.is_symlink()
    assert "# ours" in text
    assert "# Prometheus" in text
    assert read_keys(file).certificates[0].name == "dns:a"
    assert tomllib.loads(text)["format"] == "seatrial-keys-1"


def test_several_may_edit_at_once(file: Path) -> None:
    threads = [
        threading.Thread(target=key_of, args=(file, f"app{place}", "infer")) for place in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in read_keys(file).keys) == [f"app{i}" for i in range(8)]
    assert [each.name for each in file.parent.iterdir()] == ["keys.toml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keys = 3", "keys"),
        ("[[keys]]\n", "keys.0.scopes"),
        (KEY.replace("infer", "all"), "keys.0.scopes.0"),
        (KEY.replace('["infer"]', "[]"), "keys.0.scopes"),
        (KEY.replace("scrypt:14", "scrypt:40"), "a cost of at most"),
        (KEY.replace(HASH, "plain"), "as `seatrial keys new` writes it"),
        (KEY + "password = 1\n", "password"),
        (KEY + KEY, "the id '096329d8389c' twice"),
        ("format = 'seatrial-keys-2'\n", "format"),
        ("[", "TOML"),
    ],
)
def test_a_file_that_is_wrong_is_refused(file: Path, text: str, said: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DeclarationError, match="file of keys") as refused:
        read_keys(file)
    assert said in str(refused.value)
    before = file.read_bytes()
    with pytest.raises(DeclarationError, match="file of keys"):
        key_of(file, "app", "infer")
    assert file.read_bytes() == before


def test_a_file_that_everybody_may_write_is_refused_and_the_mend_works(file: Path) -> None:
    key_of(file, "app", "infer")
    file.chmod(0o666)
    with pytest.raises(DeclarationError, match="everybody may write") as refused:
        read_keys(file)
    assert os.system(str(refused.value).partition("run: ")[2]) == 0
    assert read_keys(file).keys


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_stays_whose_it_was(file: Path) -> None:
    """Root revokes a key of a server that runs as somebody else."""
    key_of(file, "app", "infer")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    os.chown(file, 1234, 2345)
    file.chmod(0o640)
    revoke_keys(file, ["app"], datetime.now(UTC))
    now = file.stat()
    assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (1234, 2345, 0o640)


@pytest.mark.parametrize("until", ["tomorrow", "0d", "2027-13-01"])
def test_an_expiry_that_is_none_is_refused(file: Path, until: str) -> None:
    status, _, said = run(
        "keys", "new", "--file", str(file), "--name", "a", "--scope", "infer", "--expires", until
    )
    assert status == 2
    assert "want a date such as 2027-03-31, or 90d" in said
    assert not file.exists()
