"""An archive in a directory, and the tiles of its log (docs/spec/log.md, layout.md)."""

from pathlib import Path

from primitives import Bad

TILE_WIDTH = 256


class Archive:
    """The files under one directory, each read once, and which of them were asked for."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.asked = set()

    def read(self, key):
        self.asked.add(key)
        try:
            return (self.directory / key).read_bytes()
        except OSError as error:
            raise Bad(f"{key}: missing or unreadable ({error.strerror})") from error

    def has(self, key):
        return (self.directory / key).is_file()

    def keys(self):
        return sorted(path.relative_to(self.directory).as_posix()
                      for path in self.directory.rglob("*") if not path.is_dir())


def split_bundle(key, data, width):
    """The entries of an entry bundle: each after its length as u16."""
    leaves, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at:at + 2], "big")
        if at + 2 + length > len(data):
            raise Bad(f"{key}: cut off")
        leaves.append(data[at + 2:at + 2 + length])
        at += 2 + length
    if len(leaves) != width:
        raise Bad(f"{key}: {len(leaves)} entries, not {width}")
    return leaves


def tile_path(level, index, width):
    """`log/tile/<level>/<index>[.p/<width>]`, the index in groups of three digits."""
    parts = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03}")
    partial = f".p/{width}" if width < TILE_WIDTH else ""
    return f"log/tile/{level}/{'/'.join(parts)}{partial}"
