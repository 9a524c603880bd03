"""The two language-model tasks of AIRA-Compose: text in, tokens, training, loss of an architecture.

Nothing but `language_model` and `text_losses` imports torch.
"""
