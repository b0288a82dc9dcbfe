"""Label and field selectors: from text to a test on an object; knows no store."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from devcluster import errors
from devcluster.objects import Obj
from devcluster.resources import Resource

TOKEN = re.compile(r"\s*(!=|==|=|!|,|\(|\)|[^\s!=,()]+)")
SET_OPERATORS = ("in", "notin")


@dataclass(frozen=True)
class Requirement:
    key: str
    operator: str  # in, notin, exists, absent
    values: frozenset[str] = frozenset()

    def matches(self, labels: dict[str, str]) -> bool:
        if self.operator == "exists":
            return self.key in labels
        if self.operator == "absent":
            return self.key not in labels
        if self.operator == "in":
            return labels.get(self.key) in self.values
        # Objects without the label match too (Kubernetes: labels and selectors).
        return labels.get(self.key) not in self.values


class _Tokens:
    def __init__(self, text: str) -> None:
        self._tokens = TOKEN.findall(text)
        self._at = 0

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self._at += 1
        return token


def parse_labels(text: str) -> list[Requirement]:
    """Raises the 400 of a bad selector."""
    tokens = _Tokens(text)
    requirements: list[Requirement] = []
    while tokens.peek():
        requirements.append(_requirement(tokens))
        separator = tokens.take()
        if separator not in ("", ","):
            raise errors.bad_request(f"found '{separator}', expected: ',' or 'end of string'")
    return requirements


def _requirement(tokens: _Tokens) -> Requirement:
    if tokens.peek() == "!":
        tokens.take()
        return Requirement(_word(tokens, "identifier"), "absent")
    key = _word(tokens, "!, identifier, or 'end of string'")
    operator = tokens.peek()
    if operator in ("", ","):
        return Requirement(key, "exists")
    tokens.take()
    if operator in ("=", "=="):
        return Requirement(key, "in", frozenset({_value(tokens)}))
    if operator == "!=":
        return Requirement(key, "notin", frozenset({_value(tokens)}))
    if operator in SET_OPERATORS:
        return Requirement(key, operator, _values(tokens))
    raise errors.bad_request(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")


def _word(tokens: _Tokens, expected: str) -> str:
    token = tokens.take()
    if token in ("", ",", "(", ")", "=", "==", "!=", "!"):
        raise errors.bad_request(f"found '{token}', expected: {expected}")
    return token


def _value(tokens: _Tokens) -> str:
    """May be empty: `key=` asks for an empty value."""
    return "" if tokens.peek() in ("", ",") else _word(tokens, "identifier")


def _values(tokens: _Tokens) -> frozenset[str]:
    opening = tokens.take()
    if opening != "(":
        raise errors.bad_request(f"found '{opening}' expected: '('")
    values = {_word(tokens, "',', ')' or identifier")}
    while (separator := tokens.take()) == ",":
        values.add(_word(tokens, "',', ')' or identifier"))
    if separator != ")":
        raise errors.bad_request(f"found '{separator}', expected: ',', or ')'")
    return frozenset(values)


def parse_fields(resource: Resource, text: str) -> list[tuple[str, bool, str]]:
    """(path, is equal, value); raises the 400 of a bad or unsupported selector."""
    parsed: list[tuple[str, bool, str]] = []
    for term in filter(None, text.split(",")):
        match = re.fullmatch(r"([^=!]*)(!=|==|=)(.*)", term)
        if match is None:
            raise errors.bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        path, operator, value = match.groups()
        if path not in resource.selectable_fields:
            raise errors.bad_request(_unsupported(resource, path))
        parsed.append((path, operator != "!=", value))
    return parsed


def _unsupported(resource: Resource, path: str) -> str:
    if resource.plural == "jobs":
        return f'field label "{path}" not supported for Job'
    return f"field label not supported: {path}"


def _field(obj: Obj, path: str) -> str:
    if path == "status.successful":
        return str(obj.get("status", {}).get("succeeded", 0))
    if path == "source":
        return str((obj.get("source") or {}).get("component", ""))
    value: object = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def matcher(resource: Resource, labels: str, fields: str) -> Callable[[Obj], bool] | None:
    """A test for both selectors; None when neither is given."""
    requirements = parse_labels(labels)
    terms = parse_fields(resource, fields)
    if not requirements and not terms:
        return None

    def matches(obj: Obj) -> bool:
        own = obj["metadata"].get("labels") or {}
        return all(r.matches(own) for r in requirements) and all(
            (_field(obj, path) == value) == is_equal for path, is_equal, value in terms
        )

    return matches
