"""Why something failed: a class for each whose fault it can be."""

from __future__ import annotations

__all__ = ["Error", "Internal", "InvalidArgument", "InvalidInput", "InvalidModel", "Unsupported"]


class Error(Exception):
    """All errors of this package."""


class InvalidModel(Error):
    """The model cannot be read, or cannot be compiled as it is."""


class InvalidInput(Error, ValueError):
    """What a run was given does not fit the model: a name, a type, a size, or a number such as an index out of range."""


class InvalidArgument(Error, ValueError):
    """What was asked for cannot be had: an option, a target, an output."""


class Unsupported(InvalidArgument, AttributeError):
    """A part of onnxruntime's interface that means nothing here."""


class Internal(Error):
    """Trine is at fault. A report of it, with the model, helps."""
