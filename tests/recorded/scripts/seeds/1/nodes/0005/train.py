DEPTH = 3
WINDOW_PATTERN = "L"
SEED = 1
ema_model.update(model)
