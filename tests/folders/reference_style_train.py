"""A script in the style of the public reference, written from its description alone: top-level code without a main
guard, its own clock, a bfloat16 embedding under an outer autocast block, and `evaluate_bpb` at the end.
"""

import gc
import time
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from prepare import MAX_SEQ_LEN, TIME_BUDGET, Tokenizer, evaluate_bpb, make_dataloader


@dataclass
class GPTConfig:
    sequence_len: int = 2048
    vocab_size: int = 32768
    n_layer: int = 12
    n_embd: int = 768


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=False)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(config.n_embd, 4 * config.n_embd), nn.GELU(), nn.Linear(4 * config.n_embd, config.n_embd)
        )

    def forward(self, x):
        q, k, v = self.c_attn(norm(x))[:, None].chunk(3, dim=-1)
        x = x + self.c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).squeeze(1))
        return x + self.mlp(norm(x))


def norm(x):
    return F.rms_norm(x, (x.size(-1),))


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd).bfloat16()
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)

    def forward(self, idx, targets=None, reduction="mean"):
        x = norm(self.wte(idx))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(norm(x)).float()
        if targets is None:
            return logits
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1, reduction=reduction)


TOTAL_BATCH_SIZE = 2**11
DEVICE_BATCH_SIZE = 4

t_start = time.time()
torch.manual_seed(42)
device_type = "cuda" if torch.cuda.is_available() else "cpu"
autocast_ctx = torch.amp.autocast(device_type=device_type, dtype=torch.bfloat16)
tokenizer = Tokenizer.from_directory()
vocab_size = tokenizer.get_vocab_size()
print(f"Vocab size: {vocab_size:,}")
config = GPTConfig(sequence_len=MAX_SEQ_LEN, vocab_size=vocab_size, n_layer=1, n_embd=64)
print(f"Model config: {asdict(config)}")
model = GPT(config).to(device_type)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
grad_accum_steps = TOTAL_BATCH_SIZE // (DEVICE_BATCH_SIZE * MAX_SEQ_LEN)
train_loader = make_dataloader(tokenizer, DEVICE_BATCH_SIZE, MAX_SEQ_LEN, "train")
x, y, epoch = next(train_loader)  # prefetch

total_training_time, step = 0.0, 0
while True:
    t0 = time.time()
    for _ in range(grad_accum_steps):
        with autocast_ctx:
            loss = model(x, y)
        train_loss = loss.detach()
        (loss / grad_accum_steps).backward()
        x, y, epoch = next(train_loader)
    optimizer.step()
    model.zero_grad(set_to_none=True)
    total_training_time += time.time() - t0
    print(f"\rstep {step:05d} | loss: {train_loss.item():.6f} | epoch: {epoch}    ", end="", flush=True)
    if step == 0:
        gc.collect()
        gc.freeze()
    step += 1
    if total_training_time >= TIME_BUDGET:
        break
print()

model.eval()
with autocast_ctx:
    val_bpb = evaluate_bpb(model, tokenizer, DEVICE_BATCH_SIZE)

print("---")
print(f"val_bpb:          {val_bpb:.6f}")
print(f"training_seconds: {total_training_time:.1f}")
print(f"total_seconds:    {time.time() - t_start:.1f}")
print(f"num_steps:        {step}")
