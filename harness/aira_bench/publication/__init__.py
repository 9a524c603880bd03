"""Boards that go out: a record that can be checked, tables in every format, a site; and the check. Internal."""
