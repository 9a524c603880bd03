"""The baseline: a small GPT trained for TIME_BUDGET seconds on one device. Everything in this file may be changed.

Run as `python train.py` beside prepare.py and data/. The last call of evaluate_bpb hands the model over for scoring.
"""

import gc
import math
import os
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from prepare import MAX_SEQ_LEN, TIME_BUDGET, Tokenizer, evaluate_bpb, make_dataloader
from torch import Tensor, nn

try:
    from flash_attn import flash_attn_func
except ImportError:
    flash_attn_func = None

started = time.perf_counter()

# ---------------------------------------------------------------------------------------------------------------------
# Dials

DEPTH = 8  # layers; the width follows from it
ASPECT_RATIO = 64  # width per layer of depth
HEAD_DIM = 128
WINDOW_PATTERN = "SSSL"  # per layer, repeated: S sees half of the context, L all of it; the last layer is always L
SOFTCAP = 15.0  # logits stay within +- this
ROTARY_BASE = 10000.0
GATE_CHANNELS = 32  # the first features of a layer's input, from which the value gates are computed

TOTAL_BATCH_SIZE = 524288  # tokens of one optimizer step
DEVICE_BATCH_SIZE = 128  # rows of one forward pass

EMBEDDING_LR = 0.6  # AdamW, token and value embeddings
UNEMBEDDING_LR = 0.004  # AdamW, output head
MATRIX_LR = 0.04  # Muon, matrices of the layers
SCALAR_LR = 0.5  # AdamW, share of the embedding in each layer's input; a hundredth of it, share of the residual stream
WEIGHT_DECAY = 0.2  # Muon only, falls to zero over the budget
ADAM_BETAS = (0.8, 0.95)
EMBEDDING_SHARE_BETAS = (0.96, 0.95)
MUON_MOMENTUM = 0.95
MUON_MOMENTUM_START = 0.85
MUON_MOMENTUM_STEPS = 300  # over which it rises
MUON_BETA2 = 0.95  # of the second moment, one number a row or a column
NS_STEPS = 5  # Newton-Schulz iterations of Muon

WARMUP_RATIO = 0.0  # shares of the time budget
WARMDOWN_RATIO = 0.5
FINAL_LR_FRAC = 0.0
GIVE_UP_LOSS = 100.0
UNCOUNTED_STEPS = 11  # compilation happens in these; they come out of the start-up allowance

# ---------------------------------------------------------------------------------------------------------------------
# Model. Shapes: B rows, T tokens, H heads, D features of a head, C = H * D.


@dataclass
class GPTConfig:
    """Sizes of the model."""

    vocab_size: int
    sequence_len: int
    n_layer: int
    n_head: int
    n_embd: int
    window_pattern: str


def norm(x: Tensor) -> Tensor:
    """RMS norm without weights."""
    return F.rms_norm(x, (x.size(-1),))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions over the whole head: x [B, T, H, D], cos and sin [T, D / 2]."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[:, None, :].to(x.dtype), sin[:, None, :].to(x.dtype)
    return torch.cat((first * cos + second * sin, second * cos - first * sin), dim=-1)


def band(length: int, window: int, device: torch.device) -> Tensor:
    """Which of `length` keys each query sees: itself and the `window` before it. Bool [T, T]."""
    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)[None, :]
    return (distance >= 0) & (distance <= window)


def attend(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Causal attention over at most `window` earlier tokens. All tensors [B, T, H, D]."""
    if flash_attn_func is not None and q.is_cuda:
        return flash_attn_func(q, k, v, causal=True, window_size=(window, 0))
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    length = q.size(2)
    if window >= length - 1:
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=band(length, window, q.device))
    return mixed.transpose(1, 2)


def has_value_embedding(layer: int, n_layer: int) -> bool:
    """Every other layer, the last one always among them."""
    return layer % 2 == (n_layer - 1) % 2


class Attention(nn.Module):
    """Multi-head attention with rotary positions, normed queries and keys, and gated value embeddings."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.n_head, self.head_dim = config.n_head, config.n_embd // config.n_head
        self.query = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.key = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.value = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.proj = nn.Linear(config.n_embd, config.n_embd, bias=False)
        gated = has_value_embedding(layer, config.n_layer)
        self.gate_channels = min(GATE_CHANNELS, config.n_embd)
        self.gate = nn.Linear(self.gate_channels, config.n_head, bias=False) if gated else None

    def forward(self, x: Tensor, value_embedding: Tensor | None, cos: Tensor, sin: Tensor, window: int) -> Tensor:
        """[B, T, C] to [B, T, C]."""
        B, T, C = x.shape
        q = self.query(x).view(B, T, self.n_head, self.head_dim)
        k = self.key(x).view(B, T, self.n_head, self.head_dim)
        v = self.value(x).view(B, T, self.n_head, self.head_dim)
        if self.gate is not None:
            # 1 at the start, since the gate begins at zero.
            share = 2 * torch.sigmoid(self.gate(x[..., : self.gate_channels]))[..., None]
            v = v + share * value_embedding.view(B, T, self.n_head, self.head_dim).to(v.dtype)
        q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))
        mixed = attend(q.to(v.dtype), k.to(v.dtype), v, window)
        return self.proj(mixed.reshape(B, T, C))


