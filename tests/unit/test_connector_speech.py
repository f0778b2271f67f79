"""From an answer to an outcome with a sentence, and no secret in either."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from connectors.answers import Kind, Row, json_of
from connectors.base import Reply
from connectors.speech import Speech
from pipeline.core.outcome import Unknown

NOW_S = 1_795_257_000.0


def row(kind: Kind = Kind.REFUSED, **changes: Any) -> Row:  # noqa: ANN401 - any field
    made = {"kind": kind, "code": "erp.no_room", "when": "400", "source": "a document"}
    return Row(**{**made, **changes})


SECRET = 'pa/ss"wört\\1'


def words(reply: Reply) -> str:
    """As connectors read them: out of the answer's JSON."""
    body = json_of(reply) if isinstance(reply, httpx.Response) else None
    return str(body.get("error")) if isinstance(body, dict) else ""


SPEECH = Speech(title="ERP", secrets=(SECRET,), words=words, clock=lambda: NOW_S)


@pytest.mark.parametrize("shown", [json.dumps, lambda t: json.dumps(t, ensure_ascii=False)])
def test_a_secret_that_an_answer_repeats_is_told_to_nobody(shown: Any) -> None:  # noqa: ANN401 - a function
    content = f'{{"error": {shown(f"bad login {SECRET}")}}}'.replace("/", "\\/")
    reply = httpx.Response(403, headers={"retry-after": "7"}, content=content.encode())
    for kind in Kind:
        for outcome in (
            SPEECH.outcome(row(kind), reply, keyed=False),
            SPEECH.again(row(kind), reply),
            SPEECH.checked("login", row(kind), reply),
        ):
            told = repr(outcome)
            assert "***" in told
            for part in (SECRET, 'ss"w', 'ss\\"w', "ss\\\\", "rt\\\\1", "w\\u00f6rt"):
                assert part not in told
    again = SPEECH.again(row(Kind.BUSY), reply)
    assert again.message == "ERP: no room (status 403): bad login ***."
    assert again.retry_after_s == 7.0


def test_a_secret_written_as_no_pattern_expects_is_hidden_in_the_words() -> None:
    escaped = "".join(f"\\u{ord(c):04X}" for c in SECRET)
    reply = httpx.Response(403, content=f'{{"error": "bad {escaped}"}}'.encode())
    assert SPEECH.message(row(), reply) == "ERP: no room (status 403): bad ***."


def test_trouble_on_the_way_is_told_without_a_status_or_a_wish() -> None:
    outcome = SPEECH.outcome(row(Kind.UNCLEAR), httpx.ReadTimeout(SECRET), keyed=True)
    assert outcome == Unknown(code="erp.no_room", message="ERP: no room.")
    assert SPEECH.wish(httpx.ReadTimeout("")) is None


def test_a_check_is_well_or_says_what_is_wrong() -> None:
    reply = httpx.Response(200)
    assert SPEECH.checked("login", None, reply).ok is True
    wrong = SPEECH.checked("login", row(Kind.BUSY), httpx.Response(401))
    assert (wrong.what, wrong.ok, wrong.detail) == ("login", False, "ERP: no room (status 401).")
