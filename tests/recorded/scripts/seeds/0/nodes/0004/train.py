DEPTH = 2
WINDOW_PATTERN = "SSSL"
SEED = 0
ema_model.update(model)
