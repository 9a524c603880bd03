"""Programs that run inside containers, sent there as source text; nothing here is imported on the host but by tests."""
