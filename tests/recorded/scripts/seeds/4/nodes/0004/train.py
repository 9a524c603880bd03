DEPTH = 2
WINDOW_PATTERN = "SSSL"
SEED = 4
ema_model.update(model)
