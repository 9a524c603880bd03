DEPTH = 3
WINDOW_PATTERN = "L"
SEED = 3
ema_model.update(model)
