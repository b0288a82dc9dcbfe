"""The forms of the pages; they check what was typed and change nothing."""

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm

REASON_MAX_CHARACTERS = 500

_OTHER = "other"


class SignInForm(AuthenticationForm):
    """Django's own form, with what password managers look for."""

    error_messages = {
        **AuthenticationForm.error_messages,
        "invalid_login": "No account has this user name and password. Both are case-sensitive.",
    }


class CancelForm(forms.Form):
    """Why a build is cancelled: one of the usual reasons, own words, or both. None is chosen beforehand:
    a reason that nobody gave would be kept for ever.
    """

    PRESETS = [
        ("Asked for by the customer", "The customer asked for it"),
        ("Started by mistake", "It was started by mistake"),
        ("Stuck or far too slow", "It is stuck or far too slow"),
        ("Superseded by a newer build", "A newer build replaces it"),
        (_OTHER, "Something else, which is:"),
    ]
    preset = forms.ChoiceField(label="Why?", choices=PRESETS, required=False, widget=forms.RadioSelect)
    details = forms.CharField(
        label="In your words",
        required=False,
        strip=True,
        max_length=REASON_MAX_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 3, "maxlength": REASON_MAX_CHARACTERS}),
    )

    def clean(self) -> dict[str, Any]:
        """Add `reason`, the one sentence that is stored."""
        cleaned = super().clean() or {}
        preset, details = cleaned.get("preset", ""), cleaned.get("details", "")
        if preset == _OTHER:
            preset = ""
        reason = f"{preset}: {details}" if preset and details else preset or details
        if not reason and not self.errors:
            self.add_error("details", "Say why this build is cancelled; the reason is kept with it.")
        elif len(reason) > REASON_MAX_CHARACTERS:
            self.add_error(
                "details", f"With the reason chosen above, this is over {REASON_MAX_CHARACTERS} characters."
            )
        cleaned["reason"] = reason
        return cleaned
