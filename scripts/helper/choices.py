"""The settings that somebody chose for a node, which its pool remembers: later commands come from other shells."""

from collections.abc import Mapping

from pydantic import SecretStr

from services.common.settings import SECTIONS


def chosen(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of ``environment`` that are settings, but secrets."""
    names = {
        variable
        for section in SECTIONS
        for field, variable in section.variables().items()
        if SecretStr.__name__ not in str(section.model_fields[field].annotation)
    }
    return {name: environment[name] for name in sorted(names) if environment.get(name)}
