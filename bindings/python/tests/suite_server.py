"""A FastAPI application with all endpoints, as a program with the flags that the
shared HTTP suite gives to servers. `--server` says what runs it."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from libsse.fastapi import router

from libsse import Hub, sync

sys.path.append(str(Path(__file__).resolve().parents[3] / "tests"))
from suite.ports import free_port  # noqa: E402

FLAGS = {"heartbeat-ms": int, "log-events": int, "log-bytes": int, "store": str}
UNKNOWN = {"error": "not_found", "message": "There is nothing at this path."}


def make_app() -> FastAPI:
    options, url, origins = settings()
    hub = Hub(url, **options)
    app = FastAPI(lifespan=hub.lifespan, openapi_url=None)
    app.include_router(router(hub, origins=origins))

    @app.exception_handler(404)
    async def unknown(request: Request, _: Exception) -> Response:
        return JSONResponse(UNKNOWN, 404)

    return app


def settings() -> tuple[dict[str, Any], str, list[str]]:
    """From the environment: some servers import the application by its name."""
    options: dict[str, Any] = {}
    for name, kind in FLAGS.items():
        value = os.environ.get("SUITE_" + name.replace("-", "_"))
        if value is not None:
            options[name.replace("-", "_")] = kind(value)
    url = options.pop("store", "memory:")
    origin = os.environ.get("SUITE_allow_origin")
    return options, url, [origin] if origin else []


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default="uvicorn")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--allow-origin")
    for name, kind in FLAGS.items():
        parser.add_argument("--" + name, type=kind)
    return parser.parse_args()


def pass_on(args: argparse.Namespace) -> None:
    for name in [*FLAGS, "allow-origin"]:
        name = name.replace("-", "_")
        value = getattr(args, name)
        if value is not None:
            os.environ["SUITE_" + name] = str(value)


def run_uvicorn(port: int, http: str) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print(f"listening on http://127.0.0.1:{port}", flush=True)

    # Uvicorn ends by raising the signal again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        make_app(), port=port, http=http, log_level="warning", loop="asyncio"
    )
    Server(config).run()


OTHERS = {
    "hypercorn": ["hypercorn", "suite_server:make_app()", "-b", "127.0.0.1:{port}"],
    "hypercorn trio": [
        "hypercorn", "suite_server:make_app()", "-k", "trio",
        "-b", "127.0.0.1:{port}",
    ],
    "gunicorn": [
        "gunicorn", "suite_server:make_app()", "-b", "127.0.0.1:{port}",
        "-k", "uvicorn_worker.UvicornWorker",
    ],
    "granian": [
        "granian", "--interface", "asgi", "--factory", "suite_server:make_app",
        "--port", "{port}", "--no-ws",
    ],
    "wsgi gunicorn": [
        "gunicorn", "suite_server:make_wsgi()", "-b", "127.0.0.1:{port}",
        "-k", "gthread", "--threads", "60", "--keep-alive", "60",
        "--graceful-timeout", "2",
    ],
}  # fmt: skip


def die_with_parent() -> None:
    """A test may kill this program; its server must not be left behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def run_other(port: int, name: str) -> None:
    """As a program of its own, which is ready when its port answers."""
    command = [sys.executable, "-m", *(p.format(port=port) for p in OTHERS[name])]
    here = os.path.dirname(os.path.abspath(__file__))
    child = subprocess.Popen(
        command, cwd=here, stdout=sys.stderr, preexec_fn=die_with_parent
    )
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while child.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    child.wait()


def make_wsgi() -> Any:
    from libsse.wsgi import Application

    options, url, origins = settings()
    return Application(sync.Hub(url, **options), origins=origins)


def main() -> None:
    args = parse()
    pass_on(args)
    port = args.port or free_port()
    if args.server == "uvicorn":
        run_uvicorn(port, "httptools")
    elif args.server == "uvicorn-h11":
        run_uvicorn(port, "h11")
    else:
        run_other(port, args.server.replace("-", " "))


if __name__ == "__main__":
    main()
