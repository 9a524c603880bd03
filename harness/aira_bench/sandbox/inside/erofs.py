"""Writes folders of its container as EROFS files, which containers of agents then get mounted in the folders' place.

Runs in a trusted container of ours, with the standard library only. A file system is laid out as: superblock, all
inodes one after the other, then directories and contents, each beginning at a block of its own. Nothing is packed into
the inodes' blocks: with the mount option `directio` all but the inodes is then read past the page cache that mounts of
one file share, and the inodes, a few MiB, can be kept in memory by reading them (`inode_bytes`).

Format: https://docs.kernel.org/filesystems/erofs.html, uncompressed, extended inodes, layout FLAT_PLAIN.

Not covered: extended attributes, devices, FIFOs and sockets, of which images and data folders have none.
"""

import contextlib
import fcntl
import glob
import json
import os
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

BLOCK_BYTES = 4096
FIRST_NID = 2
"""Inodes are numbered in slots of 32 bytes; one takes two. Number 0 would hide names from directory listings."""
_INODE = struct.Struct("<HHHHQIIIIQII16x")
_SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sI44x")
_DIRENT = struct.Struct("<QHBB")
_MAGIC, _EXTENDED = 0xE0F5E1E2, 1
_TYPES = {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFLNK: 7}
_COPY_BYTES = 1 << 24
INIT, PROCESSORS = "/sbin/docker-init", "/sys/devices/system/cpu"
COUNTING = {"acpi_cppc", "cpufreq", "cpuidle", "power", "thermal_throttle"}


@dataclass
class FileNode:
    """One inode: a folder with `children`, or a regular file or link with its content."""

    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    path: str = ""
    """Where a regular file's content is read; empty for one without content."""
    text: bytes = b""
    """A link's target, a folder's blocks once they are laid out, or a file's content that was read already."""
    children: dict[bytes, "FileNode"] = field(default_factory=dict)
    links: int = 0
    nid: int = 0
    block: int = 0


def read_tree(root: str) -> FileNode:
    """Return the tree below `root`. What is mounted on it from elsewhere is left empty: there something is mounted
    again.

    Raises:
        ValueError: it holds something that is no file, folder or link.
    """
    return _read(root, os.lstat(root).st_dev, {})


def _read(path: str, device: int, known: dict[int, FileNode]) -> FileNode:
    found = os.lstat(path)
    node = FileNode(found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns)
    foreign = found.st_dev != device
    if stat.S_ISDIR(found.st_mode):
        for name in [] if foreign else sorted(os.listdir(path)):  # noqa: PTH208
            node.children[os.fsencode(name)] = _read(f"{path}/{name}", device, known)
    elif stat.S_ISLNK(found.st_mode):
        node.text = os.fsencode(os.readlink(path))  # noqa: PTH115
        node.size = len(node.text)
    elif stat.S_ISREG(found.st_mode):
        if found.st_nlink > 1 and not foreign:
            node = known.setdefault(found.st_ino, node)
        node.path, node.size = ("", 0) if foreign else (path, found.st_size)
    else:
        raise ValueError(f"{path} is no file, folder or link")
    return node


def tree_of_links(paths: Iterable[str]) -> FileNode:
    """For a folder of `/` that is itself a link: a folder of links straight at the files that `paths` lead to."""
    folder = FileNode(stat.S_IFDIR | 0o755)
    for path in paths:
        target = os.fsencode(f"..{os.path.realpath(path)}")
        folder.children[os.fsencode(os.path.basename(path))] = FileNode(  # noqa: PTH119
            stat.S_IFLNK | 0o777, text=target, size=len(target)
        )
    return folder


def image_trees() -> dict[str, FileNode]:
    """Return what a container of an image needs to run its programs: `/bin` and the loader's folder are links there."""
    trees = {name: read_tree(f"/{name}") for name in ("usr", "opt", "etc")}
    loader = next(iter(glob.glob("/lib64/ld-linux*") + glob.glob("/lib/ld-linux*")))  # noqa: PTH207
    for folder, pattern in (("bin", "/bin/*"), (loader.split("/")[1], loader)):
        if os.path.islink(f"/{folder}"):  # noqa: PTH114
            trees[folder] = tree_of_links(glob.glob(pattern))  # noqa: PTH207
        else:
            trees[folder] = read_tree(f"/{folder}")
    return trees


def machine_trees() -> dict[str, FileNode]:
    """Return what the engine and the kernel show all containers alike: the first process's program, the processors'
    layout.
    """
    with open(INIT, "rb") as file:  # noqa: PTH123
        init = FileNode(stat.S_IFREG | 0o755, text=file.read())
    init.size = len(init.text)
    sbin = FileNode(stat.S_IFDIR | 0o755, children={os.path.basename(INIT).encode(): init})  # noqa: PTH119
    tree = read_values(PROCESSORS)
    for name in reversed(PROCESSORS.split("/")[2:]):
        tree = FileNode(stat.S_IFDIR | 0o755, children={name.encode(): tree})
    return {"sbin": sbin, "sys": tree}


