"""Applications for the tests of WSGI servers: one in Flask, one in Django, with the
same paths. Configured by the environment, as workers import it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import django
import flask
from app_hub import note
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from libsse.django import respond as django_respond
from libsse.django import response_from_app
from libsse.wsgi import Application, respond

from libsse import sync

hub = sync.Hub(os.environ.get("APP_STORE", "memory:"), heartbeat_ms=1000)
everything = Application(hub)


def tokens(count: int) -> Iterator[str]:
    try:
        for n in range(count):
            yield f"token {n}"
            time.sleep(0.01)
    finally:
        note("finally")


# ---- Flask ----

flask_app = flask.Flask(__name__)


@flask_app.get("/pid")
def flask_pid() -> Any:
    return flask.jsonify(os.getpid())


@flask_app.route("/chat/<id>", methods=["GET", "HEAD", "POST"])
def flask_chat(id: str) -> Any:
    count = int(flask.request.args.get("count", 1 << 30))
    producer = (lambda: tokens(count)) if flask.request.method == "POST" else None
    answer = respond(hub, id, producer, headers={"X-Own": "yes"})
    return flask.Response.from_app(answer, flask.request.environ)


@flask_app.route("/api/stream/<path:_>", methods=["GET", "POST", "DELETE"])
def flask_everything(_: str) -> Any:
    return flask.Response.from_app(everything, flask.request.environ)


# ---- Django ----

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    SECRET_KEY="tests",
)
django.setup()


def django_pid(request: Any) -> Any:
    return JsonResponse(os.getpid(), safe=False)


@csrf_exempt
def django_chat(request: Any, id: str) -> Any:
    count = int(request.GET.get("count", 1 << 30))
    producer = (lambda: tokens(count)) if request.method == "POST" else None
    return django_respond(hub, request, id, producer, headers={"X-Own": "yes"})


@csrf_exempt
def django_everything(request: Any, rest: str) -> Any:
    return response_from_app(everything, request)


urlpatterns = [
    path("pid", django_pid),
    path("chat/<str:id>", django_chat),
    path("api/stream/<path:rest>", django_everything),
]
django_app = get_wsgi_application()
