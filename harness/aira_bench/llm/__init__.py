"""Language models: one protocol, three provider SDKs behind it, and records that replay without a key. Internal."""
