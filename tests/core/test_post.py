"""JSON posted to an endpoint: how long is waited, and what is tried again."""

import email.utils
import time
from dataclasses import dataclass

import pytest

from helpers.endpoint import answering
from moodlens.core import BadInput
from moodlens.core.post import post_json


@dataclass(frozen=True)
class Asked:
    key_env: str | None = None
    timeout: float = 5.0
    retries: int = 1
    pause: float = 0.0


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [("7", 7, 7), ("date", 25, 30), ("nonsense", 0, 0), ("-5", 0, 0), ("inf", 60, 60)],
)
def test_what_retry_after_asks_for_is_waited(after, least, most):
    waits = []
    with answering(lambda body, n: (429, {}) if n == 1 else (200, {"it": "is"})) as server:
        server.retry_after = (
            email.utils.formatdate(time.time() + 30, usegmt=True) if after == "date" else after
        )
        assert post_json(server.url, {}, Asked(), waits.append) == {"it": "is"}
    assert len(waits) == 1
    assert least <= waits[0] <= most


def test_an_answer_that_breaks_off_is_asked_for_again():
    waits = []
    with answering(lambda body, n: (200, {"n": n})) as server:
        server.left_out = 3
        with pytest.raises(BadInput, match=r"no answer: IncompleteRead.* after 2 attempts"):
            post_json(server.url, {}, Asked(), waits.append)
    assert len(waits) == 1