def read_values(path: str) -> FileNode:
    """Return the tree below `path` with what everybody may read there now, less what counts the processors' work."""
    found = os.lstat(path)
    node = FileNode(found.st_mode & ~0o222)
    if stat.S_ISDIR(found.st_mode):
        for name in sorted({*os.listdir(path)} - COUNTING):  # noqa: PTH208
            if os.lstat(f"{path}/{name}").st_mode & 0o004:
                node.children[os.fsencode(name)] = read_values(f"{path}/{name}")
        return node
    if stat.S_ISLNK(found.st_mode):
        node.text = os.fsencode(os.readlink(path))  # noqa: PTH115
    else:
        with contextlib.suppress(OSError), open(path, "rb") as file:  # noqa: PTH123
            node.text = file.read()
    node.size = len(node.text)
    return node


def write(root: FileNode, output: BinaryIO) -> int:
    """Write the file system; return up to which byte it holds the inodes."""
    nodes = _numbered(root)
    inode_bytes = BLOCK_BYTES + (FIRST_NID * 32) + len(nodes) * _INODE.size
    blocks = _lay_out(nodes, root, _blocks(inode_bytes))
    superblock = _SUPERBLOCK.pack(
        _MAGIC, 0, 0, BLOCK_BYTES.bit_length() - 1, 0, root.nid, len(nodes), 0, 0, blocks, 1, 0, bytes(16), bytes(16), 0
    )
    output.write(bytes(1024) + superblock)
    output.seek(BLOCK_BYTES + FIRST_NID * 32)
    for node in nodes:
        seconds, nanoseconds = divmod(node.mtime_ns, 10**9)
        output.write(
            _INODE.pack(
                _EXTENDED, 0, node.mode, 0, node.size, node.block, node.nid, node.uid, node.gid,
                max(seconds, 0), nanoseconds, node.links,
            )
        )  # fmt: skip
    for node in nodes:
        output.seek(node.block * BLOCK_BYTES)
        if node.text:
            output.write(node.text)
        elif node.path:
            _copy(node.path, node.size, output)
    output.truncate(blocks * BLOCK_BYTES)
    return inode_bytes


def _numbered(root: FileNode) -> list[FileNode]:
    """Every inode once, the root first, with its number and the count of its names."""
    nodes: list[FileNode] = []
    waiting = [root]
    root.links = 2
    while waiting:
        node = waiting.pop()
        node.nid = FIRST_NID + 2 * len(nodes)
        nodes.append(node)
        for child in node.children.values():
            is_folder = stat.S_ISDIR(child.mode)
            node.links += is_folder
            child.links += 2 if is_folder else 1
            if child.links == 1 or is_folder:
                waiting.append(child)
    return nodes


def _lay_out(nodes: list[FileNode], root: FileNode, first: int) -> int:
    """Give each inode with content its blocks, folders first; return the count of all blocks."""
    parents = {id(child): node for node in nodes for child in node.children.values() if stat.S_ISDIR(child.mode)}
    for node in nodes:
        if stat.S_ISDIR(node.mode):
            node.text = _directory(node, parents.get(id(node), root))
            node.size = len(node.text)
    block = first
    for node in sorted(nodes, key=lambda node: not stat.S_ISDIR(node.mode)):
        node.block = block if node.size else 0
        block += _blocks(node.size)
    return block


def _directory(node: FileNode, parent: FileNode) -> bytes:
    """A folder's blocks: entries sorted by name, in each block first their heads, then their names."""
    entries = sorted({b".": node, b"..": parent, **node.children}.items())
    full: list[bytes] = []
    while entries:
        taken = used = 0
        while taken < len(entries) and used + _DIRENT.size + len(entries[taken][0]) <= BLOCK_BYTES:
            used += _DIRENT.size + len(entries[taken][0])
            taken += 1
        heads, names = b"", b""
        for name, child in entries[:taken]:
            offset = taken * _DIRENT.size + len(names)
            heads += _DIRENT.pack(child.nid, offset, _TYPES[stat.S_IFMT(child.mode)], 0)
            names += name
        entries = entries[taken:]
        full.append((heads + names).ljust(BLOCK_BYTES, b"\0") if entries else heads + names)
    return b"".join(full)


def _blocks(size: int) -> int:
    return -(-size // BLOCK_BYTES)


def _copy(path: str, size: int, output: BinaryIO) -> None:
    with open(path, "rb") as source:  # noqa: PTH123
        while size:
            data = source.read(min(size, _COPY_BYTES))
            if not data:
                raise ValueError(f"{path} shrank while it was read")
            output.write(data)
            size -= len(data)


def make(store: str, key: str, of: str, kind: str) -> None:
    """Write the files of `kind` below `store`/`key` unless they are there; whole files only ever have their names.

    A file that is mounted somewhere is never written again: names are by content, and what is there stays.
    """
    with open(f"{store}/lock", "w") as lock:  # noqa: PTH123
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = f"{store}/{key}"
        if os.path.exists(f"{folder}/ready.json"):  # noqa: PTH110
            return
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        heads = {}
        match kind:
            case "image":
                trees = image_trees()
            case "machine":
                trees = machine_trees()
            case _:
                trees = {"data": read_tree("/data")}
        for name, root in trees.items():
            with _whole(f"{folder}/{name}.erofs") as file:
                heads[name] = write(root, file)
        with _whole(f"{folder}/ready.json") as file:
            file.write(json.dumps({"of": of, "inode_bytes": heads}).encode())


@contextlib.contextmanager
def _whole(path: str) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete and on disk."""
    with open(f"{path}.part", "wb") as file:  # noqa: PTH123
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{path}.part", path)  # noqa: PTH104


if __name__ == "__main__":
    make("/store", *sys.argv[1:])
    print("{}", flush=True)
