DEPTH = 2
WINDOW_PATTERN = "SSSL"
SEED = 3
ema_model.update(model)
