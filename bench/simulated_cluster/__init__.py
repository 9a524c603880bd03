"""Workers in threads on a played clock, against the shipped leases and ledger (`bench/cluster_simulation.py`)."""
