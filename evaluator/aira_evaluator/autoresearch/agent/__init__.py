"""What an agent may call in its own container, on public data: a rehearsal of the evaluation."""
