"""Scaffolds: pure policies that decide what an agent does next. Internal."""
