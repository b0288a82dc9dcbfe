"""Readers of environment variables: a wrong value stops the start and names the variable."""

import os

from django.core.exceptions import ImproperlyConfigured

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def text(name: str, default: str = "") -> str:
    """The variable's value without surrounding blanks; an empty value counts as not given."""
    return os.environ.get(name, "").strip() or default


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list; empty parts are dropped."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def flag(name: str, default: bool) -> bool:
    """A yes/no value."""
    value = text(name).lower()
    if not value:
        return default
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be one of 1, 0, true, false, yes, no, on, off; it is {value!r}.")


def number(name: str, default: float, *, least: float = 0, most: float = float("inf")) -> float:
    """A number within [least, most]."""
    value = text(name)
    if not value:
        return default
    try:
        parsed = float(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a number; it is {value!r}.") from None
    if not least <= parsed <= most:
        raise ImproperlyConfigured(f"{name} must be between {least:g} and {most:g}; it is {value!r}.")
    return parsed


def integer(name: str, default: int, *, least: int = 0, most: int = 2**31) -> int:
    """A whole number within [least, most]."""
    parsed = number(name, default, least=least, most=most)
    if parsed != int(parsed):
        raise ImproperlyConfigured(f"{name} must be a whole number; it is {parsed!r}.")
    return int(parsed)


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    """One of a few words."""
    value = text(name, default)
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(allowed)}; it is {value!r}.")
    return value
