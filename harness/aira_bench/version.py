"""The version of this distribution, as `aira-bench --version`, manifests and the wheel have it."""

__version__ = "0.2.0.dev0"
