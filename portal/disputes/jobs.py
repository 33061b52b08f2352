"""Letters about questions.  What was asked is in none of them."""

from __future__ import annotations

from portal import config, queue
from portal.disputes import letters


def tell_of_questions() -> None:
    """Write to people that there is news of what they asked about their activity, a few at a time."""
    settings = config.current()
    queue.answer(settings.redis_url, letters.TELL)
    if letters.send_some(settings):
        queue.ring_once(settings.redis_url, queue.WORK, letters.TELL)
