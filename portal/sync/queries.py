"""Looking up where a client is told, and what it is owed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from portal.errors import NotFoundError
from portal.sync.models import BatchPull, Delivery, Stream

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from sqlalchemy.orm import Session


def told_clients(session: Session, *, client_ids: Collection[str]) -> set[str]:
    """Return those of `client_ids` that are told of changes: their endpoint has proved itself."""
    enabled = select(Stream.client_id).where(Stream.client_id.in_(client_ids), Stream.state == "enabled")
    return set(session.scalars(enabled))


def streams_away(session: Session, *, client_ids: Collection[str]) -> dict[str, Stream]:
    """Return by client the streams that are turned off because they failed, or left alone until the next probe."""
    away = (Stream.disabled_at.is_not(None)) | (Stream.circuit_step > 0)
    mine = select(Stream).where(Stream.client_id.in_(client_ids), away)
    return {stream.client_id: stream for stream in session.scalars(mine)} if client_ids else {}


def stream_of(session: Session, *, client_id: str) -> Stream | None:
    """Return where a client is told, if it has registered that."""
    return session.scalar(select(Stream).where(Stream.client_id == client_id))


def stream_held(session: Session, *, client_id: str) -> Stream:
    """Return a client's endpoint as it is now, held until the transaction ends; raise `NotFoundError` without one."""
    mine = select(Stream).where(Stream.client_id == client_id).with_for_update()
    found = session.scalars(mine.execution_options(populate_existing=True)).one_or_none()
    if found is None:
        # Whoever has looked before may be told so still: it was deleted since.
        raise NotFoundError
    return found


def waiting(session: Session, *, client_ids: Collection[str]) -> dict[str, int]:
    """Return how many deliveries each client is still owed."""
    owed = select(Delivery.client_id, func.count()).where(
        Delivery.client_id.in_(client_ids), Delivery.generation > Delivery.acked_generation
    )
    return {client_id: count for client_id, count in session.execute(owed.group_by(Delivery.client_id))}  # noqa: C416 - a row is no pair to mypy


def pull_of(session: Session, *, pull_id: UUID, client_id: str) -> BatchPull | None:
    """Return a client's own batch pull; another client's is nobody's."""
    return session.scalar(select(BatchPull).where(BatchPull.pull_id == pull_id, BatchPull.client_id == client_id))
