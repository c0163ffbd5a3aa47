"""Diagnostics as data, and their renderings."""

from mimodsl.diagnostics.diagnostic import (
    Diagnostic,
    Edit,
    Label,
    ObjectPath,
    Severity,
    Where,
    in_order,
)

__all__ = ["Diagnostic", "Edit", "Label", "ObjectPath", "Severity", "Where", "in_order"]
