"""One module per wire format, each on its provider's own SDK, which is imported at the first call."""
