"""Classes and functions from outside the project, named ``module:name``: strategies, rules, parts, data families.

Naming one runs its module, so a scenario that names one is as trusted as the program itself.
"""

import importlib
import inspect
from typing import Any

from clients.errors import InputError


def is_outside(name: str) -> bool:
    """Whether a name is of the form ``module:name``."""
    return ":" in name


def load(name: str) -> Any:
    """What ``module:name`` names.

    Raises:
        InputError: the module cannot be imported, or has no such name.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise InputError(
            f"{name}: the module {module} cannot be imported ({error}); put its folder on PYTHONPATH, for workers too"
        ) from error
    except AttributeError as error:
        raise InputError(f"{name}: the module {module} has no {attribute}") from error


def load_class(name: str, base: type) -> type[Any]:
    """The class that ``module:Class`` names.

    Raises:
        InputError: it is not there, or no subclass of ``base``.
    """
    found = load(name)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(f"{name}: not a {base.__name__}; it has to be a subclass of {base.__module__}.{base.__name__}")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise InputError(f"{name}: a {base.__name__} has to define {missing}")
    return found
