"""How the log says in plain words what happened; pure Python, no I/O."""

from __future__ import annotations

from types import MappingProxyType

HOW = MappingProxyType(
    {
        "push": "Kept up to date",
        "poll": "Kept up to date: they collected it",
        "pull": "They asked",
        "batch": "They asked for many people at once",
        "userinfo": "They asked when you signed in there",
        "drift": "They checked whether their copy is up to date (yes or no)",
        "consent": "You decided",
        "notice": "We told them what you decided",
        "staff": "A member of their staff looked at a page about you",
        "operator": "Somebody who looks after this service looked at a page about you",
    }
)
# Who did it, by channel; of staff the role is known, and not the name.
_ACTORS = MappingProxyType(
    {
        "push": "this service, as you agreed",
        "notice": "this service, as you agreed",
        "poll": "a program of theirs",
        "pull": "a program of theirs",
        "batch": "a program of theirs",
        "userinfo": "a program of theirs",
        "drift": "a program of theirs",
        "consent": "you",
        "staff": "a member of their staff",
        "operator": "somebody who looks after this service",
    }
)
# What a message without any of the details was about, where it was not a decision.
_NOTICES = MappingProxyType(
    {
        "changed": "We told them that there is something new to fetch",
        "confirmed": "We told them what you said is still right",
        "erasure": "We asked them to delete what they have",
    }
)
# What is said here is of one try alone, and stays true: what followed is for `sync` to say.
_OUTCOMES = MappingProxyType(
    {
        "sending": "On its way, no answer yet",
        "completed": "Received",
        "failed": "Not accepted",
        "unknown": "We do not know whether it arrived",
        "suppressed": "Not sent",
        "denied": "Refused",
    }
)
# Many people's details are prepared first and fetched by the company afterwards.
_BATCH_OUTCOMES = MappingProxyType(
    {"sending": "Ready for them, not fetched yet", "failed": "Not fetched in time, nothing was sent"}
)
_CHECKED = "Answered, no detail was sent"
# Handed out when they ask what is new, and theirs once they say that they have it.
_POLL_OUTCOMES = MappingProxyType(
    {
        "sending": "Collected, not confirmed yet",
        "failed": "Collected, and they could not use it",
        "unknown": "Collected, and never confirmed",
    }
)
_SEEN = MappingProxyType({"completed": "Seen, without what your details say"})
_OF_CHANNEL = MappingProxyType({"batch": _BATCH_OUTCOMES, "poll": _POLL_OUTCOMES, "staff": _SEEN, "operator": _SEEN})
_WHY = MappingProxyType(
    {
        "consent-absent": "you have not shared this with them",
        "consent-refused": "you chose not to share",
        "consent-paused": "you paused sharing",
        "consent-frozen": "you froze all sharing",
        "consent-withdrawn": "you stopped sharing",
        "consent-ended": "it had been ended",
        "consent-expired": "the time you agreed to is over",
        "consent-invalidated": "it was declared void",
        "consent-not-for-updates": "you did not agree to updates",
        "consent-used-up": "you shared this just once",
        "client-suspended": "this organisation is suspended",
        "purpose-withdrawn": "they may no longer use details for this",
        "field-not-shared": "you have not shared these details with them",
        "insufficient-user-authentication": "you had not confirmed that it is you, or too long ago",
        "too-often": "they had looked as often as they may in a day",
        "unchanged": "they asked whether anything had changed, and nothing had",
    }
)
_STEPS = MappingProxyType(
    {
        "given": "You agreed to share",
        "changed": "You changed what they get",
        "refused": "You chose not to share",
        "deferred": "You put off your answer",
        "countered": "You offered less than they asked for",
        "accepted": "They agreed to what you offered, and sharing began",
        "declined": "They did not agree to what you offered",
        "renewed": "You said that sharing goes on",
        "asking-allowed": "You let them ask again",
        "invalidated": "It was declared void",
        "paused": "You paused sharing",
        "frozen": "You froze all sharing",
        "unused": "Paused, because nobody had used it for a year",
        "resumed": "You resumed sharing",
        "withdrawn": "You stopped sharing",
        "ended": "They ended it",
        "taken-down": "We ended it, because they may not use details for this any more",
        "expired": "The time you agreed to is over",
        "erasure-asked": "You asked them to delete what they have",
        "left-out": "You chose not to share more",
        "deletion-confirmed": "They said that they deleted it",
        "deletion-held": "They said that they must keep it, and why",
        "deletion-due": "The time for which they had to keep it is over",
    }
)
DELETING = ("deletion-confirmed", "deletion-held", "deletion-due")
OTHERS_DECIDE = ("ended", "taken-down", "expired", "invalidated", *DELETING)
# Steps that are not the person's own doing are shown with what others did.
BY_OTHERS = MappingProxyType(
    {
        "ended": "them",
        "accepted": "them",
        "declined": "them",
        "expired": "nobody: the time was over",
        "unused": "nobody: it was not used",
        "invalidated": "somebody who looks after this service",
        "taken-down": "somebody who looks after this service",
        "deletion-confirmed": "them",
        "deletion-held": "them",
        "deletion-due": "nobody: the time was over",
    }
)
# News that says something of the details themselves, and not only what was decided.
TELLING = ("changed", "confirmed")
# Ways in which an organisation asks, by itself, for details.
ASKING = ("pull", "batch", "userinfo")
# Unusually often is so many times a day, and so many times what it was on any of the 30 days before.
BURST_LEAST = 10
BURST_TIMES = 3
_TONELESS = frozenset({"consent", "staff", "operator"})
_TONES = MappingProxyType({"completed": "ok", "denied": "stop", "failed": "hold", "unknown": "hold"})


def how(channel: str, reason: str | None) -> str:
    """Return how details left, or who decided."""
    if channel == "consent" and reason in DELETING:
        return "What you asked them to delete"
    if channel == "consent" and reason in OTHERS_DECIDE:
        return "Sharing ended"
    if channel == "consent" and reason in {"accepted", "declined"}:
        return "They decided"
    if channel == "consent" and reason == "unused":
        return "By itself"
    if channel == "notice" and reason is not None and reason in _NOTICES:
        return _NOTICES[reason]
    return HOW.get(channel, channel)


def outcome(channel: str, latest: str, reason: str | None) -> str:
    """Return what became of it: "Received", or "Refused: you stopped sharing"."""
    if channel == "consent":
        return _STEPS.get(reason or "", "Recorded")
    if channel == "drift" and latest == "completed":
        return _CHECKED
    words = _OF_CHANNEL.get(channel, _OUTCOMES).get(latest) or _OUTCOMES.get(latest, latest)
    why = _WHY.get(reason or "") if latest in {"denied", "suppressed"} else None
    return f"{words}: {why}" if why else words


def tone(channel: str, latest: str) -> str:
    """Return the class of the tag that shows an outcome; its words say the same."""
    return "" if channel in _TONELESS else _TONES.get(latest, "")


def actor(channel: str, reason: str | None) -> str:
    """Return who did it: "a member of their staff (owner)", with the role that is logged as `reason`."""
    if channel == "consent" and reason is not None and reason in BY_OTHERS:
        return BY_OTHERS[reason]
    role = f" ({reason})" if channel in {"staff", "operator"} and reason else ""
    return _ACTORS.get(channel, channel) + role
