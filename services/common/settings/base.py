"""What all sections share: where values come from, how they are checked and how they are printed.

A value comes, first match wins, from the environment variable, from the file that ``<VARIABLE>_FILE`` names
(the convention of Docker's own images, for secrets and for values that another container writes), or from
the default. An empty variable counts as unset, because Compose passes ``${NAME:-}`` as an empty text.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from services.common.errors import InvalidSetting

PREFIX = "CALYX_"


def _split(value: object) -> object:
    return [part for part in value.replace(",", " ").split() if part] if isinstance(value, str) else value


WordList = Annotated[list[str], NoDecode, BeforeValidator(_split)]
"""A list written as words with commas or white space between them."""


class _FileSource(EnvSettingsSource):
    """Reads ``<VARIABLE>_FILE``: the value is that file's text without the white space around it, if any."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the value, the field's key and whether the value is JSON, as pydantic-settings asks."""
        for key, env_name, is_complex in self._extract_field_info(field, field_name):
            path = os.environ.get(f"{env_name.upper()}_FILE")
            if path:
                try:
                    return Path(path).read_text().strip() or None, key, is_complex
                except (OSError, UnicodeDecodeError) as error:
                    reason = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
                    raise InvalidSetting(
                        f"reading {env_name.upper()}_FILE: {reason}: {path}",
                        "create the file or correct the path",
                    ) from error
        return None, field_name, False


class Section(BaseSettings):
    """One file of settings: fields with defaults, checks and, as docstrings of the fields, their meaning."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the files that the environment names."""
        return init_settings, env_settings, _FileSource(settings_cls)

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read and check the section.

        Raises:
            InvalidSetting: a value is wrong; the message names the variable, the problem and the meaning.
        """
        try:
            return cls(**overrides)
        except SettingsError as error:
            if isinstance(error.__cause__, InvalidSetting):
                raise error.__cause__ from None
            raise
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            # The location is the field's name, or its variable where that is an alias.
            location = str(first["loc"][0]) if first["loc"] else ""
            variables = cls.variables()
            variable = variables.get(location, location)
            name = next((name for name, alias in variables.items() if alias == variable), location)
            field = cls.model_fields.get(name)
            secret = field is not None and "SecretStr" in str(field.annotation)
            got = "" if secret else f", got {first['input']!r}"
            message = first["msg"].removeprefix("Value error, ")
            raise InvalidSetting(
                f"setting {variable}: {message}{got}" if variable else message,
                field.description if field else None,
            ) from None

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Map each field to the environment variable that sets it."""
        return {
            name: str(field.validation_alias) if field.validation_alias else PREFIX + name.upper()
            for name, field in cls.model_fields.items()
        }

    def describe(self) -> dict[str, str]:
        """Return variable → printed value, with secrets masked, as rooms log it when they start."""
        shown = {}
        for name, variable in self.variables().items():
            value = getattr(self, name)
            shown[variable] = "********" if isinstance(value, SecretStr) else str(value)
        return shown
