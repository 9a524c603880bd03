"""The machine's key: made once, private, and of use to nobody who only sees what it signed."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.keys import KeyFolder, MachineKey, parse_public, signer_of
from place import Place


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "keys")
    assert folder.ring().own is None
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: folder.machine_key().public, range(16)))
    assert made == {folder.ring().own}
    assert [path.name for path in folder.path.iterdir()] == ["machine.key"]
    assert stat.S_IMODE((folder.path / "machine.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert folder.machine_key().secret.hex() not in repr(folder.machine_key())


@pytest.mark.parametrize(("content", "mode"), [("0" * 64 + "\n", 0o644), ("short\n", 0o600), ("0" * 64 + "\n", 0o620)])
def test_a_key_that_others_can_read_or_that_is_none_is_refused(tmp_path: Path, content: str, mode: int) -> None:
    (tmp_path / "machine.key").write_text(content)
    (tmp_path / "machine.key").chmod(mode)
    with pytest.raises(PrerequisiteError, match="is not used"):
        KeyFolder(tmp_path).machine_key()


def test_a_signature_holds_for_its_message_alone() -> None:
    key = MachineKey(b"k" * 32)
    signature = key.sign(b"message")
    assert len(signature) == 128
    assert signer_of(signature, b"message") == key.public
    assert signer_of(signature, b"massage") is None
    for at in range(0, 128, 5):
        forged = signature[:at] + ("A" if signature[at] != "A" else "B") + signature[at + 1 :]
        assert signer_of(forged, b"message") is None
    assert signer_of("x", b"message") is None


def test_the_command_shows_exports_trusts_and_forgets(tmp_path: Path) -> None:
    here, there = (Place(tmp_path / name, tmp_path / "runs") for name in ("here", "there"))
    exported = there.call("key", "export").stdout.strip()
    assert parse_public(exported) == json.loads(there.call("key", "--json").stdout)["public"]
    here.call("key", "trust", exported)
    assert json.loads(here.call("key", "--json").stdout)["trusted"] == [parse_public(exported)]
    here.call("key", "forget", exported)
    assert "was not trusted" in here.call("key", "forget", exported, status=2).stderr
    for arguments in (("trust",), ("trust", "ed25519:xyz"), ("show", exported)):
        assert here.call("key", *arguments, status=2).stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["", "ed25519:", "../../../etc/passwd", "ed25519:" + "A" * 64])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no public key"):
        parse_public(text)
