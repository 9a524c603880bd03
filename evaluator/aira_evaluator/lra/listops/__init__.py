"""ListOps as the Long Range Arena draws it: operators and expressions."""
