"""What an agent may call in its own container, on public data: validation with the code the judge trains with."""
