"""Neural-network primitives of the search space and the models built from them."""
