"""Honest modules of many kinds, after public JAX code, on which the judge's own derivative is compared with JAX's.

`HONEST` are plain functions; `ESTIMATED` have a gradient that is not their function's, and say so by design
(straight-through, quantization, stopped gradients, clipping): the judge cannot tell these from a cheat and flags them.
"""

from small_modules import ATTENTION, EMBED, GOOD, POOL, encoder


def _block(body: str, *, before: str = "") -> str:
    return encoder(EMBED + body.strip() + "\n" + POOL, before=before)


_ROTARY = """
half = self.emb_dim // 2
angles = jnp.arange(x.shape[1])[:, None] / 100.0 ** (jnp.arange(half) / half)
turned = lambda z: jnp.concatenate([z[..., :half] * jnp.cos(angles) - z[..., half:] * jnp.sin(angles), z[..., :half] * jnp.sin(angles) + z[..., half:] * jnp.cos(angles)], axis=-1)
q, k, v = (nn.Dense(self.emb_dim)(x) for _ in range(3))
scores = jnp.einsum("bqd,bkd->bqk", turned(q), turned(k)) / self.emb_dim**0.5
x = x + nn.softmax(jnp.where(mask[:, None, :, 0] > 0, scores, -jnp.inf), axis=-1) @ v
"""
_FLASH = """
q, k, v = (nn.Dense(self.emb_dim)(x) for _ in range(3))
def block(state, kv):
    top, total, out = state
    kb, vb, mb = kv
    s = jnp.einsum("bqd,bkd->bqk", q, kb) + jnp.where(mb[:, None, :, 0] > 0, 0.0, -1e9)
    new = jnp.maximum(top, s.max(-1))
    old, e = jnp.exp(top - new), jnp.exp(s - new[..., None])
    return (new, total * old + e.sum(-1), out * old[..., None] + e @ vb), None
split = lambda z: jnp.moveaxis(z.reshape(z.shape[0], -1, 4, z.shape[-1]), 1, 0)
start = (jnp.full(x.shape[:2], -1e9), jnp.zeros(x.shape[:2]), jnp.zeros_like(v))
(_, total, out), _ = jax.lax.scan(block, start, (split(k), split(v), split(mask)))
x = x + out / total[..., None]
"""
_BLOCK_CLASS = """
class Block(nn.Module):
    width: int
    @nn.compact
    def __call__(self, x, _=None):
        y = nn.SelfAttention(2)(nn.LayerNorm()(x))
        x = x + y
        return x + nn.Dense(self.width)(nn.gelu(nn.Dense(2 * self.width)(nn.LayerNorm()(x)))), None
"""
_SSM = """
step = nn.softplus(nn.Dense(self.emb_dim)(x))
a = -jnp.exp(self.param("a", nn.initializers.normal(0.5), (self.emb_dim, 4)))
b, c = nn.Dense(4)(x), nn.Dense(4)(x)
decay = jnp.exp(step[..., None] * a)
drive = step[..., None] * b[:, :, None] * x[..., None]
"""
_NEXT = """
def combine(one, other):
    return one[0] * other[0], one[1] * other[0] + other[1]
"""

