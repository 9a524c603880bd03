DEPTH = 3
WINDOW_PATTERN = "L"
SEED = 4
ema_model.update(model)
