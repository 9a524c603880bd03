"""Local copies of runs that lie on object storage, and the commits by which their content gets there. Internal."""
