"""What an agent may call in its own container, on public data: modules to start from, and validation."""
