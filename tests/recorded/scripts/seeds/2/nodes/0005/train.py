DEPTH = 3
WINDOW_PATTERN = "L"
SEED = 2
ema_model.update(model)
