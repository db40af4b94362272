"""Base of every settings record: frozen, closed, and documented where it is declared.

The docstring under a field is its help text: ``--help`` prints it, so it says unit and default behaviour.
"""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())
