"""Pages of runs in a browser: from a local server that follows them, or in a folder. Internal."""
