"""Which Debian mirror a made base comes from, on hosts set up in different ways."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.images.base import debian_mirror

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n'
DOCKER = "Types: deb\nURIs: https://download.docker.test/linux/debian\nSuites: bookworm\nComponents: stable\n"
OWN = (
    "# ours\nTypes: deb deb-src\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
)
SECURITY = OWN.replace("debian\n", "debian-security\n").replace("bookworm bookworm-updates", "bookworm-security")


def host(root: Path, release: str, files: dict[str, str]) -> tuple[Path, Path]:
    apt = root / "apt"
    (apt / "sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        (apt / name).write_text(text)
    (root / "os-release").write_text(release)
    return apt, root / "os-release"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sources.list.d/debian.sources": OWN}, "http://mirror.test/debian"),
        ({"sources.list.d/a-docker.sources": DOCKER, "sources.list.d/debian.sources": OWN}, "http://mirror.test/debian"),
        ({"sources.list.d/debian.sources": f"{SECURITY}\n{OWN}"}, "http://mirror.test/debian"),
        ({"sources.list.d/debian.sources": f"{OWN}Enabled: no\n"}, None),
        ({"sources.list": "deb [arch=amd64 signed-by=/k.gpg] http://list.test/debian bookworm main contrib\n"},
         "http://list.test/debian"),
        ({"sources.list": "#deb http://old.test/debian bookworm main\ndeb-src http://src.test/debian bookworm main\n"},
         None),
        ({"sources.list": "deb cdrom:[Debian 12]/ bookworm main\ndeb http://list.test/debian bookworm main\n"},
         "http://list.test/debian"),
        ({}, None),
    ],
)  # fmt: skip
def test_mirror_is_the_archive_apt_uses(tmp_path: Path, files: dict[str, str], expected: str | None) -> None:
    assert debian_mirror(*host(tmp_path, DEBIAN, files)) == expected


def test_other_distributions_use_the_official_archive(tmp_path: Path) -> None:
    ubuntu = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n"
    files = {"sources.list": "deb http://archive.ubuntu.test/ubuntu noble main\n"}
    assert debian_mirror(*host(tmp_path, ubuntu, files)) is None
    assert debian_mirror(tmp_path / "nowhere", tmp_path / "nothing") is None


@given(text=st.text(alphabet="deb URIs:Suites:Components:Types: main bookworm[]#=\n\t/", max_size=300))
def test_any_apt_settings_are_read_without_failing(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("host")
    mirror = debian_mirror(*host(root, DEBIAN, {"sources.list": text, "sources.list.d/x.sources": text}))
    assert mirror is None or mirror
