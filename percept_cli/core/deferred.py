"""Functions and classes that are imported when they are first needed: tables of networks and losses load without torch."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Deferred:
    """A function or class by its module and its name; to call it is to call that one. Equal ones stand for the same."""

    module: str
    name: str

    @property
    def target(self) -> Any:
        """The function or class itself, imported now."""
        return getattr(import_module(self.module), self.name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.target(*arguments, **options)
