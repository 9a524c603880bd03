"""The store on object storage: against moto's S3, and against servers that lose answers and ignore conditions."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aira_bench.errors import MachineError, PrerequisiteError, UsageError
from aira_bench.shared_store.objects import ObjectAddress, ObjectStore, object_address, open_objects
from aira_bench.shared_store.succession import Succession
from object_server import BUCKET, KEYS, Storage, moto_server, small_server

pytest.importorskip("s3fs")
pytestmark = pytest.mark.timeout(120)
SCHEMES = ("s3", "gs")


@pytest.fixture(scope="module")
def moto() -> Iterator[dict[str, str]]:
    pytest.importorskip("moto")
    with moto_server() as variables:
        yield variables


def opened(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], scheme: str = "s3") -> ObjectStore:
    """A store of its own at a server; a file system of fsspec lives as long as its address."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    import fsspec
    import gcsfs.core
    import s3fs

    (s3fs.S3FileSystem if scheme == "s3" else gcsfs.core.GCSFileSystem).clear_instance_cache()
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    return open_objects(ObjectAddress(scheme, f"{BUCKET}/{secrets.token_hex(4)}"))


def test_a_real_server_keeps_what_the_protocol_promises(moto: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(monkeypatch, moto)
    store.require_conditions()
    assert store.names("") == ["trial"] or store.names("") == []
    assert store.get("a/1") is None
    assert store.create("a/1", b"first") == b"first"
    assert store.create("a/1", b"second") == b"first"
    assert store.get("a/1") == b"first"
    store.put("beat", b"1")
    before = store.listing()
    store.put("beat", b"2")
    assert store.get("beat") == b"2"
    assert {name for name, about in store.listing().items() if about != before[name]} == {"beat"}
    assert store.listing("a").keys() == {"a/1"}
    assert (store.names("a"), store.names("none")) == (["1"], [])
    store.remove("beat")
    store.remove("beat")
    assert store.get("beat") is None
    assert store.below("a").get("1") == b"first"


def test_of_many_that_claim_numbers_at_a_real_server_one_wins_each(
    moto: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(monkeypatch, moto)

    def claim(who: int) -> list[bytes]:
        succession = Succession(store, "claims")
        return [succession.claim(number, f"{who}".encode()).data for number in range(1, 11)]

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(claim, range(4)))
    assert all(each == seen[0] for each in seen)
    last = Succession(store, "claims").last()
    assert last is not None
    assert last.number == 10


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_store_that_ignores_the_condition_is_refused(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = pytest.raises(PrerequisiteError, match="does not keep conditional writes")
    with small_server(scheme, Storage(keeps_conditions=False)) as variables, refused:
        opened(monkeypatch, variables, scheme).require_conditions()
    with small_server(scheme, Storage()) as variables:
        opened(monkeypatch, variables, scheme).require_conditions()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_object_that_was_made_counts_although_the_answer_was_lost(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(loses_answers=1)
    with small_server(scheme, storage) as variables:
        store = opened(monkeypatch, variables, scheme)
        assert store.create("1", b"mine") == b"mine"
        assert storage.loses_answers == 0
        storage.loses_answers = 1
        assert store.create("1", b"yours") == b"mine"
        assert store.get("1") == b"mine"
        assert store.names("") == ["1"]
        assert {name: about.made_at_s > 0 for name, about in store.listing().items()} == {"1": True}
        store.put("2", b"a")
        store.remove("2")
        store.remove("2")
        assert store.get("2") is None


def test_a_store_that_fails_is_a_failure_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aira_bench.shared_store.objects._PAUSES_S", (0.01,))
    monkeypatch.setattr("aira_bench.shared_store.objects._TRIES", 0)
    storage = Storage()
    with small_server("s3", storage) as variables:
        store = opened(monkeypatch, variables)
        monkeypatch.setattr(store._files, "retries", 1)
        storage.fails = 1
        assert store.create("1", b"mine") == b"mine", "it is asked again"
        storage.fails = 1000
        with pytest.raises(MachineError, match="s3://"):
            store.get("1")
        with pytest.raises(MachineError):
            store.create("2", b"mine")


def test_no_secret_is_in_an_error_and_a_missing_bucket_says_what_to_type(
    moto: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(monkeypatch, moto)
    with pytest.raises(PrerequisiteError, match="cannot be used") as raised:
        open_objects(ObjectAddress("s3", "no-such-bucket/runs")).create("1", b"mine")
    assert raised.value.hint is not None
    assert not any(KEYS[name] in str(raised.value) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))


def test_whoever_reads_hears_that_there_is_no_such_bucket_and_an_empty_place_is_none(
    moto: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by `status --runs` with a bucket misspelt, which said that there were no runs."""
    assert opened(monkeypatch, moto).listing() == {}
    with pytest.raises(PrerequisiteError, match="cannot be used"):
        open_objects(ObjectAddress("s3", "no-such-bucket/runs")).listing()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("gs://bucket", "gs://bucket"),
        (str(Path("s3://bucket/a")), "s3://bucket/a"),
        ("runs", None),
        ("/data/runs", None),
        ("./s3", None),
    ],
)
def test_addresses_are_told_from_paths(text: str, address: str | None) -> None:
    found = object_address(text)
    assert (None if found is None else str(found)) == address


@pytest.mark.parametrize(
    "text", ["az://a/b", "http://a/b", "s3://", "s3://b/../c", "s3://b/a b", "s3://b/.a", "s3:/", "S3://b/a"]
)
def test_other_addresses_are_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="no place for runs"):
        object_address(text)
