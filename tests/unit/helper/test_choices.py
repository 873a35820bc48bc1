"""What a pool remembers of the shell that it was made or joined in."""

from scripts.helper.choices import chosen


def test_settings_are_remembered_and_secrets_are_not() -> None:
    environment = {
        "CALYX_ENDPOINT_PORT": "9000",
        "CALYX_CACHE_LIMIT": "50GiB",
        "HF_ENDPOINT": "https://mirror.example.org",
        "HF_TOKEN": "a secret",
        "CALYX_DATABASE_URL": "postgresql+psycopg://user:secret@host/db",
        "CALYX_HEALTH_PORT": "",
        "CALYX_UNKNOWN": "1",
        "PATH": "/bin",
    }

    assert chosen(environment) == {
        "CALYX_CACHE_LIMIT": "50GiB",
        "CALYX_ENDPOINT_PORT": "9000",
        "HF_ENDPOINT": "https://mirror.example.org",
    }
