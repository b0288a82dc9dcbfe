"""Words for times, states and foreign text."""

from datetime import UTC, datetime, timedelta

import pytest

from builds.models import Build
from builds.states import REASONS, Status
from builds.templatetags.foreign_text import harmless, last_lines
from builds.templatetags.moments import relative_words, words_for
from builds.templatetags.wording import reason_label, state_sentence, status_badge

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;https://evil.example\x1b\\here\x1b]8;;\x1b\\", "here"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]never ended\nnext line", "\nnext line"),
        ("\x9b31mred", "red"),
        ("\x1bPdevice\x1b\\x", "x"),
        ("\x1b(Bx\x1bcy\x1b", "xy"),
        ("10%\r20%\r\ndone", "10%\n20%\ndone"),
        ("a\x08b\x00c\x07", "a\u2408b\u2400c\u2407"),
        ("safe\u202etxt.exe\u2066\u200f", "safe\ufffdtxt.exe\ufffd\ufffd"),
        ("na\u00efve \u65e5\u672c \U0001f680", "na\u00efve \u65e5\u672c \U0001f680"),
        ("", ""),
        (None, ""),
    ],
)
def test_foreign_text_is_made_harmless(text: str | None, shown: str) -> None:
    assert harmless(text) == shown


def test_escapes_are_found_in_linear_time() -> None:
    started = datetime.now(UTC)
    harmless("\x1b[" + "1;" * 500_000 + "\x1b]" + "x" * 500_000)
    assert datetime.now(UTC) - started < timedelta(seconds=2)


def test_last_lines() -> None:
    assert last_lines("a\nb\nc\n", 2) == "b\nc"
    assert last_lines("a", 2) == "a"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (7800, "2 h 10 min"),
        (86_400 * 5 + 3 * 3600 + 59, "5 d 3 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert words_for(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (4, "just now"),
        (42, "42 s ago"),
        (200, "3 min ago"),
        (7200, "2 h ago"),
        (-90, "in 1 min"),
    ],
)
def test_ages(seconds: int, words: str) -> None:
    assert relative_words(NOW - timedelta(seconds=seconds), NOW) == words


def test_every_state_and_reason_has_words_of_its_own() -> None:
    sentences = set()
    for status, reasons in REASONS.items():
        for reason in [None, *reasons]:
            sentences.add(state_sentence(Build(status=status, status_reason=reason)))
            assert reason_label(reason) != (reason or "x") or reason in ("suspended", "error", "evicted")
    assert len(sentences) == sum(1 + len(reasons) for reasons in REASONS.values())
    assert "" not in sentences


def test_a_badge_says_the_word_and_escapes_what_it_does_not_know() -> None:
    assert "Cancelling" in status_badge(Status.CANCELLING)
    assert "<script>" not in status_badge("<script>")
