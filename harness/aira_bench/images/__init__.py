"""Container images: what goes into them, and building them only on change. Internal."""
