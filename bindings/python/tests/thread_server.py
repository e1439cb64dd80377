"""Uvicorn in a thread of a program, which ends it by `should_exit`: no signal gets
there."""

import signal
import sys
import threading

import uvicorn
from app_hub import app

config = uvicorn.Config(app, port=int(sys.argv[1]), log_level="warning")
server = uvicorn.Server(config)
thread = threading.Thread(target=server.run)


def end(*_: object) -> None:
    server.should_exit = True


signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
thread.start()
thread.join()
