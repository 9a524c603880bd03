DEPTH = 2
WINDOW_PATTERN = "SSSL"
SEED = 1
ema_model.update(model)
