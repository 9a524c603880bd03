"""The agent made of a language model and prompts."""
