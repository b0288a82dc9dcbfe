"""Formatting for templates; no query is made here."""
