"""The bodies of the scripts of task folders: what they all do the same way, whatever the task."""
