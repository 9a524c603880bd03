"""From public text to tokens for pretraining: which files, the room they take, and the processes that make the ids."""
