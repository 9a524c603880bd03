DEPTH = 2
WINDOW_PATTERN = "SSSL"
SEED = 2
ema_model.update(model)
