"""What hatchling does beside copying files: manual and completion of shells go into the wheel, below PREFIX/share."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface[Any]):
    """Makes them for a wheel that is to be installed; from a checkout the program runs without."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the files and tell where they go."""
        if version == "editable":
            return
        sys.path.insert(0, str(Path(self.root) / "tools"))
        from distribution.pages import share

        self._folder = tempfile.TemporaryDirectory()
        for name in share(Path(self._folder.name)):
            build_data["shared_data"][str(Path(self._folder.name) / name)] = "share/" + name

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """They have been packed."""
        if version != "editable":
            self._folder.cleanup()
