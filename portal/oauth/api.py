"""The machine endpoints: a form in, a JSON document out, each error in its RFC's shape."""

from __future__ import annotations

import logging
from functools import cache, wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from apiflask import APIBlueprint
from flask import Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from portal.companies import key_source
from portal.errors import PortalError
from portal.oauth import (
    documents,
    end_session,
    grant_management,
    jwks,
    metadata,
    parameters,
    protection,
    registration,
    schemas,
    server,
    userinfo,
)
from portal.oauth.encrypted import EncryptionKeyMissingError
from portal.oauth.errors import ClientKeyUnknownError, OAuthError
from portal.oauth.pace import TooManyRequestsError
from portal.oauth.registration import RegistrationRequest
from portal.oauth.request import MachineRequest
from portal.oauth.signed_answer import SignedAnswer
from portal.web import context, limits, openapi
from portal.web.access import marked, public
from portal.web.problems import problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    from portal.companies.keys import PublicKey

log = logging.getLogger(__name__)
api = APIBlueprint("oauth_api", __name__, tag="Authorization server")
_FOR_ALL = f"public, max-age={jwks.MAX_AGE}"
Answer = tuple[int, dict[str, Any] | SignedAnswer]


@cache
def _server() -> server.AuthorizationServer:
    return server.build()


def client_required(endpoint: Callable[[MachineRequest], Answer]) -> Callable[[], Response]:
    """Turn an endpoint that authenticates its client into a view; what it refuses it says in JSON.

    The refusal is an answer, not an exception, so that what was used up on the way stays used up.
    """

    @wraps(endpoint)
    def view() -> Response:
        try:
            status, body = _attempt(endpoint)
        except OAuthError as error:
            return _refused(error)
        return _answer(status, body)

    return marked(view, "client")


def _attempt(endpoint: Callable[[MachineRequest], Answer]) -> Answer:
    try:
        return _settled(endpoint, _request())
    except ClientKeyUnknownError as error:
        # Nothing was used up, and no transaction is open: a client may have put new keys at its own address.
        if not key_source.refresh(client_id=error.client_id, now=context.now()):
            raise
    return _settled(endpoint, _request())


def _refused(error: OAuthError) -> Response:
    log.info("%s refused: %s %s (%s)", g.request_id, error.code, type(error).__name__, error.private)
    if shut := limits.failed(error.code):
        return shut
    response = _json(error.status, {"error": error.code, "error_description": error.public, **error.members})
    return limits.waits(response, error.wait) if isinstance(error, TooManyRequestsError) else response


def registrar(endpoint: Callable[..., registration.Answer]) -> Callable[..., Response]:
    """Turn an endpoint that a registration token opens into a view; what is refused leaves nothing behind."""

    @wraps(endpoint)
    def view(**arguments: str) -> Response:
        try:
            status, body = endpoint(_registration_request(), **arguments)
        except PortalError as error:
            return _registration_refused(registration.refusal(error))
        return _json(status, body) if body else _empty(status)

    return marked(view, "registration token")


def own_checks(view: Callable[[], Response]) -> Callable[[], Response]:
    """Mark the one route here whose statement checks the token itself."""
    return marked(view, "token:own")


@api.post("/oauth/par")
@api.doc(**documents.PUSH)
@openapi.noted(api, schemas.PushForm, location="form")
@client_required
def push(asked: MachineRequest) -> Answer:
    answer: Answer = _server().create_endpoint_response("pushed_authorization", asked)
    return answer


@api.post("/oauth/bc-authorize")
@api.doc(**documents.ASK_FROM_AFAR)
@openapi.noted(api, schemas.BackchannelForm, location="form")
@client_required
def ask_from_afar(asked: MachineRequest) -> Answer:
    answer: Answer = _server().create_endpoint_response("backchannel_authentication", asked)
    return answer