class MLP(nn.Module):
    """Two layers with a squared ReLU between them."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] to [B, T, C]."""
        return self.proj(F.relu(self.up(x)).square())


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.attention = Attention(config, layer)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, value_embedding: Tensor | None, cos: Tensor, sin: Tensor, window: int) -> Tensor:
        """[B, T, C] to [B, T, C]."""
        x = x + self.attention(norm(x), value_embedding, cos, sin, window)
        return x + self.mlp(norm(x))


class GPT(nn.Module):
    """The language model."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.value_embeddings = nn.ModuleDict(
            {
                str(layer): nn.Embedding(config.vocab_size, config.n_embd)
                for layer in range(config.n_layer)
                if has_value_embedding(layer, config.n_layer)
            }
        )
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.residual_share = nn.Parameter(torch.ones(config.n_layer))
        self.embedding_share = nn.Parameter(torch.full((config.n_layer,), 0.1))
        self.windows = window_sizes(config)
        half = config.n_embd // config.n_head // 2
        frequencies = ROTARY_BASE ** -(torch.arange(half, dtype=torch.float32) / half)
        angles = torch.arange(config.sequence_len, dtype=torch.float32)[:, None] * frequencies
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Layers begin as the identity: their last matrices are zero."""
        bound = math.sqrt(3 / self.config.n_embd)  # standard deviation 1 / sqrt(C)
        nn.init.normal_(self.embedding.weight, std=1.0)
        nn.init.normal_(self.head.weight, std=0.001)
        for embedding in self.value_embeddings.values():
            nn.init.uniform_(embedding.weight, -bound, bound)
        for block in self.blocks:
            for matrix in (block.attention.query, block.attention.key, block.attention.value, block.mlp.up):
                nn.init.uniform_(matrix.weight, -bound, bound)
            nn.init.zeros_(block.attention.proj.weight)
            nn.init.zeros_(block.mlp.proj.weight)
            if block.attention.gate is not None:
                nn.init.zeros_(block.attention.gate.weight)
        for table in (self.embedding, *self.value_embeddings.values()):
            table.bfloat16()  # the tables alone: half of their memory and traffic

    def forward(self, idx: Tensor, targets: Tensor | None = None, reduction: str = "mean") -> Tensor:
        """Logits [B, T, V] of token ids [B, T]; with targets, their cross-entropy in nats instead."""
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=idx.is_cuda):
            T = idx.size(1)
            cos, sin = self.cos[:T], self.sin[:T]
            x = norm(self.embedding(idx).float())
            if idx.is_cuda:
                x = x.bfloat16()  # the residual stream, half of the memory of activations
            embedded = x
            for layer, block in enumerate(self.blocks):
                name = str(layer)
                value = self.value_embeddings[name](idx) if name in self.value_embeddings else None
                x = self.residual_share[layer] * x + self.embedding_share[layer] * embedded
                x = block(x, value, cos, sin, self.windows[layer])
            logits = self.head(norm(x)).float()
        logits = SOFTCAP * torch.tanh(logits / SOFTCAP)
        if targets is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)

    def flops_per_token(self) -> int:
        """Of one forward and backward pass: matrix products, and attention as far as the windows reach."""
        matrices = sum(block_matrix.numel() for block_matrix in self.matrices()) + self.head.weight.numel()
        reach = sum(min(window + 1, self.config.sequence_len) for window in self.windows)
        return 6 * matrices + 12 * self.config.n_embd * reach

    def matrices(self) -> list[nn.Parameter]:
        """What Muon optimizes."""
        return [parameter for parameter in self.blocks.parameters() if parameter.ndim == 2]


