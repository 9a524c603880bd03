DEPTH = 3
WINDOW_PATTERN = "L"
SEED = 0
ema_model.update(model)
