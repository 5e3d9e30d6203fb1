"""What a first start without any configuration makes up, and keeps.

Only with the embedded PostgreSQL: a Twilio account, its token and an admin key, random,
in LEDGER_DATA_DIR, readable by the owner alone. Never used where DATABASE_URL is set.
"""

import json
import secrets
from pathlib import Path

from pydantic import SecretStr

from ledger.errors import ConfigurationError
from ledger.private_files import made_once
from ledger.settings import Settings

_FILE = "development.json"


def with_development_secrets(settings: Settings) -> Settings:
    """``settings`` with what is missing made up once and the same ever after.

    Raises:
        ConfigurationError: a secret of Twilio's is missing and must not be made up.
    """
    if not settings.is_embedded:
        _refuse_missing_secrets(settings)
        return settings
    made = _load_or_make(settings.data_dir)
    update: dict[str, object] = {}
    if settings.twilio_account_sid is None:
        update["twilio_account_sid"] = made["accountSid"]
    if settings.twilio_auth_token is None:
        update["twilio_auth_token"] = SecretStr(made["authToken"])
    if settings.admin_key is None:
        update["admin_key"] = SecretStr(made["adminKey"])
    return settings.model_copy(update=update)


def _refuse_missing_secrets(settings: Settings) -> None:
    for name in ("twilio_account_sid", "twilio_auth_token"):
        if getattr(settings, name) is None:
            alias = Settings.model_fields[name].alias
            raise ConfigurationError(
                f"{alias} must be set where DATABASE_URL is: signatures are always "
                "checked, and a made-up token would refuse every text"
            )


def _load_or_make(data_dir: Path) -> dict[str, str]:
    made = {
        "accountSid": f"AC{secrets.token_hex(16)}",
        "authToken": secrets.token_hex(16),
        "adminKey": f"clk_{secrets.token_urlsafe(32)}",
    }
    kept: dict[str, str] = json.loads(made_once(data_dir / _FILE, json.dumps(made)))
    return kept