def window_sizes(config: GPTConfig) -> list[int]:
    """Earlier tokens each layer sees."""
    reach = {"S": config.sequence_len // 2, "L": config.sequence_len}
    pattern = [config.window_pattern[layer % len(config.window_pattern)] for layer in range(config.n_layer)]
    return [reach[symbol] for symbol in [*pattern[:-1], "L"]]


# ---------------------------------------------------------------------------------------------------------------------
# Optimizer


# The quintics of Polar Express (Amsel et al. 2025): each maps the singular values that the one before leaves as near to
# 1 as an odd polynomial of degree five can. For inputs divided by 1.02 times their norm; the last one may be repeated.
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def orthogonalize(matrices: Tensor, steps: int) -> Tensor:
    """The nearest matrices with all singular values near 1, by a quintic Newton-Schulz iteration. [N, rows, cols]."""
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT
    x = x / (1.02 * x.norm(dim=(-2, -1), keepdim=True) + 1e-6)
    for step in range(steps):
        a, b, c = POLAR_EXPRESS[min(step, len(POLAR_EXPRESS) - 1)]
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


def evened(update: Tensor, second: Tensor, beta2: float) -> Tensor:
    """Divide each row (of wide matrices each column) by a running root mean square, and keep every matrix's norm.

    Orthogonalized updates still differ from neuron to neuron in size; NorMuon (Li et al. 2025) evens them out. `second`
    [N, rows, 1] or [N, 1, cols] holds the running mean squares and is changed.
    """
    mean_square = update.square().mean(dim=-1 if second.size(-1) == 1 else -2, keepdim=True)
    second.lerp_(mean_square, 1 - beta2)
    scaled = update * second.clamp_min(1e-10).rsqrt()
    kept = update.norm(dim=(-2, -1), keepdim=True) / scaled.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-10)
    return scaled * kept


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose matrices are orthogonalized and evened out before they are applied.

    One group for each shape. Weight decay is cautious: it acts on those weights alone that the update shrinks as well.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], **settings: float) -> None:
        shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for parameter in parameters:
            shapes.setdefault(tuple(parameter.shape), []).append(parameter)
        super().__init__([{"params": group} for group in shapes.values()], settings)

    @torch.no_grad()
    def step(self) -> None:
        """Apply one update."""
        for group in self.param_groups:
            gradient = torch.stack([parameter.grad for parameter in group["params"]])
            rows, columns = gradient.shape[-2:]
            if "buffer" not in group:
                group["buffer"] = torch.zeros_like(gradient)
                group["second"] = torch.zeros_like(gradient[..., :1] if rows >= columns else gradient[:, :1])
            group["buffer"].lerp_(gradient, 1 - group["momentum"])
            update = orthogonalize(gradient.lerp(group["buffer"], group["momentum"]), group["ns_steps"])
            update = evened(update, group["second"], group["beta2"])
            weights = torch.stack(list(group["params"]))
            shrinks = update * weights >= 0
            lr = group["lr"] * max(1.0, rows / columns) ** 0.5
            weights -= lr * (update + group["weight_decay"] * weights * shrinks)
            torch._foreach_copy_(group["params"], list(weights.unbind()))


def make_optimizers(model: GPT) -> tuple[torch.optim.AdamW, Muon]:
    """AdamW for embeddings, head and scalars, Muon for the matrices of the layers."""
    scale = (model.config.n_embd / 768) ** -0.5  # the rates are those of width 768
    embeddings = [*model.embedding.parameters(), *model.value_embeddings.parameters()]
    groups = [
        {"params": embeddings, "lr": EMBEDDING_LR * scale},
        {"params": list(model.head.parameters()), "lr": UNEMBEDDING_LR * scale},
        {"params": [model.residual_share], "lr": SCALAR_LR / 100},
        {"params": [model.embedding_share], "lr": SCALAR_LR, "betas": EMBEDDING_SHARE_BETAS},
    ]
    adam = torch.optim.AdamW(groups, betas=ADAM_BETAS, eps=1e-10, weight_decay=0.0, fused=True)
    muon = Muon(
        model.matrices(), lr=MATRIX_LR, momentum=MUON_MOMENTUM, beta2=MUON_BETA2, weight_decay=WEIGHT_DECAY,
        ns_steps=NS_STEPS,
    )  # fmt: skip
    for optimizer in (adam, muon):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return adam, muon


def muon_momentum(step: int) -> float:
    """Rises evenly over the first steps, then stays."""
    share = min(step / MUON_MOMENTUM_STEPS, 1.0) if MUON_MOMENTUM_STEPS > 0 else 1.0
    return MUON_MOMENTUM_START + share * (MUON_MOMENTUM - MUON_MOMENTUM_START)


