"""Autoresearch: the data a train.py trains on, what it may import, and the trusted bits per byte of what it trained."""
