"""Takes secrets, and on request personal data, out of what is stored. Pure: it finds and replaces, and keeps nothing.

Whoever has much to look through looks for `MARKS` first, over the bytes of it all: where none is found there is no
secret. Every expression is bounded, and digits are matched in one way only, so that no text makes it slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mappers.messages.document import remembered

PersonalData = Literal["email", "phone", "card"]
Mask = Callable[[str], str]

REDACTED = "[redacted]"

_START = r"(?:(?<![A-Za-z0-9_])|(?<=\\[nrtbf]))"
"""Where a secret may begin in a text: not within a word, but after an escape of JSON within JSON."""


@dataclass(frozen=True, slots=True)
class _Secret:
    """One form of secrets. If the expression has a group, that is the secret; else all of it is."""

    name: str
    hints: tuple[str, ...]
    """One of them is in every such secret; those in lower case in any letter case."""
    expression: str
    has_digit: bool = False
    """Words may look like it; a secret has a digit."""
    mark: str = ""
    """Instead of the hints, where these are too common in what is no secret."""


_MEMBERS = (
    "x-goog-api-key|x-api-key|api[_-]?key|(?:proxy-)?authorization|set-cookie|client[_-]?secret|secret[_-]?key|"
    "(?:access|refresh|session|auth)[_-]?token|aws_secret_access_key|private[_-]?key|password|passwd"
)
_MEMBER_HINTS = (
    *("api_key", "api-key", "apikey", "authorization", "cookie", "secret", "passw"),
    *("private_key", "private-key", "privatekey"),
    *(f"{use}{dash}token" for use in ("access", "refresh", "session", "auth") for dash in ("_", "-", "")),
)
_PARAMETERS = (
    "api[_-]?key|key|access_token|refresh_token|token|sig|signature|x-amz-signature|x-amz-credential|"
    "x-amz-security-token|client_secret|secret|password"
)
_PREFIXED = (
    *(
        "sk_live_",
        "sk_test_",
        "rk_live_",
        "rk_test_",
        "gsk_",
        "xai-",
        "hf_",
        "pplx-",
        "r8_",
        "nvapi-",
        "npm_",
    ),
    *("lsv2_pt_", "lsv2_sk_", "glpat-"),
)
_SECRETS = (
    _Secret(
        "private key",
        ("PRIVATE KEY-",),
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\:,.-]{0,10000}",
    ),
    _Secret(
        "api key",
        ("sk-",),
        _START + r"sk-[A-Za-z0-9_-]{16,1000}",
        has_digit=True,
        mark=r"sk-[A-Za-z0-9_-]{16}",
    ),
    _Secret(
        "api key", _PREFIXED, _START + rf"(?:{'|'.join(_PREFIXED)})[A-Za-z0-9_-]{{16,1000}}", has_digit=True
    ),
    _Secret(
        "session key",  # of a browser or a voice, for a while: OpenAI's and xAI's Realtime API, Gemini's Live API
        ("ek_", "auth_tokens/"),
        _START + r"(?:ek_[A-Za-z0-9]{24,500}|auth_tokens/[A-Za-z0-9_-]{24,500})",
        has_digit=True,
        mark=r"(?:ek_|auth_tokens/)[A-Za-z0-9_-]{24}",
    ),
    _Secret("google key", ("AIza",), _START + r"AIza[A-Za-z0-9_-]{30,200}"),
    _Secret("google token", ("ya29.",), _START + r"ya29\.[A-Za-z0-9_-]{20,1000}"),
    _Secret("aws key", ("AKIA", "ASIA"), _START + r"(?:AKIA|ASIA)[A-Z0-9]{16}"),
    _Secret(
        "aws secret",
        ("secretaccesskey", "secret_access_key"),
        r"(?i:secret_?access_?key)[\"'\\\s:=]{1,12}([A-Za-z0-9/+]{40})",
    ),
    _Secret(
        "github token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        _START + r"(?:gh[oprsu]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255})",
    ),
    _Secret(
        "slack token",
        ("xoxa-", "xoxb-", "xoxc-", "xoxd-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xapp-"),
        _START + r"(?:xox[a-s]-|xapp-)[A-Za-z0-9-]{10,255}",
        has_digit=True,
    ),
    _Secret(
        "jwt",
        ("eyJ",),
        _START + r"eyJ[A-Za-z0-9_-]{8,4000}+\.[A-Za-z0-9_-]{8,4000}(?:\.[A-Za-z0-9_-]{0,4000})?",
        mark=r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8}",
    ),
    _Secret(
        "bearer token",
        ("bearer ", "bearer:", "bearer="),
        _START + r"(?i:bearer)[ :=]{1,3}([A-Za-z0-9._~+/-]{12,4000}={0,2})",
        has_digit=True,
    ),
    _Secret(
        "basic auth",
        ("authorization",),
        r"(?i:authorization)[\"'\\\s:=]{1,12}(?i:basic) {1,3}([A-Za-z0-9+/]{6,1000}={0,2})",
    ),
    _Secret(
        "basic auth",
        ("basic ",),
        _START + r"(?i:basic) ([A-Za-z0-9+/]{6,1000}={1,2})",
        mark=r"(?i:basic) [A-Za-z0-9+/]+=",
    ),
    _Secret(
        "password",
        ("://",),
        r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/@:\"'\\<>]{0,200}:([^\s/@\"'\\<>]{1,400})@",
        mark=r"://[^\s/@\"<>]*:[^\s/@\"<>]*@",
    ),
    _Secret(
        "secret",
        ("key=", "token=", "sig=", "signature=", "credential=", "secret=", "password="),
        rf"[?&](?i:{_PARAMETERS})=([^&\s\"'\\<>#]{{4,1000}})",
    ),
    _Secret(
        "secret",
        _MEMBER_HINTS,
        rf"[\"'](?i:{_MEMBERS})\\{{0,7}}[\"']\s{{0,8}}[:,=]\s{{0,8}}\\{{0,7}}[\"']([^\"'\\]{{4,4000}})",
    ),
)
_SECRET_KEY = re.compile(
    rf"(?:^|[._])(?:{_MEMBERS}|cookie)$"
    r"|(?:^|[._])(?:hidden_params|extra_headers)(?:\.|$)|^llm\.headers$"
    r"|^metadata\.user_api_key(?!_(?:end_)?user_id$)"
    r"|^langsmith\.metadata\.(?:LANGSMITH|LANGCHAIN|LANGGRAPH)_",
    re.IGNORECASE,
)
_KEY_HINTS = ("hidden_params", "extra_headers", "llm.headers", "langsmith.metadata.lang")


def _mark(hint: str) -> str:
    return f"(?i:{re.escape(hint)})" if hint.islower() else re.escape(hint)


MARKS = "|".join(
    [secret.mark or "|".join(map(_mark, secret.hints)) for secret in _SECRETS]
    + [_mark(hint) for hint in _KEY_HINTS]
)
"""An expression for RE2 that finds something in every secret and in every name of what holds one."""

_COMPILED = [(secret, re.compile(secret.expression)) for secret in _SECRETS]
_BARE_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
_ALREADY_MASKED = re.compile(r"\[redacted|^\*+$|^__REDACTED__$")


def mask_secrets(text: str) -> str:
    """The text with `[redacted …]` for each secret, which says of what kind it was. What stands around it stays: the
    rest of the text, and of a document its form."""
    lower = text.lower()
    for secret, pattern in _COMPILED:
        if any(hint in (lower if hint.islower() else text) for hint in secret.hints):
            masked = pattern.sub(_replacing_secret(secret, pattern.groups), text)
            if masked != text and secret.name == "aws key":
                # Its secret key looks like nothing in particular; beside the id it is one.
                masked = _BARE_AWS_SECRET.sub("[redacted aws secret]", masked)
            text = masked
    return text


def _replacing_secret(secret: _Secret, group: int) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        found = match[group]
        if _ALREADY_MASKED.search(found) or (secret.has_digit and not any(c.isdigit() for c in found)):
            return match[0]
        start, end = match.start(group) - match.start(), match.end(group) - match.start()
        return f"{match[0][:start]}[redacted {secret.name}]{match[0][end:]}"

    return replace


@remembered(4_096)  # keys repeat from span to span
def is_secret_key(key: str) -> bool:
    """Whether an attribute of that name holds a secret whatever its value: headers with credentials, LiteLLM's
    `hidden_params` and `user_api_key_*` (but for whose call it was), environment that LangSmith passes on."""
    return _SECRET_KEY.search(key) is not None


# --------------------------------------------------------------------------- personal data

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
_PHONE = re.compile(
    r"(?<![\w.+:/=-])(?:"
    r"\+[1-9]\d{0,3}+\)?(?:[ ./-]?\(?\d{1,5}+\)?){1,6}"  # +44 20 7946 0958
    r"|(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-. ])\d{3}[-. ]\d{4}"  # (555) 123-4567
    r"|0\d{2,4} \d{3,4} \d{3,4}"  # 020 7946 0958
    r")(?![\w:-]|[./]\d)"
)
_CARD = re.compile(r"(?<![\w.+/-])[2-6]\d{3}(?:[ -]?\d){9,15}(?![\w/-]|\.\d)")
_CARD_FORMS = re.compile(
    r"(?:4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11}|35\d{14}|6(?:011|5\d\d|4[4-9]\d)\d{12}|62\d{14,17})$"
)
_DIGITS = re.compile(r"\D")
_MIN_PHONE_DIGITS, _MAX_PHONE_DIGITS = 8, 15


def mask_personal(text: str, kinds: Collection[PersonalData]) -> str:
    """The text with `[email]`, `[phone]` and `[card]` for what is one.

    A phone number has a `+` or separators, a card's number the form of an issuer and a right checksum: times and
    identifiers are neither. A number in a JSON document becomes a text.
    """
    if "email" in kinds and "@" in text:
        text = _EMAIL.sub("[email]", text)
    if "card" in kinds:
        text = _CARD.sub(_replacing("[card]", _is_card), text)
    if "phone" in kinds:
        text = _PHONE.sub(_replacing("[phone]", _is_phone), text)
    return text


def _replacing(mark: str, is_one: Callable[[str], bool]) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        if not is_one(_DIGITS.sub("", match[0])):
            return match[0]
        before, after = match.string[: match.start()].rstrip()[-1:], match.string[match.end() :].lstrip()[:1]
        is_number = match[0].isdigit() and before in (":", "[", ",") and after in (",", "]", "}")
        return f'"{mark}"' if is_number and before else mark

    return replace


def _is_phone(digits: str) -> bool:
    return _MIN_PHONE_DIGITS <= len(digits) <= _MAX_PHONE_DIGITS


def _is_card(digits: str) -> bool:
    """Of an issuer's form, with a right checksum (Luhn)."""
    if not _CARD_FORMS.match(digits):
        return False
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0


# --------------------------------------------------------------------------- attributes


def redact_value(value: Any, mask: Mask) -> Any:
    """An attribute's value with all texts in it masked, as deep as they lie."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, bytes):
        text = value.decode("latin-1")
        masked = mask(text)
        return value if masked == text else masked.encode("latin-1")
    if isinstance(value, (list, tuple)):
        return [redact_value(item, mask) for item in value]
    if isinstance(value, Mapping):
        return redact_attributes(value, mask)
    return value


def redact_attributes(attributes: Mapping[str, Any], mask: Mask) -> dict[str, Any]:
    """Attributes with their texts masked, names included; of those that hold secrets only that they were there."""
    return {
        mask(key): REDACTED if value and is_secret_key(key) else redact_value(value, mask)
        for key, value in attributes.items()
    }
