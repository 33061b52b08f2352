"""The company's side of asking for approval: it waits as it is told to, and says what came of it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

import approving
from approving import Approvals
from portal_client import Connection, PortalProblemError, UntrustedError
from tests.timing import until


class Portal:
    """Answers polls with what the test put in; an exception is raised."""

    def __init__(self, *answers: object) -> None:
        self.answers, self.words, self.polls = list(answers), "", 0

    def ask_approval(self, _sub: str, *, words: str, attributes: list[str]) -> dict[str, Any]:
        assert attributes == ["name.full"]
        self.words = words
        return {"auth_req_id": "request-1", "expires_in": 60, "interval": 0}

    def approval(self, auth_req_id: str, *, sub: str) -> Connection:
        assert (auth_req_id, sub) == ("request-1", "person-1")
        self.polls += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Connection("person-1", "grant-1", "token-1")


class Pulls:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def one(self, sub: str, *, token: str = "") -> None:
        self.asked.append((sub, token))


def problem(code: str) -> PortalProblemError:
    return PortalProblemError(400, code, "A sentence.")


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([None], "approved"),
        ([problem("authorization_pending"), problem("authorization_pending"), None], "approved"),
        ([problem("authorization_pending"), problem("access_denied")], "access_denied"),
        ([problem("expired_token")], "expired_token"),
        ([problem("invalid_grant")], "invalid_grant"),
        ([UntrustedError("about somebody else")], "untrusted"),
    ],
)
def test_what_became_of_it(answers: list[object], outcome: str) -> None:
    portal, pulls = Portal(*answers), Pulls()
    approval = settled(Approvals(portal, pulls), "person-1")  # type: ignore[arg-type]  # what it needs of both
    assert approval.outcome == outcome
    assert portal.polls == len(answers)
    assert pulls.asked == ([("person-1", "token-1")] if outcome == "approved" else [])
    assert approval.words == portal.words


def test_it_polls_more_slowly_when_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(approving, "time", SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    portal = Portal(problem("slow_down"), problem("slow_down"), problem("authorization_pending"), None)
    approvals = Approvals(portal, Pulls())  # type: ignore[arg-type]  # what it needs of both
    approval = approvals.ask("person-1", attributes=["name.full"])
    until(lambda: approval.outcome != approving.WAITING)
    assert pauses == [0, 5, 10, 10]


def settled(approvals: Approvals, sub: str) -> approving.Approval:
    approval = approvals.ask(sub, attributes=["name.full"])
    until(lambda: approval.outcome != approving.WAITING)
    return approvals.find(approval.id) or approval
