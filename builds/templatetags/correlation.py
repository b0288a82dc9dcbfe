"""The correlation id of the request that is being answered, for pages that ask people to quote it."""

from django import template

from buildportal.telemetry import current_correlation_id

register = template.Library()


@register.simple_tag
def correlation_id() -> str:
    """The id, or nothing outside of a request."""
    return current_correlation_id() or ""
