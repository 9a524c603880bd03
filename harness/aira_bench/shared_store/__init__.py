"""What workers on several machines agree through: names made once, and counters that show who lives. Internal."""
