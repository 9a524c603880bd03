"""Where workers are started: on this machine, as tasks of Ray, as jobs of Slurm.

A launcher starts workers and nothing else. What they work on, who goes on with what a dead one left, and what it may
cost stand in the store that all of them see (decision 0061). Internal.
"""
