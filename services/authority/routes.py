"""The authority's API; each route only translates. They block in threads, which SQLite and signing both do."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import PlainTextResponse, Response

from services.authority.answers import document
from services.authority.membership import Application, Membership
from services.authority.messages import Enrol, Heartbeat, Renew
from services.common.errors import Refused

Authorization = Annotated[str, Header(max_length=1024)]
_SCHEME = "bearer "


def api_router(membership: Membership) -> APIRouter:
    """Return the routes for nodes and for the health check."""
    router = APIRouter()

    @router.post("/v1/enrol")
    def enrol(request: Request, body: Enrol) -> dict[str, Any]:
        source = request.client.host if request.client else ""
        application = Application(body.token_id, body.secret, body.name, body.public_key)
        return document(membership.enrol(application, source))

    @router.post("/v1/heartbeat")
    def heartbeat(body: Heartbeat, authorization: Authorization = "") -> dict[str, Any]:
        bearer = _bearer(authorization)
        return document(
            membership.heartbeat(bearer, body.state, body.blocks, body.model, endpoint=body.endpoint)
        )

    @router.post("/v1/renew")
    def renew(body: Renew, authorization: Authorization = "") -> dict[str, Any]:
        return document(membership.renew(_bearer(authorization), body.public_key))

    @router.post("/v1/leave")
    def leave(authorization: Authorization = "") -> dict[str, Any]:
        membership.leave(_bearer(authorization))
        return {}

    @router.post("/v1/peers")
    def peers(authorization: Authorization = "") -> dict[str, Any]:
        return document(membership.peers(_bearer(authorization)))

    @router.get("/healthz")
    def healthz() -> Response:
        membership.check()
        return PlainTextResponse("ready to enrol nodes\n")

    return router


def _bearer(authorization: str) -> str:
    if not authorization.lower().startswith(_SCHEME):
        raise Refused("the request names no node", "send Authorization: Bearer <node id>.<credential>")
    return authorization[len(_SCHEME) :].strip()
