"""Pages of runs in a browser: a local server that follows them, and a folder of the same pages without a network."""
