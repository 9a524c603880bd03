"""The name by which task descriptions, and so recorded prompts and agents' scripts, know files of splits."""