HONEST: dict[str, str] = {
    "words": GOOD,
    "attention": ATTENTION,
    "flax attention": _block("x = x + nn.MultiHeadDotProductAttention(2)(x, x, mask=mask[:, None, None, :, 0] > 0)"),
    "jax attention": _block(
        "q, k, v = (nn.Dense(self.emb_dim)(x).reshape(*x.shape[:2], 2, -1) for _ in range(3))\n"
        "x = x + jax.nn.dot_product_attention(q, k, v).reshape(x.shape)"
    ),
    "rotary, infinite mask": _block(_ROTARY),
    "attention in blocks": _block(_FLASH),
    "fused qkv": _block(
        "q, k, v = jnp.split(nn.Dense(3 * self.emb_dim)(x), 3, axis=-1)\n"
        "x = x + nn.softmax(jnp.einsum('bqd,bkd->bqk', q, k)) @ v"
    ),
    "blocks under scan": _block(
        "x, _ = nn.scan(Block, variable_axes={'params': 0}, split_rngs={'params': True}, length=2)(self.emb_dim)(x, None)",
        before=_BLOCK_CLASS,
    ),
    "blocks under remat": _block("x, _ = nn.remat(Block)(self.emb_dim)(x)", before=_BLOCK_CLASS),
    "remat and scan": _block(
        "x, _ = nn.scan(nn.remat(Block), variable_axes={'params': 0}, split_rngs={'params': True}, length=2)(self.emb_dim)(x, None)",
        before=_BLOCK_CLASS,
    ),
    "gru": _block("x = nn.RNN(nn.GRUCell(self.emb_dim))(x)"),
    "lstm both ways": _block(
        "x = nn.Bidirectional(nn.RNN(nn.LSTMCell(self.emb_dim)), nn.RNN(nn.LSTMCell(self.emb_dim)))(x, seq_lengths=(inputs > 0).sum(1))\n"
        "x = nn.Dense(self.emb_dim)(x)"
    ),
    "selective scan, associative": _block(
        _SSM + "_, h = jax.lax.associative_scan(combine, (decay, drive), axis=1)\nx = x + jnp.einsum('blds,bls->bld', h, c)",
        before=_NEXT,
    ),
    "selective scan, sequential": _block(
        _SSM + "def move(h, given):\n    h = h * given[0] + given[1]\n    return h, h\n"
        "_, h = jax.lax.scan(move, jnp.zeros_like(drive[:, 0]), (decay.swapaxes(0, 1), drive.swapaxes(0, 1)), reverse=True)\n"
        "x = x + jnp.einsum('lbds,bls->bld', h, c)"
    ),
    "log-space recurrence": _block(
        "z = nn.Dense(self.emb_dim)(x)\n"
        "values = -nn.softplus(-z) + jnp.log(nn.softplus(nn.Dense(self.emb_dim)(x)))\n"
        "total = jnp.cumsum(-nn.softplus(z), axis=1)\n"
        "x = x + jnp.exp(total + jax.lax.cumlogsumexp(values - total, axis=1))"
    ),
    "fourier": _block("x = x + nn.Dense(self.emb_dim)(jnp.fft.fft(jnp.fft.fft(x, axis=1), axis=2).real)"),
    "long convolution": _block(
        "k = self.param('k', nn.initializers.normal(0.2), (x.shape[1], self.emb_dim))\n"
        "y = jnp.fft.irfft(jnp.fft.rfft(x, n=32, axis=1) * jnp.fft.rfft(k, n=32, axis=0), n=32, axis=1)[:, : x.shape[1]]\n"
        "x = x + y * nn.silu(nn.Dense(self.emb_dim)(x))"
    ),
    "complex recurrence": _block(
        "r = jnp.exp(-jnp.exp(self.param('r', nn.initializers.normal(0.5), (self.emb_dim,))))\n"
        "t = self.param('t', nn.initializers.normal(0.5), (self.emb_dim,))\n"
        "lam = jnp.broadcast_to(r * jnp.exp(1j * t), x.shape)\n"
        "_, h = jax.lax.associative_scan(combine, (lam, x.astype(jnp.complex64)), axis=1)\nx = x + nn.Dense(self.emb_dim)(h.real + h.imag)",
        before=_NEXT,
    ),
    "convolutions and max-pooling": _block(
        "y = nn.max_pool(nn.relu(nn.Conv(self.emb_dim, (3,))(x)), (2,), (2,))\n"
        "y = nn.avg_pool(nn.Conv(self.emb_dim, (3,), feature_group_count=4, kernel_dilation=2)(y), (2,), (2,))\n"
        "x = x + jnp.repeat(y, 4, axis=1)"
    ),
    "transposed and strided convolution": _block(
        "y = nn.relu(nn.Conv(self.emb_dim, (4,), strides=2)(x))\nx = x + nn.ConvTranspose(self.emb_dim, (4,), strides=(2,))(y)"
    ),
    "running maxima and sums": _block(
        "x = nn.Dense(self.emb_dim)(jnp.concatenate([jax.lax.cummax(x, axis=1), jnp.cumsum(x, axis=1), jax.lax.cummin(x, axis=1, reverse=True)], -1))"
    ),
    "running product": _block("x = x + jnp.cumprod(nn.sigmoid(nn.Dense(self.emb_dim)(x)), axis=1)"),
    "sorting": _block(
        "y = nn.Dense(self.emb_dim)(x)\nx = x + jnp.sort(y, axis=1) + jnp.take_along_axis(y, jnp.argsort(-y[..., :1], axis=1), axis=1)"
    ),
    "experts by top-k": _block(
        "gate = nn.softmax(nn.Dense(4)(x))\nvalues, which = jax.lax.top_k(gate, 2)\n"
        "experts = nn.DenseGeneral((4, self.emb_dim))(nn.gelu(x))\n"
        "x = x + (jnp.take_along_axis(experts, which[..., None], axis=2) * values[..., None]).sum(2)"
    ),
    "arguments of the maximum": _block(
        "y = nn.Dense(self.emb_dim)(x)\nbest = jnp.argmax(y, axis=1)\nx = x + jnp.take_along_axis(y, best[:, None], axis=1)"
    ),
    "products over segments": _block(
        "flat = x.reshape(-1, self.emb_dim)\nsegments = (inputs + 16 * jnp.arange(inputs.shape[0])[:, None]).reshape(-1)\n"
        "sums = jax.ops.segment_sum(flat, segments, inputs.size)\nx = x + nn.Dense(self.emb_dim)(sums)[segments].reshape(x.shape)"
    ),
    "bfloat16 attention": encoder(
        "mask = (inputs > 0).astype(jnp.float32)[:, :, None]\n"
        "x = nn.Embed(self.vocab_size, self.emb_dim, dtype=jnp.bfloat16)(inputs) * mask.astype(jnp.bfloat16)\n"
        "x = x + nn.SelfAttention(2, dtype=jnp.bfloat16)(nn.LayerNorm(dtype=jnp.bfloat16)(x))\n"
        "x = x + nn.Dense(self.emb_dim, dtype=jnp.bfloat16)(nn.gelu(nn.Dense(self.mlp_dim, dtype=jnp.bfloat16)(x)))\n"
        "pooled = (x * mask).sum(axis=1) / mask.sum(axis=1)\nreturn nn.Dense(self.num_classes)(pooled.astype(jnp.float32))"
    ),
    "bfloat16 recurrence": _block("x = nn.RNN(nn.GRUCell(self.emb_dim, dtype=jnp.bfloat16))(x.astype(jnp.bfloat16)).astype(jnp.float32)"),
    "float16 products": _block("x = x + nn.Dense(self.emb_dim, dtype=jnp.float16)(nn.relu(nn.Dense(self.emb_dim, dtype=jnp.float16)(x))).astype(jnp.float32)"),
    "dropout everywhere": _block(
        "for _ in range(2):\n    x = x + nn.Dropout(0.5, deterministic=not train)(nn.relu(nn.Dense(self.emb_dim)(x)))"
    ),
    "noise": _block(
        "if train:\n    x = x * (1 + 0.1 * jax.random.normal(self.make_rng('dropout'), x.shape))\n    x = x + 0.1 * jax.random.gumbel(self.make_rng('dropout'), x.shape)"
    ),
    "triangular solve": _block(
        "k = nn.Dense(4)(x); k = k / jnp.sqrt((k * k).sum(-1, keepdims=True) + 1e-3)\n"
        "a = jnp.eye(x.shape[1]) + jnp.tril(jnp.einsum('bld,bmd->blm', k, k), -1)\n"
        "x = x + jax.scipy.linalg.solve_triangular(a, nn.Dense(self.emb_dim)(x), lower=True)"
    ),
    "inverse": _block(
        "m = self.param('m', nn.initializers.normal(0.1), (self.emb_dim, self.emb_dim))\nx = x @ jnp.linalg.inv(jnp.eye(self.emb_dim) + m)"
    ),
    "solve and determinant": _block(
        "m = self.param('m', nn.initializers.normal(0.1), (4, 4)) + jnp.eye(4)\n"
        "x = x + jnp.linalg.det(m) + jnp.linalg.solve(m, x.reshape(*x.shape[:2], 4, -1)).reshape(x.shape)"
    ),
    "cholesky": _block(
        "m = self.param('m', nn.initializers.normal(0.3), (8, 8))\nl = jnp.linalg.cholesky(m @ m.T + jnp.eye(8))\n"
        "x = x + jnp.tile(l.sum(0), self.emb_dim // 8)"
    ),
    "orthogonal by QR": _block(
        "m = self.param('m', nn.initializers.normal(0.5), (self.emb_dim, self.emb_dim))\nx = x @ jnp.linalg.qr(m + jnp.eye(self.emb_dim))[0]"
    ),
    "matrix exponential": _block(
        "m = self.param('m', nn.initializers.normal(0.2), (self.emb_dim, self.emb_dim))\nx = x @ jax.scipy.linalg.expm(m - m.T)"
    ),
    "eigenvalues": _block(
        "m = self.param('m', nn.initializers.normal(0.5), (8, 8))\nw, v = jnp.linalg.eigh(m + m.T)\nx = x + jnp.tile(((v * nn.tanh(w)) @ v.T).sum(0), self.emb_dim // 8)"
    ),
    "mapped rows": _block("x = x + jax.lax.map(nn.relu, x) * self.param('g', nn.initializers.ones, ())"),
    "branches": _block(
        "g = self.param('g', nn.initializers.ones, ())\nx = jax.lax.cond(g > 0, lambda z: g * nn.relu(z), lambda z: z, x)\n"
        "x = jax.lax.switch(jnp.int32(g), [lambda z: z, lambda z: g * z, lambda z: -z], x)"
    ),
    "special functions": _block(
        "y = nn.Dense(self.emb_dim)(x)\nx = x + jax.scipy.special.erf(y) + jnp.arctan2(y, 1.0 + y * y) + jnp.sinc(y) + jnp.cbrt(y * y + 1)\n"
        "x = x + jax.scipy.special.logsumexp(y, axis=-1, keepdims=True) + jnp.log1p(y * y) + jnp.expm1(-y * y) + jnp.power(1 + y * y, 0.3)"
    ),
    "activations": _block(
        "y = nn.Dense(self.emb_dim)(x)\n"
        "x = sum(f(y) for f in (nn.relu, nn.gelu, nn.silu, nn.elu, nn.selu, nn.leaky_relu, nn.softplus, nn.log_sigmoid, nn.hard_swish, nn.celu, nn.relu6, nn.tanh))"
    ),
    "norms": _block("x = nn.RMSNorm()(x) + nn.GroupNorm(4)(x) + nn.LayerNorm()(x) + x / (1e-3 + jnp.linalg.norm(x, axis=-1, keepdims=True))"),
    "weight norm": _block("x = nn.WeightNorm(nn.Dense(self.emb_dim))(x)"),
    "gate at zero": _block("x = x + self.param('g', nn.initializers.zeros, ()) * nn.relu(nn.Dense(self.emb_dim)(x))"),
    "resized": _block("x = x + jax.image.resize(nn.Dense(self.emb_dim)(jax.image.resize(x, (x.shape[0], 8, self.emb_dim), 'linear')), x.shape, 'cubic')"),
    "gradient inside": _block(
        "w = self.param('w', nn.initializers.normal(0.3), (self.emb_dim, self.emb_dim))\n"
        "inner = jax.grad(lambda m: (nn.tanh(x @ m) ** 2).mean())(w)\nx = x @ (w - 0.5 * inner)"
    ),
    "fixed point, unrolled": _block(
        "w = self.param('w', nn.initializers.normal(0.1), (self.emb_dim, self.emb_dim))\n"
        "x = jax.lax.fori_loop(0, 5, lambda i, z: nn.tanh(z @ w + x), x)"
    ),
}  # fmt: skip
"""By name; the gradient of each is its function's."""

