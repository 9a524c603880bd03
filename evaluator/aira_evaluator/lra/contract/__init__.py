"""What both sides of a submission know: shapes, hyperparameters, profiles, files of graphs and of splits."""
