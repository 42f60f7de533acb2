"""Frozen dataclasses for programs that must start at once: importing `dataclasses` costs more than their whole work.

To the type checker `record` is `dataclass(frozen=True, kw_only=True)`; at run time it is the part of it that we use.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from dataclasses import dataclass
    from typing import Any, dataclass_transform

    _T = type[Any]

    @dataclass_transform(frozen_default=True, kw_only_default=True)
    def record(cls: _T) -> _T:
        """Make a class a frozen dataclass whose fields are given by name."""
        return dataclass(frozen=True, kw_only=True)(cls)

else:

    def record(cls):  # noqa: ANN001, ANN201
        """Make a class a frozen dataclass whose fields are given by name."""
        names = tuple(cls.__annotations__)
        defaults = {name: getattr(cls, name) for name in names if hasattr(cls, name)}

        def begin(self, **given):  # noqa: ANN001, ANN003, ANN202
            values = defaults | given
            if values.keys() != set(names):
                raise TypeError(f"{cls.__name__}() takes {', '.join(names)}, not {', '.join(given)}")
            vars(self).update(values)

        cls.__init__ = begin
        cls.__setattr__ = cls.__delattr__ = _refuse
        cls.__eq__ = lambda self, other: type(other) is cls and vars(self) == vars(other)
        cls.__hash__ = lambda self: hash(tuple(vars(self)[name] for name in names))
        cls.__repr__ = lambda self: f"{cls.__name__}({', '.join(f'{name}={vars(self)[name]!r}' for name in names)})"
        return cls

    def _refuse(self, name, *value):  # noqa: ANN001, ANN002, ANN202
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")
