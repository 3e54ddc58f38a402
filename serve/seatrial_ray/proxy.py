"""What Ray's own proxy tells a client whose replica is lost: a 503 of ours.

Ray's proxy ends such a request without an answer, of which uvicorn makes a bare 500. HAProxy does
not need this: it asks another replica.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.middleware import Middleware

from seatrial_ray.lost import LOST
from seatrial_serve.http.headers import REQUEST_ID_HEADER, request_id_of
from seatrial_serve.http.status import answer_to

if TYPE_CHECKING:
    from seatrial_serve.api.fast_path import Asgi
    from seatrial_serve.http.body import Scope


def middlewares() -> list[Middleware]:
    """Return what Ray puts around its proxy.

    Ray calls it by the variable `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`.
    """
    return [Middleware(LostReplicas)]


class LostReplicas:
    """Answers 503 where the app around which it stands ends a request without an answer."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass everything on, and answer what nobody has answered."""
        answered = scope["type"] != "http"

        async def send_and_note(message: Any) -> None:
            nonlocal answered
            answered = True
            await send(message)

        await self._app(scope, receive, send_and_note)
        if answered:
            return
        request_id = request_id_of(dict(scope["headers"]))
        status, _, body, headers = answer_to(LOST, request_id)
        head = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (REQUEST_ID_HEADER, request_id.encode()),
            *headers,
        ]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})
