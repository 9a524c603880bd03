"""Reading code that agents wrote, never running it: a bounded parser, and a process in which readers work. Internal."""
