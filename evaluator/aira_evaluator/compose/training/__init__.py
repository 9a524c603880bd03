"""Training on sequences of tokens as MAD and the text tasks share it: steps, optimizer, schedule, compiled blocks."""
