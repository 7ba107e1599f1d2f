"""A site over real HTTP on loopback: uvicorn on a free port, in a thread that ends with the test."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from mirror.serve import application

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import ASGIApp


@contextmanager
def served(root: Path, app: ASGIApp | None = None) -> Iterator[str]:
    """Serve the tree below `root` as `mirror serve` does, or through `app`; give the URL, which ends in a slash."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app or application(root), log_level="error", lifespan="off", server_header=False, date_header=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()
