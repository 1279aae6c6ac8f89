"""Objects of sarif_om as what json can write."""

from __future__ import annotations

from typing import Any

# (class, property of the draft) -> property of the standard
_RENAMED = {("Suppression", "state"): "status"}
# Never left out: `level` falls back to the rule's, and readers disagree about the others.
_ALWAYS_WRITTEN = frozenset({"level", "kind", "importance"})


def plain(value: Any) -> Any:
    """A tree of sarif_om objects as dicts, lists and strings, without what has its default."""
    if isinstance(value, str):
        # A lone surrogate (from a file name that is not UTF-8) has no place in JSON.
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    fields = getattr(type(value), "__attrs_attrs__", None)
    if fields is None:
        return value
    written = {}
    for field in fields:
        item = getattr(value, field.name)
        if item is None or (_is_default(field, item) and field.name not in _ALWAYS_WRITTEN):
            continue
        key = (type(value).__name__, field.name)
        written[_RENAMED.get(key, field.metadata["schema_property_name"])] = plain(item)
    return written


def _is_default(field: Any, item: Any) -> bool:
    default = field.default
    if hasattr(default, "factory"):
        default = default.factory()
    return bool(item == default)
