"""The pages that a problem document's `type` leads to: what it means, why it happens, how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Blueprint

from portal.errors import NotFoundError
from portal.web.access import public
from portal.web.pages import page

if TYPE_CHECKING:
    from flask import Response

pages = Blueprint("docs", __name__, url_prefix="/docs")


@dataclass(frozen=True)
class Entry:
    """One reason for a refusal, in words for the engineer who met it."""

    code: str
    status: int
    title: str
    cause: str
    mend: str


_TOLD = "Stop asking until you are told: a consent event arrives when it changes."
ENTRIES = (
    Entry("consent-absent", 403, "No consent", "This person does not share anything with this client.", "Ask them: start at the pushed authorization request."),
    Entry("consent-refused", 403, "Declined", "The person was asked and said no.", "Respect it. You may ask again when something has changed for them."),
    Entry("consent-paused", 403, "Paused", "The person has paused sharing. What you already have stays yours to use.", _TOLD),
    Entry("consent-frozen", 403, "Frozen", "The person has frozen everything they share, with everybody. What you already have stays yours to use.", _TOLD),
    Entry("consent-withdrawn", 403, "Stopped by the person", "The person has stopped sharing with you.", "Stop using the details and delete them, unless a law makes you keep them."),
    Entry("consent-ended", 403, "Ended", "Your organisation ended it or withdrew the purpose, or the operator took the purpose down.", "Ask the person again, for a purpose that is in use, if you need to."),
    Entry("consent-expired", 403, "Ran out", "The time the person chose is over.", "Ask the person again."),
    Entry("consent-invalidated", 403, "Declared void", "The operator found that this consent should not have begun.", "Stop using the details and delete them; write to the operator if you think otherwise."),
    Entry("consent-not-for-updates", 403, "Not kept up to date", "The person lets you ask, and did not choose to keep you up to date.", "Ask when you need a detail."),
    Entry("consent-used-up", 403, "Used once", "The person shared once, and you have asked already.", "Ask the person again."),
    Entry("field-not-shared", 403, "Nothing of this is shared", "None of the attributes you asked for is shared with you.", "Ask for fewer, or leave `attributes` out to get all that are shared."),
    Entry("client-suspended", 403, "Suspended", "This client is suspended.", "Write to the operator."),
    Entry("purpose-withdrawn", 403, "Purpose withdrawn", "Your organisation withdrew the purpose this was shared for, or the operator took it down.", "Declare a new purpose and ask the person."),
    Entry("invalid-purpose", 422, "Not a purpose", "A part of what you declared cannot be shown to people as it stands; `errors` points at it.", "Mend what the pointer names and send it again."),
    Entry("over-asking", 422, "Asks for too much", "Each kind of purpose has a ceiling: which details, ways of use, days and looks it may ask for at most. `errors` points at each part that goes beyond it.", "Ask for less, or declare what you need for the purpose that needs it: all ceilings stand in the guide."),
    Entry("purpose-taken", 422, "Code taken", "A purpose of yours has this code: you withdrew it, or declared it at this moment.", "Choose another code, or ask for your purposes and change that one."),
    Entry("too-many-purposes", 409, "Too many purposes", "Your app has fifty purposes, those that are withdrawn included.", "Change one that you have, or declare it for another app."),
    Entry("no-draft", 409, "No draft", "The newest version of this purpose was sent for review, or decided on, already.", "`GET /api/v1/purposes` says where each version stands."),
    Entry("no-review-needed", 409, "No review needed", "The app is a test app: it asks under the newest version of a purpose at once.", "Declare the purpose for your live app, and send that for review."),
    Entry("too-many-versions", 429, "Changed too often", "This purpose was changed fifty times within a day.", "Go on tomorrow."),
    Entry("unknown-attribute", 422, "Unknown attribute", "The catalogue has no attribute of that name.", "Use the names in the OpenAPI document."),
    Entry("attribute-guessable", 422, "Too easily guessed", "A drift check compares digests, and this detail has so few possible values that comparing would be guessing.", "Ask for the detail itself, or leave it out of the check."),
    Entry("malformed-body", 400, "Malformed body", "The body could not be read as JSON in UTF-8.", "Mend it as the title says."),
    Entry("wrong-media-type", 415, "Wrong media type", "The body is not `application/json`.", "Set `Content-Type: application/json`."),
    Entry("log-missing", 404, "No log", "The log has not been signed since this portal was set up.", "Ask again in a minute."),
    Entry("not-in-log", 404, "Not in the log", "The log, as large as the newest checkpoint says, has no such entry or tile.", "Read `/log/checkpoint` first. What was logged is in it within ten seconds."),
    Entry("message-not-in-log", 404, "Not in the signed log", "The signed log has no message of this `jti` to your app about this person.", "Sent a moment ago, it is there in seconds: `Retry-After` says when to look. Past its `logged_by`, keep the message and write to the operator: it proves that something was not logged."),
    Entry("pull-not-done", 409, "Not answered yet", "The pull of many people is still running.", "Follow `links.self` until `state` is `done`."),
    Entry("pull-expired", 410, "Result gone", "A result is kept for a limited time.", "Ask again."),
    Entry("consent-changed", 409, "Changed at this moment", "What the person shares changed while you asked.", "Ask again; you are answered by what holds now."),
    Entry("no-encryption-key", 409, "No encryption key", "Your app has no key that may be used: none is proved, or the new one waits.", "`GET /api/v1/keys` says what each key waits for."),
    Entry("challenge-gone", 409, "Challenge over", "The challenge to your key is older than an hour, was answered five times, or was never asked for.", "Ask for your keys again: a new challenge is there."),
    Entry("proof-wrong", 422, "Not what was in it", "The text you sent is not what the newest challenge to this key holds.", "Open the newest challenge with the private half of this key, and send the text inside."),
    Entry("no-stream", 404, "No stream", "Your app has no stream that could be polled.", "Make one: `POST /api/v1/streams`."),
    Entry("cursor-unknown", 422, "Cursor not known", "The `after` you gave was not given out for the stream that you have now.", "Leave it out, and take the one in the answer from then on."),
    Entry("stream-exists", 409, "You have a stream", "An app has one stream, and yours has it already.", "Change it with `PATCH`, or delete it first."),
    Entry("stream-changed", 409, "Stream changed at this moment", "Your stream was changed, or turned off, while you changed it or turned it on.", "Read it, and ask again."),
    Entry("stream-member-not-yours", 400, "Not yours to change", "You sent back something that only the portal says, and it is not what you read.", "Send it as you read it, or leave it out."),
    Entry("no-endpoint", 422, "No endpoint", "A stream that is pushed needs `delivery.endpoint_url`.", "Give the address of your endpoint, or choose `urn:ietf:rfc:8936` and poll."),
    Entry("endpoint-not-proven", 422, "Endpoint not proven", "The endpoint was sent a verification event and did not repeat its `state`; the title says what it did.", 'Answer `200` with JSON `{"state": …}`. The endpoint you had stays in use.'),
    Entry("unsafe-address", 422, "Address not allowed", "We do not send to this address: it is not public, or not `https` on port 443 or 8443.", "Give an address that the whole internet can reach."),
    Entry("endpoint-proof-busy", 422, "One at a time", "Another endpoint is being proven at this moment.", "Try again in a few seconds."),
    Entry("verification-too-soon", 429, "Verified a moment ago", "A verification event may be asked for once a minute.", "Wait as many seconds as `Retry-After` says."),
    Entry("grant-not-found", 404, "No such grant", "No live grant of this client has this `grant_id`: it is unknown, over, or another client's.", "Use the `grant_id` of the newest token answer; ask the person again if the grant is over."),
    Entry("grant-not-active", 409, "Not shared at the moment", "The person has paused, stopped or let run out what you refer to.", "Wait until it is active again; you are told."),
    Entry("detail-not-left-out", 422, "Not left out", "You asked once more for a detail that is shared already, or that is no optional one of your purpose.", "Ask for those in `left_out` of `GET /api/v1/grants/{grant_id}`."),
    Entry("detail-declined", 409, "Declined before", "You asked for this detail once more before, and the person said no.", "Respect it: they can add it themselves at any time, and you are told."),
    Entry("offer-over", 409, "Offer over", "The offer was answered or taken back, is older than 30 days, or your purpose says something else by now.", "Look at the grant: its `state` says what became of it. Ask the person again if you need to."),
    Entry("sharing-frozen", 409, "Frozen", "The person has frozen everything they share: nothing new begins.", "Try again another day; the offer waits for its 30 days."),
    Entry("not-to-be-asked", 403, "Not to be asked again", "The person does not want to be asked for this purpose again.", "Respect it; only they can change that."),
    Entry("asked-lately", 429, "Asked not long ago", "A person is asked once in 30 days for what they left out of one purpose.", "Wait as many seconds as `Retry-After` says."),
    Entry("too-many-questions", 429, "Too many questions", "Three of your questions wait for this person, or they declined three within a day.", "Wait for their answers."),
    Entry("deletion-not-asked", 409, "Nobody asked for it", "The person has not asked you to delete what you have under this grant.", "`GET /api/v1/deletions` lists what you are to delete."),
    Entry("deletion-settled", 409, "Settled already", "You said that the detail is deleted, or the person shares it with you for the same purpose again.", "Leave it out of what you send."),
    Entry("detail-not-to-delete", 422, "Not one of the details", "The grant never covered this detail.", "Use the names in `GET /api/v1/grants/{grant_id}/deletion`."),
    Entry("hold-date", 422, "Not a day to hold until", "A hold ends after today, and within ten years.", "Give the day on which you will delete the detail."),
    Entry("too-many-holds", 429, "Held often today", "You said ten times within a day what you must keep of one consent; each time stays in its record.", "Go on tomorrow. What you deleted you may say at any time."),
    Entry("question-answered", 409, "Answered already", "Somebody of your organisation answered this question before.", "Read what they said in the console. An answer cannot be changed; there is room for another one when it is asked of you again."),
    Entry("question-settled", 409, "Settled or decided", "The person has said that it is settled, or the operator has decided.", "There is nothing left to answer."),
    Entry("not-found", 404, "Not found", "There is nothing at this address for you. A person you do not know and a person of another company look the same.", "Check the address and the `sub`."),
    Entry("invalid", 422, "Something in it needs mending", "A part of what you sent cannot be used; `errors` points at it (RFC 6901).", "Mend what the pointer names and send it again."),
    Entry("bad-request", 400, "Bad request", "What you sent could not be read.", "Send JSON in UTF-8, as the OpenAPI document says."),
    Entry("invalid-token", 401, "Access token not valid", "The access token is missing, unknown, expired, ended, bound to another key, or sent as `Bearer`.", "Get a new token and send it with the scheme `DPoP`, signed for by the key you got it with."),
    Entry("invalid-dpop-proof", 401, "DPoP proof not valid", "A check of RFC 9449 section 4.3 failed; the title says which.", "Make a fresh proof for every request: `htm`, `htu`, `ath`, a new `jti`, and `iat` within a minute."),
    Entry("insufficient-user-authentication", 401, "The person must confirm who they are", "A person's token asks for a sensitive attribute, and the person gave one proof of who they are, or gave both more than 24 hours ago (RFC 9470).", "Push a new authorization request with the `acr_values` and `max_age` of `WWW-Authenticate`. Ask for other attributes meanwhile."),
    Entry("too-often", 429, "Looked too often", "You have looked at this person's details, or compared your copy of them, as often as your purpose, or the portal, allows in one day (UTC); or the digests you sent were wrong too often. They read the number before they agreed.", "Wait as long as `Retry-After` says. Send `If-None-Match` with the `ETag` you have: hearing that nothing has changed costs no look. Be told of changes instead of asking."),
    Entry("idempotency-key-malformed", 400, "Not an Idempotency-Key", "The header is not one text of at most 255 printable characters.", "Send a UUID, in quotation marks or without."),
    Entry("idempotency-key-reused", 422, "Idempotency-Key used for something else", "You sent this key with other subjects, other attributes or another `epk` in the last 24 hours.", "Make a new key for a new request; repeat a request exactly as it was, `epk` included."),
    Entry("too-many-pulls", 429, "Too many pulls waiting", "The app has ten pulls waiting to be answered.", "Wait as long as `Retry-After` says, or until one is done."),
    Entry("too-much-kept", 429, "Too many results kept", "The results that are kept for the app are of as many people as are kept for one app.", "Fetch each to its last page: it goes an hour later. Or wait as long as `Retry-After` says."),
    Entry("too-many-requests", 429, "Too many requests", "Too many requests from your address failed: an assertion, a proof or a token was not good. Or one client sent too many, changed its stream too often, or had endpoints proven too often; `title` says which.", "Wait as many seconds as `Retry-After` says, and mend what was refused before. All limits stand in the guide."),
    Entry("insufficient-scope", 403, "Not allowed by the token", "The token is valid and does not have the scope this needs.", "Ask for the scope named in `WWW-Authenticate`."),
    Entry("unauthorized", 401, "Not signed in", "The access token or its DPoP proof is missing or not valid.", "Read `WWW-Authenticate`; get a new token, and make a fresh proof for every request."),
    Entry("forbidden", 403, "Not allowed", "The token is valid and does not reach this far.", "Ask for the scope named in `WWW-Authenticate`."),
    Entry("method-not-allowed", 405, "Method not allowed", "This address does not take that method.", "See `Allow`."),
    Entry("request-entity-too-large", 413, "Too large", "The body is larger than 256 KiB.", "Ask for fewer people at once: at most 1000."),
    Entry("unsupported-media-type", 415, "Unsupported media type", "The body is not `application/json`.", "Set `Content-Type: application/json`."),
    Entry("internal-error", 500, "Something went wrong on our side", "It is in our log under the `request_id`.", "Try again later; write to us with the `request_id` if it stays."),
)  # fmt: skip
BY_CODE = {entry.code: entry for entry in ENTRIES}


@pages.get("/errors")
@public
def errors() -> Response:
    return page("docs/errors.html", entries=ENTRIES)


@pages.get("/errors/<code>")
@public
def error(code: str) -> Response:
    if code not in BY_CODE:
        raise NotFoundError(private="unknown problem type")
    return page("docs/error.html", entry=BY_CODE[code])
