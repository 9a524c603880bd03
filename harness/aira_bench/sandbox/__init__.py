"""Containers for code that is not trusted, and for trusted code that needs the same fence. Internal."""
