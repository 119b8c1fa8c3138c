"""The base of every error that the package explains; it travels with a pushed model, and so stands in `rcn`."""

from mer_hf.rcn.errors_rcn import MerHfError

__all__ = ["MerHfError"]
