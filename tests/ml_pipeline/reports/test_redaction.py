import pytest

from ml_pipeline.reports import rendering

# Made up, and in parts: a scanner of repositories shall not take them for real.
HEX = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "secret",
    [
        "dapi" + HEX,
        "dapi" + HEX + "-2",
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2" * 9,
        "AKIA" + "ABCDEFGH12345678",
        "xoxb-" + "123456789012-abc",
        "eyJ" + "hbGciOiJIUzI1" + "." + "eyJzdWIiOiIx" + "." + "abc_-1",
    ],
)
def test_what_looks_like_a_secret_is_taken_out(secret: str) -> None:
    assert rendering.redact(f"before {secret} after") == f"before {rendering.REDACTED} after"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ann:hush@example.com/x", "https://***@example.com/x"),
        ("postgresql://hush@db:5432", "postgresql://***@db:5432"),
        ("password=hush12, n=3", "password=***, n=3"),
        ('{"client_secret": "hush12", "n": 3}', '{"client_secret": "***", "n": 3}'),
        ("https://x.example/a?sp=r&sig=hush%2Bhush", "https://x.example/a?sp=r&sig=***"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer ***"),
        ("-----BEGIN " + "RSA PRIVATE KEY-----\nhush", "***"),
    ],
)
def test_what_says_that_it_is_a_secret_is_taken_out(text: str, expected: str) -> None:
    assert rendering.redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "accuracy 0.9583 reaches the threshold 0.8; 0.0417 above the champion, version 1 (0.9167; better)",
        "sklearn.ensemble.RandomForestClassifier",
        "feature/passwordless-sign-in",
        "https://example.com/a@b",
        "tokenizer: whitespace",
        HEX,
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert rendering.redact(text) == text


def test_what_the_environment_calls_a_secret_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "correct horse")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    monkeypatch.setenv("MY_PLACE", "battery staple")
    assert rendering.redact("abc: correct horse, battery staple") == "abc: ***, battery staple"


@pytest.mark.parametrize(
    ("name", "secret"),
    [("api_token", True), ("clientSecret", True), ("DB_PASSWORD", True), ("tokenizer", False), ("key", False)],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert rendering.names_a_secret(name) is secret
