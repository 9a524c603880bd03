"""Files one side writes and another reads: token rows, byte lengths, references. Flat arrays and JSON alone."""
