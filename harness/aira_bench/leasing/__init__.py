"""Who may append to a unit of work: one worker at a time, numbered, and no late one. Internal."""
