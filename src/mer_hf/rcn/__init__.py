"""The Hub room: the files that travel with a pushed model.

Saving a model copies them, flat, beside its weights, so that `trust_remote_code=True` is enough where mer_hf is not
installed. Hence the rule of the room: a file imports its siblings as `from .x_rcn import Name`, and nothing else of
mer_hf; transformers finds what has to travel by that spelling.
"""
