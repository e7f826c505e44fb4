"""uvicorn with what it lacks: a deadline for headers, problems for broken HTTP, SIGHUP."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tsresformer.serve.app import create_app
from tsresformer.serve.problems import MEDIA_TYPE, Problem
from tsresformer.serve.service import Service

LINGER_S = 2.0
"""Seconds in which the rest of a body is thrown away that was answered before its end."""

MAX_HEADER_BYTES = 32 * 1024


class DeadlineProtocol(H11Protocol):
    """One connection, which must send its headers in time.

    A body that was refused before its end is read on for `LINGER_S`, so that the client can read
    the answer before the connection ends.

    Attributes
    ----------
    header_s : seconds from the connection, or from the first byte of a further request
    """

    header_s = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._waits_for = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for headers."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take bytes, and see what is waited for now."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """See what is waited for after an answer."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        self._wait("", 0)
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.transport.is_closing():
            self._wait("", 0)
        elif self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None:
            self._wait("headers", self.header_s)
        elif self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete:
            self._wait("rest", LINGER_S)
        else:
            self._wait("", 0)

    def _wait(self, what: str, seconds: float) -> None:
        """Let the connection end unless something else is waited for in time."""
        if what == self._waits_for:
            return
        if self._timer:
            self._timer.cancel()
        self._waits_for = what
        self._timer = self.loop.call_later(seconds, self.transport.close) if what else None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        problem = Problem("bad-request", "this is no valid HTTP request")
        headers = [("content-type", MEDIA_TYPE), ("connection", "close")]
        with contextlib.suppress(h11.LocalProtocolError):  # an answer was under way
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=problem.body("")),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Server(uvicorn.Server):
    """A server that swaps its bundles on SIGHUP.

    Parameters
    ----------
    log_config : for `logging.config.dictConfig`; None leaves the logs as they are
    """

    def __init__(self, service: Service, log_config: dict[str, Any] | None) -> None:
        self.service = service
        settings = service.settings
        protocol = type("Protocol", (DeadlineProtocol,), {"header_s": settings.header_s})
        super().__init__(
            uvicorn.Config(
                create_app(self.service),
                host=settings.host,
                port=settings.port,
                loop="asyncio",
                http=protocol,
                ws="none",
                lifespan="on",
                log_config=log_config,
                access_log=False,
                server_header=False,
                timeout_keep_alive=settings.keep_alive_s,
                timeout_graceful_shutdown=settings.shutdown_s,
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            )
        )

    @property
    def port(self) -> int:
        """The port that it listens on, once it does."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    async def startup(self, sockets: Any = None) -> None:
        """Start to listen; SIGHUP swaps the bundles from then on."""
        await super().startup(sockets)
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            running: set[asyncio.Task[None]] = set()

            def swap() -> None:
                task = loop.create_task(self.service.reload())
                running.add(task)
                task.add_done_callback(running.discard)

            loop.add_signal_handler(signal.SIGHUP, swap)
