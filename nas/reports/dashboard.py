"""Serve optuna-dashboard on a storage, for this machine alone unless it is told otherwise."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage

from nas.errors import NasError, option
from nas.storage.shown import ShownStorage

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"  # the dashboard has no log-in and can delete studies: not beyond this machine
ANY_HOST = "0.0.0.0"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """A line for each request would bury the address."""


def _guarded(app: WSGIApplication, expose: bool) -> WSGIApplication:
    """Refuse what pages of other sites could make a browser send.

    A page may give its own name the address of this machine (DNS rebinding): then the host it asks
    for has a strange name. It may also send requests here from its own site: then that is the
    origin.
    """

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "")
        origin = environ.get("HTTP_ORIGIN", f"http://{host}")
        is_ours = expose or host.rpartition(":")[0] in (HOST, "localhost", "[::1]")
        if is_ours and origin.partition("://")[2] == host:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"asked for by another site"]

    return guarded


def serve(
    storage: BaseStorage,
    artifact_dir: Path,
    port: int,
    on_ready: Callable[[str], None],
    *,
    expose: bool = False,
) -> None:
    """Serve until interrupted.

    Args:
        storage: whose studies are shown.
        artifact_dir: where the weights of the best trials are.
        port: to listen on; 0 takes any that is free.
        on_ready: called with the address once it is served.
        expose: listen on every address of this machine, not on loopback alone.

    Raises:
        NasError: the port is taken.
    """
    # Optuna warns of every plot that few trials make uncertain: that would bury the address.
    warnings.simplefilter("ignore", UserWarning)
    artifacts = FileSystemArtifactStore(str(artifact_dir)) if artifact_dir.is_dir() else None
    app = _guarded(optuna_dashboard.wsgi(ShownStorage(storage), artifact_store=artifacts), expose)
    host = ANY_HOST if expose else HOST
    try:
        server = make_server(host, port, app, server_class=_Server, handler_class=_SilentHandler)
    except OSError as error:
        raise NasError(
            f"{option('port')} {port} cannot be used: {error.strerror}; take another"
        ) from error
    with server:
        on_ready(f"http://{socket.gethostname() if expose else HOST}:{server.server_port}/")
        server.serve_forever()