@api.post("/oauth/token")
@api.doc(**documents.TOKEN)
@openapi.noted(api, schemas.TokenForm, location="form")
@client_required
def token(asked: MachineRequest) -> Answer:
    answer: Answer = _server().create_token_response(asked)
    return answer


@api.post("/oauth/revoke")
@api.doc(**documents.REVOKE)
@openapi.noted(api, schemas.OneTokenForm, location="form")
@client_required
def revoke(asked: MachineRequest) -> Answer:
    answer: Answer = _server().create_endpoint_response("revocation", asked)
    return answer


@api.post("/oauth/introspect")
@api.doc(**documents.INTROSPECT)
@openapi.noted(api, schemas.OneTokenForm, location="form")
@client_required
def introspect(asked: MachineRequest) -> Answer:
    answer: Answer = _server().create_endpoint_response("introspection", asked)
    return answer


@api.route("/oauth/userinfo", methods=["GET", "POST"])
@api.doc(**documents.USERINFO)
@own_checks
def person() -> Response:
    settings, keyring = context.settings(), context.keyring()
    try:
        told = userinfo.tell(
            settings.database_url, keyring=keyring, credentials=protection.credentials(), most=settings.grant_pulls,
            now=context.now(),
        )  # fmt: skip
        if told.plain:
            return _json(200, told.claims)
        return _answer(200, userinfo.signed(context.session(), told, keyring=keyring, issuer=settings.issuer))
    except userinfo.NotSharedError as error:
        log.info("%s refused: %s", g.request_id, error.code)
        return problem(error.status, error.code, error.public)
    except EncryptionKeyMissingError as error:
        return problem(409, "no-encryption-key", error.public)
    except OAuthError as error:
        return protection.challenge(error, userinfo.SCOPE)


@api.post(registration.PATH)
@api.doc(**documents.REGISTER)
@openapi.noted(api, schemas.Registration, location="json")
@registrar
def register(asked: RegistrationRequest) -> registration.Answer:
    order = registration.order_new(asked)
    return registration.register(asked, order, _keys_of(order))


@api.get(f"{registration.PATH}/<client_id>")
@api.doc(**documents.REGISTERED)
@registrar
def registered(asked: RegistrationRequest, client_id: str) -> registration.Answer:
    return registration.read(asked, client_id)


@api.put(f"{registration.PATH}/<client_id>")
@api.doc(**documents.REPLACE_REGISTERED)
@openapi.noted(api, schemas.Registration, location="json")
@registrar
def replace_registered(asked: RegistrationRequest, client_id: str) -> registration.Answer:
    order = registration.order_change(asked, client_id)
    return registration.replace(asked, client_id, order, _keys_of(order))


@api.delete(f"{registration.PATH}/<client_id>")
@api.doc(**documents.END_REGISTERED)
@registrar
def end_registered(asked: RegistrationRequest, client_id: str) -> registration.Answer:
    return registration.end(asked, client_id)


@api.get("/oauth/grants/<uuid:grant_id>")
@api.doc(**documents.GRANT)
@protection.token_required(grant_management.QUERY)
def grant(grant_id: UUID) -> Response:
    asked = {"client_id": g.token.client_id, "grant_id": grant_id, "now": context.now()}
    try:
        found = grant_management.look(context.session(), issuer=context.settings().issuer, **asked)
    except grant_management.GrantNotFoundError as error:
        return problem(error.status, error.code, error.public)
    return _json(200, found)


@api.delete("/oauth/grants/<uuid:grant_id>")
@api.doc(**documents.END_GRANT)
@protection.token_required(grant_management.REVOKE)
def end_grant(grant_id: UUID) -> Response:
    asked = {"client_id": g.token.client_id, "grant_id": grant_id, "now": context.now()}
    try:
        grant_management.revoke(context.session(), **asked)
    except grant_management.GrantNotFoundError as error:
        return problem(error.status, error.code, error.public)
    return Response(status=204, headers={"Cache-Control": "no-store"})


