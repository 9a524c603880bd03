"""Finding and fetching the files of a lock, against a real index on this machine."""

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.errors import PrerequisiteError
from aira_bench.images.flavour import normal_name
from aira_bench.images.source_archives import Link, fetch_source, host_index, parse_page
from aira_bench.images.wheels import find_file

ARCHIVE = b"not really a tar archive" * 5000
NAMES = st.from_regex(r"[A-Za-z]([A-Za-z0-9]|[-_.](?=[A-Za-z0-9])){0,12}", fullmatch=True).filter(
    lambda name: name[-1] not in "-_."
)
VERSIONS = st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}(\.post[1-9])?(\+cpu)?", fullmatch=True)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A package index with one project, and its folder."""
    root = tmp_path / "index"
    (root / "simple" / "mamba-ssm").mkdir(parents=True)
    (root / "files").mkdir()
    (root / "files" / "mamba_ssm-2.2.6.post3.tar.gz").write_bytes(ARCHIVE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple", root
    server.shutdown()
    server.server_close()


def write_page(root: Path, sha256: str) -> None:
    links = [
        "../../files/mamba_ssm-2.2.6.tar.gz",
        "../../files/mamba_ssm-2.2.6.post3-py3-none-any.whl",
        f"../../files/mamba_ssm-2.2.6.post3.tar.gz#sha256={sha256}",
    ]
    html = "".join(f'<a data-requires-python="&gt;=3.9" href="{link}">x</a><br>' for link in links)
    (root / "simple" / "mamba-ssm" / "index.html").write_text(f"<!DOCTYPE html><body>{html}</body>")


def test_archive_of_the_very_version_is_fetched(index: tuple[str, Path], tmp_path: Path) -> None:
    address, root = index
    write_page(root, hashlib.sha256(ARCHIVE).hexdigest())
    path = fetch_source("mamba-ssm==2.2.6.post3", address, tmp_path)
    assert path == tmp_path / "mamba_ssm-2.2.6.post3.tar.gz"
    assert path.read_bytes() == ARCHIVE


def test_other_bytes_than_announced_are_refused(index: tuple[str, Path], tmp_path: Path) -> None:
    address, root = index
    write_page(root, "0" * 64)
    with pytest.raises(PrerequisiteError, match="expected 000000000000"):
        fetch_source("mamba-ssm==2.2.6.post3", address, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index"], "nothing half-trusted may stay"


def test_missing_version_and_missing_project_are_told(index: tuple[str, Path], tmp_path: Path) -> None:
    address, root = index
    write_page(root, "")
    with pytest.raises(PrerequisiteError, match=r"no source archive of mamba-ssm==9\.9"):
        fetch_source("mamba-ssm==9.9", address, tmp_path)
    with pytest.raises(PrerequisiteError, match="404"):
        fetch_source("flash-attn==2.8.3", address, tmp_path)


def test_dead_index_is_told(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="could not be downloaded"):
        fetch_source("flash-attn==2.8.3", "http://127.0.0.1:9/simple", tmp_path)


def test_page_links_are_resolved_and_unquoted() -> None:
    html = (
        '<a href="a%2Bcpu-1.0%2Bcpu.tar.gz#sha256=ab">a</a><a name="no link"></a><a href="https://x.test/b.whl#md5=1">'
    )
    assert parse_page(html, "https://index.test/simple/a/") == [
        Link("https://index.test/simple/a/a%2Bcpu-1.0%2Bcpu.tar.gz", "a+cpu-1.0+cpu.tar.gz", "ab"),
        Link("https://x.test/b.whl", "b.whl", ""),
    ]


@given(html=st.text(alphabet='<>/a href="#=?&;\n', max_size=200))
def test_any_page_is_read_without_failing(html: str) -> None:
    for link in parse_page(html, "https://index.test/simple/a/"):
        assert "#" not in link.url


@given(name=NAMES, version=VERSIONS, other=VERSIONS)
def test_downloaded_files_are_found_by_their_pin(
    tmp_path_factory: pytest.TempPathFactory, name: str, version: str, other: str
) -> None:
    folder = tmp_path_factory.mktemp("wheels")
    file_name = normal_name(name).replace("-", "_")
    wheel = folder / f"{file_name}-{version}-cp311-cp311-manylinux_2_28_x86_64.whl"
    wheel.touch()
    assert find_file(folder, f"{name}=={version}") == wheel
    assert find_file(folder, f"{name.upper()}=={version}") == wheel
    assert find_file(folder, f"{name}x=={version}") is None
    if other != version:
        assert find_file(folder, f"{name}=={other}") is None
    wheel.rename(folder / f"{file_name}-{version}.tar.gz")
    assert find_file(folder, f"{name}=={version}") is None


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A host whose pip has no settings but those of one file."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "pip.conf"


def test_the_index_is_the_one_the_hosts_pip_is_set_to(no_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_settings.write_text("[global]\nindex-url = https://mirror.example/simple/\n")
    assert host_index() == "https://mirror.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://other.example/simple///")
    assert host_index() == "https://other.example/simple"


def test_without_a_setting_it_is_pips_own_default(no_settings: Path) -> None:
    no_settings.touch()
    assert re.fullmatch(r"https://\S+/simple", host_index())


def test_an_archive_that_is_not_what_the_index_says_leaves_nothing(index: tuple[str, Path], tmp_path: Path) -> None:
    address, root = index
    write_page(root, "0" * 64)
    (tmp_path / "cache").mkdir()
    with pytest.raises(PrerequisiteError, match="expected 000000000000 as the index says"):
        fetch_source("mamba-ssm==2.2.6.post3", address, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
