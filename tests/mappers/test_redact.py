from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from mappers.content import Content
from mappers.conventions import BUILTIN
from mappers.redact import (
    MARKS,
    is_secret_key,
    mask_personal,
    mask_secrets,
    redact_attributes,
)

B62 = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dF3gH5jK7"
SECRETS = {
    "sk-" + B62: "api key",
    "sk-proj-" + B62 + "_" + B62: "api key",
    "sk-ant-api03-" + B62 + "-AA": "api key",
    "sk-or-v1-" + "0a1b2c3d" * 8: "api key",
    "sk-lf-8a1b2c3d-0000-4e5f-8899-aabbccddeeff": "api key",
    "gsk_" + B62: "api key",
    "xai-" + B62: "api key",
    "hf_" + B62: "api key",
    "sk_live_" + B62: "api key",
    "lsv2_pt_" + "0a1b2c3d" * 4 + "_1234567890": "api key",
    "glpat-" + B62[:20]: "api key",
    "ek_" + "68af296e8e408191a1120ab6383263c2": "session key",
    "auth_tokens/" + "0a1b2c3d" * 8: "session key",
    "AIza" + "SyA1234567890abcdefghijklmnopqrstuv": "google key",
    "ya29." + B62: "google token",
    "AKIA" + "IOSFODNN7EXAMPLE": "aws key",
    "ASIA" + "IOSFODNN7EXAMPLE": "aws key",
    "ghp_" + B62[:36]: "github token",
    "gho_" + B62[:36]: "github token",
    "github_pat_" + B62 + "_" + B62: "github token",
    "xoxb-" + "123456789012-123456789012-" + B62[:24]: "slack token",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N": "jwt",
}
AROUND = (
    "{}",
    "key: {}.",
    '{{"k": "{}"}}',
    "a\n{}\nb",
    r"{{\"text\": \"x\n{}\"}}",
    "({})",
    "k={},",
    "日本{}語",
)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", AROUND)
def test_a_secret_is_masked_wherever_it_stands(secret: str, around: str) -> None:
    masked = mask_secrets(around.format(secret))
    assert masked == around.format(f"[redacted {SECRETS[secret]}]")


EMBEDDED = {
    "Authorization: Bearer abc123def456ghi789": "abc123def456ghi789",
    '{"authorization": "Bearer abc123def456ghi789"}': "abc123def456ghi789",
    "authorization: Basic dXNlcjpwYXNzd29yZA==": "dXNlcjpwYXNzd29yZA",
    "Basic dXNlcjpwYXNzd29yZA==": "dXNlcjpwYXNzd29yZA",
    "postgres://app:s3cr3t-pw@db:5432/x": "s3cr3t-pw",
    "https://api.example.com/v1?api_key=abcd1234&x=1": "abcd1234",
    "https://maps.example.com/?q=1&key=abcd1234#top": "abcd1234",
    "https://b.example.com/o?X-Amz-Signature=0123abcd": "0123abcd",
    'aws_secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"': "wJalrXUtnFEMI",
    "AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY": "wJalrXUtnFEMI",
    '{"api_key": "not-a-known-form"}': "not-a-known-form",
    r"{\"apiKey\": \"not-a-known-form\"}": "not-a-known-form",
    "{'client_secret': 'not-a-known-form'}": "not-a-known-form",
    '{"password":"hunter22"}': "hunter22",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAAAA==\n-----END RSA PRIVATE KEY-----": "MIIEow",
    r"-----BEGIN PRIVATE KEY-----\nMIIEow\n-----END PRIVATE KEY-----": "MIIEow",
}


@pytest.mark.parametrize("text", EMBEDDED)
def test_of_what_surrounds_a_secret_the_secret_is_masked(text: str) -> None:
    masked = mask_secrets(text)
    assert EMBEDDED[text] not in masked
    assert "[redacted" in masked


@pytest.mark.parametrize("text", [*SECRETS, *EMBEDDED])
def test_the_marks_find_every_secret(text: str) -> None:
    assert re.search(MARKS.encode(), b"\x0a\x33" + text.encode() + b"J\x20")


def test_a_document_stays_one() -> None:
    document = {"headers": {"Authorization": "Bearer abc123def456ghi789"}, "n": 1, "api_key": "sk-" + B62}
    assert json.loads(mask_secrets(json.dumps(document))) == {
        "headers": {"Authorization": "Bearer [redacted bearer token]"},
        "n": 1,
        "api_key": "[redacted api key]",
    }