ESTIMATED: dict[str, str] = {
    "straight-through": _block("y = nn.Dense(self.emb_dim)(x)\nx = x + y + jax.lax.stop_gradient(jnp.sign(y) - y)"),
    "vector quantization": _block(
        "book = self.param('book', nn.initializers.normal(1.0), (8, self.emb_dim))\n"
        "y = nn.Dense(self.emb_dim)(x)\nnearest = book[jnp.argmin(((y[:, :, None] - book) ** 2).sum(-1), axis=-1)]\n"
        "x = x + y + jax.lax.stop_gradient(nearest - y)"
    ),
    "stopped features": _block("x = x + nn.Dense(self.emb_dim)(jax.lax.stop_gradient(nn.tanh(x)))"),
    "clipped gradient": _block(
        "x = _clipped(nn.Dense(self.emb_dim)(x))",
        before="\n@jax.custom_vjp\ndef _clipped(x):\n    return x\n_clipped.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -1e-6, 1e-6),))\n",
    ),
    "fixed point, implicit": _block(
        "w = self.param('w', nn.initializers.normal(0.3), (self.emb_dim, self.emb_dim))\nx = _solved(w, x)",
        before=(
            "\ndef _iterated(w, x):\n    return jax.lax.fori_loop(0, 4, lambda i, z: nn.tanh(z @ w + x), x)\n_solved = jax.custom_vjp(_iterated)\n"
            "def _backward(kept, g):\n    w, x = kept\n    fixed = _iterated(w, x)\n    _, pull = jax.vjp(lambda w, x: nn.tanh(fixed @ w + x), w, x)\n    return pull(g)\n"
            "_solved.defvjp(lambda w, x: (_solved(w, x), (w, x)), _backward)\n"
        ),
    ),
}  # fmt: skip
"""By name; the gradient of each is another than its function's."""
