"""What libclang reads in place of the files on disk.

Contents of files that exist go to libclang as unsaved files. A file that does not exist cannot go
that way: libclang finds such a one only under the very spelling that it was given, and headers are
looked for under many (`../include/x.h`). It goes through a virtual file system, and so does a file
that is to be gone. Both are kept in memory; nothing is written to disk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

_NOWHERE = "/proc/self/fd/-"  # the virtual file system has no other way to say that a file is gone


class ReplacedFiles:
    """Contents by absolute path, for as long as the object is open.

    unsaved: what to give to libclang as unsaved files.
    arguments: what to add to the compile command.
    """

    def __init__(self, contents: Mapping[str, bytes | None]) -> None:
        """`contents`: None for a file that is gone."""
        self.unsaved: dict[str, bytes] = {}
        self.arguments: tuple[str, ...] = ()
        self._open: list[int] = []
        entries: list[dict[str, str]] = []
        for path, text in contents.items():
            if text is None:
                if os.path.lexists(path):
                    entries.append(_entry(path, _NOWHERE))
            elif os.path.exists(path):
                self.unsaved[path] = text
            else:
                entries.append(_entry(path, self._keep(text)))
        if entries:
            # Source: llvm/Support/VirtualFileSystem.h, RedirectingFileSystem. An entry whose
            # contents are not found does not fall through to the file on disk.
            table = {"version": 0, "case-sensitive": True, "use-external-names": False}
            text = json.dumps({**table, "roots": entries}).encode("ascii")
            self.arguments = ("-ivfsoverlay", self._keep(text))

    def close(self) -> None:
        """Free the memory; harmless when it is done already."""
        for descriptor in self._open:
            os.close(descriptor)
        self._open = []

    def _keep(self, text: bytes) -> str:
        """The name of a file in memory that holds `text`."""
        descriptor = os.memfd_create("lockcheck", os.MFD_CLOEXEC)
        self._open.append(descriptor)
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(text)
        return f"/proc/self/fd/{descriptor}"


def _entry(path: str, contents: str) -> dict[str, str]:
    return {"type": "file", "name": path, "external-contents": contents}
