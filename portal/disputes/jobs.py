"""Letters about questions.  What was asked is in none of them."""

from __future__ import annotations

from portal.disputes import letters, operator_letters


def tell_of_questions() -> None:
    """Write to people that there is news of what they asked about their activity."""
    letters.TRAY.run()


def tell_operators() -> None:
    """Write to operators that a question waits for one of them."""
    operator_letters.TRAY.run()
