"""Progress of a check in the client: shown only when it takes long enough to be seen."""

from __future__ import annotations

import asyncio
import uuid

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

_WAIT_SECONDS = 0.5  # who types does not want to see a bar for each letter
TITLE = "lockcheck"


class Bar:
    """One check's progress. Everything happens in the server's loop."""

    def __init__(self, server: LanguageServer) -> None:
        self.token = f"lockcheck-{uuid.uuid4()}"
        self._server = server
        self._begun = False
        self._message, self._percentage = "", 0
        window = server.client_capabilities.window
        self._task: asyncio.Task[None] | None = None
        if window is not None and window.work_done_progress:
            self._task = asyncio.get_running_loop().create_task(self._begin())

    async def _begin(self) -> None:
        await asyncio.sleep(_WAIT_SECONDS)
        progress = self._server.work_done_progress
        try:
            await progress.create_async(self.token)
        except JsonRpcException:
            return  # the client does not want one
        self._begun = True
        progress.begin(
            self.token,
            types.WorkDoneProgressBegin(
                title=TITLE, cancellable=True, message=self._message, percentage=self._percentage
            ),
        )

    def report(self, phase: str, done: int, total: int | None) -> None:
        """Show how far the check is."""
        self._message = f"{phase} {done}/{total}" if total else phase
        self._percentage = min(100, 100 * done // total) if total else 0
        if self._begun:
            self._server.work_done_progress.report(
                self.token,
                types.WorkDoneProgressReport(
                    cancellable=True, message=self._message, percentage=self._percentage
                ),
            )

    def end(self, message: str) -> None:
        """Take it away."""
        if self._task is not None:
            self._task.cancel()
        progress = self._server.work_done_progress
        if self._begun:
            self._begun = False
            progress.end(self.token, types.WorkDoneProgressEnd(message=message))
        progress.tokens.pop(self.token, None)
