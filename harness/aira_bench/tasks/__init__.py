"""Task folders: their metadata, where they are found, and how their data is prepared. Internal."""
