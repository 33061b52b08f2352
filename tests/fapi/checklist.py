"""The rows of the checklist, and what elsewhere in the suite holds one of them where HTTP alone does not show it."""

from __future__ import annotations

from typing import Final

ROWS: Final = range(1, 76)
ELSEWHERE: Final[dict[int, tuple[str, ...]]] = {
    # TLS is spoken by the server itself, in a process of its own with a certificate.
    5: (
        "tests/test_server.py::test_old_and_weak_hellos_are_refused",
        "tests/test_server.py::test_the_rest_is_served",
    ),
    # The page as a person sees it, in a real browser, with scripts and without.
    36: ("tests/journeys/test_connect.py::test_sharing_makes_a_customer_at_once",),
    # The signed event about an ended consent, and that the next call of the company is refused.
    74: (
        "tests/sync/test_outbox.py::test_stopping_tells_the_company_once_and_then_nothing",
        "tests/journeys/test_stop_sharing.py::test_stopping_acts_on_both_sides",
    ),
}
