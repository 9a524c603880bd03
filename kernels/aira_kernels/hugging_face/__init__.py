"""Full-size models as Hugging Face folders, and back: config.json, model.safetensors and a model file of their own.

`folder` writes and reads them with torch alone; `modeling_aira` is the file that goes with each of them, and the one
module that imports transformers.
"""