@pytest.mark.parametrize(
    "text",
    [
        "risk-management-considerations-for-teams",
        "the bearer of this letter, bearer authentication",
        "basic understanding of things",
        "max_tokens=4096&temperature=1",
        "https://example.com:8080/a@b",
        "chatcmpl-8a1b2c3d4e5f60718293a4b5c6d7e8f9",
        '{"token_count": 12, "password": ""}',
        "msg_01XFDUDYJgAACzvnptvVoYEL toolu_01A09q90qw90lq917835lq9",
        "f3a1c0de-0000-4000-8000-0123456789ab",
        '{"api_key": "**********"}',
        "xai- and hf_ and sk- alone",
        "week_0123456789abcdef0123456789abcdef",
        "ek_short1 and auth_tokens/ alone",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask_secrets(text) == text


def test_masking_again_changes_nothing() -> None:
    once = mask_secrets("\n".join([*SECRETS, *EMBEDDED]))
    assert mask_secrets(once) == once


def test_attributes_are_masked_as_deep_as_they_go() -> None:
    secret = next(iter(SECRETS))
    masked = redact_attributes(
        {
            "a": secret,
            "b": [1, {"c": secret, "d": secret.encode()}],
            secret: "x",
            "n": 5,
            "hidden_params": '{"x": 1}',
            "llm.headers": "None",
            "metadata.user_api_key_hash": "88dc28d0",
            "metadata.user_api_key_end_user_id": "u1",
            "langsmith.metadata.LANGSMITH_API_KEY": "x",
            "http.request.header.authorization": ["t"],
            "gen_ai.usage.input_tokens": 3,
        },
        mask_secrets,
    )
    assert secret not in repr(masked)
    assert (masked["n"], masked["gen_ai.usage.input_tokens"]) == (5, 3)
    for key in (
        "hidden_params",
        "llm.headers",
        "metadata.user_api_key_hash",
        "http.request.header.authorization",
    ):
        assert masked[key] == "[redacted]"
    assert masked["metadata.user_api_key_end_user_id"] == "u1"


@pytest.mark.parametrize(
    "key",
    ["gen_ai.usage.input_tokens", "session.id", "llm.token_count.prompt", "tool.parameters", "key", "name"],
)
def test_other_attributes_are_not_taken_for_secrets(key: str) -> None:
    assert not is_secret_key(key)


ALL = ("email", "phone", "card")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mail jane.doe+x@mail.example.co.uk now", "mail [email] now"),
        ("call +44 20 7946 0958 now", "call [phone] now"),
        ("call (555) 123-4567, or 555-223-4567.", "call [phone], or [phone]."),
        ("020 7946 0958", "[phone]"),
        ("+14155550132", "[phone]"),
        ("card 4111 1111 1111 1111 ok", "card [card] ok"),
        ("card 5500-0000-0000-0004", "card [card]"),
        ("378282246310005", "[card]"),
        ('{"n": 4111111111111111, "m": 1}', '{"n": "[card]", "m": 1}'),
    ],
)
def test_personal_data_is_masked_on_request(text: str, masked: str) -> None:
    assert mask_personal(text, ALL) == masked
    assert mask_personal(text, ()) == text


@pytest.mark.parametrize(
    "text",
    [
        "1736524721",
        "1736524721123",
        "1790000000123456789",
        "2026-11-25T17:02:03.123456789+01:00",
        "2026-11-25 17:02:03",
        "4111 1111 1111 1112",
        "4111111111111111.5",
        "id_4111111111111111",
        "550e8400-e29b-41d4-a716-446655440000",
        "0af7651916cd43dd8448eb211c80319c",
        "192.168.100.1234 10.0.0.1:4317",
        "v1.2.3 0.5 1e10 3.14159265358979",
        "@decorator a@b user@localhost",
        "1234567890123456",
        "x = 12 + 345678901",
        "call_9876543210",
        "1,234,567,890",
        "555-123-45678",
    ],
)
def test_times_and_identifiers_are_no_personal_data(text: str) -> None:
    assert mask_personal(text, ALL) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "sk-",
            "eyJ",
            "eyJaaaaaaaa.",
            "://:",
            '"api_key":',
            "bearer ",
            "-----BEGIN PRIVATE KEY-----",
            "?key=",
        ),
        *("a+.-", "1-", "+1 ", "4 ", "a@", "a.", "(2", "a@b.", "eyJ-", f" +{'1' * 40}"),
    ],
)
def test_no_text_makes_it_slow(text: str) -> None:
    hostile = text * (200_000 // len(text))
    began = time.process_time()
    mask_personal(mask_secrets(hostile), ALL)
    assert time.process_time() - began < 5  # quadratic would be minutes


def test_content_is_known_by_convention_and_by_name() -> None:
    content = Content(BUILTIN)
    attributes: dict[str, Any] = {
        "input.value": "q",
        "llm.input_messages.0.message.content": "q",
        "gen_ai.input.messages": "q",
        "acme.prompt": "q",
        "output.value": "a",
        "gen_ai.completion.0.content": "a",
        "acme.result": "a",
        "llm.token_count.prompt": 3,
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 3,
        "session.id": "s",
    }
    neither = content.without(attributes, ("input", "output"))
    assert set(neither.values()) == {3, "m", "s"}
    assert set(content.without(attributes, ("input",)).values()) == {3, "m", "s", "a"}
    assert set(content.without(attributes, ("output",)).values()) == {3, "m", "s", "q"}


@pytest.mark.parametrize(
    "key",
    [
        "embedding.embeddings.0.embedding.text",
        "mastra.metadata.body",
        "agent.stateSnapshot",
        "http.response.body",
        "db.query.text",
    ],
)
def test_what_may_be_of_either_side_is_kept_for_neither(key: str) -> None:
    assert all(Content(BUILTIN).holds(key, side) for side in ("input", "output"))