@api.post("/oauth/end-session")
@api.doc(hide=True)
@public
def leave() -> Response:
    """Turn the form of a company's site into the page that asks (RP-Initiated Logout section 2); nothing ends here.

    The browser comes from elsewhere and so without its cookies: only the page itself knows who is signed in.
    """
    g.page = True
    sent = parameters.read(mimetype=request.mimetype, query=b"", body=_body())
    leaving = end_session.read(context.session(), list(sent.items()), issuer=context.settings().issuer)
    return Response("", 303, {"Location": leaving.question, "Cache-Control": "no-store"})


@api.get("/oauth/jwks")
@api.doc(hide=True)
@public
def keys() -> Response:
    return _for_all(jwks.document(context.session()))


@api.get("/.well-known/oauth-authorization-server")
@api.get("/.well-known/openid-configuration")
@api.doc(hide=True)
@public
def describe() -> Response:
    return _for_all(metadata.authorization_server(context.settings().issuer))


@api.get("/.well-known/oauth-protected-resource")
@api.get("/.well-known/oauth-protected-resource/api/v1")
@api.doc(hide=True)
@public
def describe_api() -> Response:
    return _for_all(metadata.protected_resource(context.settings().issuer))


def _settled(endpoint: Callable[[MachineRequest], Answer], asked: MachineRequest) -> Answer:
    # What was used before is refused as that, whatever else is wrong with the request.
    try:
        return endpoint(asked)
    finally:
        asked.use_up()


def _request() -> MachineRequest:
    return MachineRequest(
        database_url=context.settings().database_url,
        open_session=context.session,
        keyring=context.keyring(),
        issuer=context.settings().issuer,
        now=context.now(),
        method=request.method,
        url=context.settings().issuer + request.path,
        parameters=parameters.read(mimetype=request.mimetype, query=request.query_string, body=_body()),
        authorization=request.headers.get("Authorization"),
        dpop=request.headers.get("DPoP"),
        accept=_accept(),
    )


def _accept() -> list[str]:
    # Only what the client names itself: a wildcard asks for nothing in particular.
    return [named.partition(";")[0].lower() for named, quality in request.accept_mimetypes if quality > 0]


def _registration_request() -> RegistrationRequest:
    return RegistrationRequest(
        session=context.session(),
        issuer=context.settings().issuer,
        now=context.now(),
        authorization=request.headers.get("Authorization"),
        mimetype=request.mimetype,
        query=request.query_string,
        body=_body(),
    )


def _registration_refused(error: OAuthError) -> Response:
    context.fail()
    response = _refused(error)
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = registration.challenge(error)
    if isinstance(error, registration.BusyError):
        response.headers["Retry-After"] = str(error.wait)
    return response


def _keys_of(order: registration.Order) -> Collection[PublicKey]:
    if order.keys is not None:
        return order.keys
    # Nothing is held while a stranger's server takes its time.
    context.session().commit()
    return key_source.fetch(order.jwks_uri, company_id=order.company_id)


def _empty(status: int) -> Response:
    return Response(status=status, headers={"Cache-Control": "no-store"})


def _body() -> bytes:
    if (request.content_length or 0) > parameters.LARGEST:
        raise parameters.BodyTooLargeError
    try:
        return request.get_data()
    except HTTPException as error:
        raise parameters.BodyUnreadableError from error


def _answer(status: int, body: dict[str, Any] | SignedAnswer) -> Response:
    if not isinstance(body, SignedAnswer):
        return _json(status, body)
    return Response(body.text, status, {"Cache-Control": "no-store"}, content_type=body.media_type)


def _for_all(body: dict[str, Any]) -> Response:
    response = _json(200, body, _FOR_ALL)
    response.add_etag()
    response.make_conditional(request)
    return response


def _json(status: int, body: dict[str, Any], cache_control: str = "no-store") -> Response:
    response = jsonify(body)
    response.status_code = status
    response.headers["Cache-Control"] = cache_control
    return response
