"""What both sides of a submission know: shapes, hyper-parameters, profiles, files of graphs and of splits."""
