"""The table [store] of a configuration, the same on both runtimes."""

from port.core import const
from port.core.config.registry import STORES

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional


class StoreConfig:
    """[store]: the store of sessions and retained messages; changes take a restart. All other keys belong to its type.

    type: kind of store (default memory: nothing outlives the broker)
    """

    def __init__(self, values: "dict[str, Any]") -> None:
        """Raises ValueError for an unknown type; the store checks `settings`, all keys but `type`."""
        self.type: str = values.get("type", "memory")
        known = ["memory"] + STORES.names()
        if not isinstance(self.type, str) or self.type not in known:
            raise ValueError("store: type must be one of %s, not %r" % (", ".join(known), self.type))
        self.settings: "dict[str, Any]" = {key: values[key] for key in values if key != "type"}


def make_store(config: "Optional[StoreConfig]") -> "Any":
    """The Store of a configuration, not opened; None for memory.

    Raises ValueError naming the fault, ImportError for a part that was left out.
    """
    if config is None or config.type == "memory":
        for key in () if config is None else config.settings:
            raise ValueError("store: unknown key %s, type memory has none" % key)
        return None
    try:
        made = STORES.make(config.type, (), config.settings)
    except ValueError as e:
        raise ValueError("store: %s" % e)
    made.kind = config.type
    return made
