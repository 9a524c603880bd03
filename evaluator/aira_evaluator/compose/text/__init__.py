"""The two language-model tasks of AIRA-Compose: text in, tokens, training, loss of an architecture.

Nothing but `training` and the scoring in `commands` imports torch.
"""
