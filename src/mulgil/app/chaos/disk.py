"""A small disk that can be filled: a tmpfs, which only root may mount."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

KIB = 1024


class SmallDisk:
    """A file system of its own at a folder."""

    def __init__(self, folder: Path, size_mb: int) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        folder.mkdir(parents=True, exist_ok=True)
        _mount(folder, size_mb)

    def fill(self, random: Random) -> int:
        """Take all but a little of the free space; how many bytes are left."""
        left = random.choice((0, 0, 4, 40, 400)) * KIB
        disk = os.statvfs(self._folder)
        with self._ballast.open("ab") as file:
            room = disk.f_bavail * disk.f_frsize - left
            if room > 0:
                try:
                    os.posix_fallocate(file.fileno(), file.tell(), room)
                except OSError:  # the server was faster: so there is no room, as intended
                    return 0
        return left

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Take the disk away, with everything on it."""
        subprocess.run(["umount", "-l", str(self._folder)], check=False, capture_output=True)


@cache
def can_mount() -> bool:
    """Whether this process may make small disks."""
    with TemporaryDirectory() as folder:
        try:
            _mount(Path(folder), 1)
        except (OSError, subprocess.CalledProcessError):
            return False
        subprocess.run(["umount", "-l", folder], check=False, capture_output=True)
        return True


def _mount(folder: Path, size_mb: int) -> None:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "mulgil-chaos", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
