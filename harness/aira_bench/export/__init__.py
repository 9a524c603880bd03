"""Runs in the formats that other programs read, and mirrors of runs that go on. Internal."""
