"""From a topic name to its receivers."""