def lr_multiplier(progress: float) -> float:
    """Rises over the warm-up, stays, falls over the warm-down; `progress` is the used share of the budget."""
    if progress < WARMUP_RATIO:
        return progress / WARMUP_RATIO
    left = (1 - progress) / WARMDOWN_RATIO if WARMDOWN_RATIO > 0 else 1.0
    return FINAL_LR_FRAC + (1 - FINAL_LR_FRAC) * min(max(left, 0.0), 1.0)


# ---------------------------------------------------------------------------------------------------------------------
# Training

PEAK_BF16_FLOPS = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "B200": 2250e12}

torch.manual_seed(int(os.environ.get("AIRA_TRAINING_SEED", "42")))  # a confirmation trains from another
torch.set_float32_matmul_precision("high")
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

tokenizer = Tokenizer.from_directory()
n_head = max(1, math.ceil(DEPTH * ASPECT_RATIO / HEAD_DIM))
config = GPTConfig(
    vocab_size=tokenizer.get_vocab_size(), sequence_len=MAX_SEQ_LEN, n_layer=DEPTH, n_head=n_head,
    n_embd=n_head * HEAD_DIM, window_pattern=WINDOW_PATTERN,
)  # fmt: skip
model = GPT(config).to(device)
optimizers = adam, muon = make_optimizers(model)
trained = torch.compile(model, dynamic=False) if device.type == "cuda" else model
loader = make_dataloader(tokenizer, DEVICE_BATCH_SIZE, MAX_SEQ_LEN, "train")
accumulation, rest = divmod(TOTAL_BATCH_SIZE, DEVICE_BATCH_SIZE * MAX_SEQ_LEN)
if accumulation == 0 or rest:
    raise SystemExit("TOTAL_BATCH_SIZE is no multiple of DEVICE_BATCH_SIZE * MAX_SEQ_LEN")
print(f"{config}, {accumulation} forward passes a step")

step, counted_steps, training_seconds, announced = 0, 0, 0.0, 0.0
x, y, epoch = next(loader)
while training_seconds < TIME_BUDGET:
    began = time.perf_counter()
    for _ in range(accumulation):
        loss = trained(x, y)
        (loss / accumulation).backward()
        x, y, epoch = next(loader)
    progress = min(training_seconds / TIME_BUDGET, 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * lr_multiplier(progress)
    for group in muon.param_groups:
        group["momentum"] = muon_momentum(step)
        group["weight_decay"] = WEIGHT_DECAY * (1 - progress)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    current = loss.item()  # waits for the device, so the clock below is honest
    if not current <= GIVE_UP_LOSS:
        raise SystemExit(f"the loss is {current} at step {step}")
    if step == 0:
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection would stop the device for half a second
    step += 1
    if step > UNCOUNTED_STEPS:
        counted_steps += 1
        training_seconds += time.perf_counter() - began
    if progress >= announced:
        announced = progress + 0.05
        print(f"step {step:5d}  {100 * progress:3.0f} %  loss {current:.4f}  epoch {epoch}", flush=True)

gc.unfreeze()  # else what libraries hold is called leaked at the end
gc.enable()
model.eval()
val_bpb = evaluate_bpb(model, tokenizer, DEVICE_BATCH_SIZE)

peak_flops = 0.0
if device.type == "cuda":
    peak_memory_mb = torch.cuda.max_memory_allocated() / 2**20
    peak_flops = next((peak for name, peak in PEAK_BF16_FLOPS.items() if name in torch.cuda.get_device_name()), 0.0)
else:
    peak_memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
reached_flops = model.flops_per_token() * TOTAL_BATCH_SIZE * counted_steps / max(training_seconds, 1e-9)
print("---")
print(f"val_bpb:          {val_bpb:.6f}")
print(f"training_seconds: {training_seconds:.1f}")
print(f"total_seconds:    {time.perf_counter() - started:.1f}")
print(f"peak_vram_mb:     {peak_memory_mb:.1f}")
print(f"mfu_percent:      {100 * reached_flops / peak_flops if peak_flops else 0.0:.2f}")
print(f"total_tokens_M:   {step * TOTAL_BATCH_SIZE / 1e6:.3f}")
print(f"num_steps:        {step}")
print(f"num_params_M:     {sum(parameter.numel() for parameter in model.parameters()) / 1e6:.3f}")
print(f"depth:            {DEPTH}")
