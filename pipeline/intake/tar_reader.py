"""Members of tar files that lie in a data set's folder."""

from __future__ import annotations

import os
from typing import IO, Any

from pipeline.core.errors import one_line
from pipeline.intake.guards import BROKEN, Rejection, check_size
from pipeline.intake.tree import Tree


class TarReader:
    """Reads the member at `<place of the tar file>|<first byte>+<size>`.

    Args:
        tree: the data set's files.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._opened: tuple[int, str, IO[bytes]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_tree": self._tree, "_opened": None}

    def __call__(self, place: str) -> bytes:
        """See `Tree.read`."""
        shard, _, span = place.rpartition("|")
        start, size = map(int, span.split("+"))
        if size < 0:
            raise Rejection("unreadable_image", f"{shard}: the member is a link or a special file")
        check_size(size)
        try:
            file = self._file(shard)
            file.seek(start)
            data = file.read(size)
        except BROKEN as error:
            raise Rejection("unreadable_image", f"{shard}: {one_line(error)}") from None
        if len(data) < size:
            raise Rejection("unreadable_image", f"{shard}: cut short")
        return data

    def _file(self, shard: str) -> IO[bytes]:
        # Processes that share an open file share its position.
        if self._opened is None or self._opened[:2] != (os.getpid(), shard):
            self._opened = os.getpid(), shard, self._tree.open(shard)
        return self._opened[2]
