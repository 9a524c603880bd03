"""Mechanisms after public papers and code, by how their work grows with the length of what they read."""

from small_modules import EMBED, POOL, encoder

_QKV = "q, k, v = (nn.Dense(self.emb_dim)(x) for _ in range(3))\n"


def _block(body: str) -> str:
    return encoder(EMBED + body.strip() + "\n" + POOL)


LINEAR: dict[str, str] = {
    # Keys and values are projected to a fixed number of rows; the projection has a parameter for every position.
    "linformer": _block(
        _QKV
        + """
e, f = (self.param(n, nn.initializers.normal(0.1), (x.shape[1], 8)) for n in "ef")
k, v = jnp.einsum("blc,lk->bkc", k, e), jnp.einsum("blc,lk->bkc", v, f)
x = x + nn.softmax(jnp.einsum("bqc,bkc->bqk", q, k)) @ v
"""
    ),
    "performer": _block(
        _QKV
        + """
w = jnp.asarray(np.random.default_rng(0).normal(size=(self.emb_dim, 32)))
phi = lambda z: jnp.exp(z @ w - (z**2).sum(-1, keepdims=True) / 2 - 2.0)
q, k = phi(q), phi(k)
x = x + jnp.einsum("blm,bmc->blc", q, jnp.einsum("blm,blc->bmc", k, v)) / (q * k.sum(1, keepdims=True)).sum(-1, keepdims=True)
"""
    ),
    "landmarks": _block(
        _QKV
        + """
few = lambda z: z.reshape(z.shape[0], 8, -1, z.shape[-1]).mean(2)
one, two = nn.softmax(q @ few(k).swapaxes(1, 2)), nn.softmax(few(q) @ few(k).swapaxes(1, 2))
x = x + one @ (two @ (nn.softmax(few(q) @ k.swapaxes(1, 2)) @ v))
"""
    ),
    "windows": _block(
        _QKV
        + """
cut = lambda z: z.reshape(z.shape[0], -1, 8, z.shape[-1])
x = x + (nn.softmax(cut(q) @ cut(k).swapaxes(2, 3)) @ cut(v)).reshape(x.shape)
"""
    ),
    "retention by chunks": _block(
        _QKV
        + """
cut = lambda z: jnp.moveaxis(z.reshape(z.shape[0], -1, 8, z.shape[-1]), 1, 0)
def chunk(state, given):
    q, k, v = given
    inner = jnp.tril(q @ k.swapaxes(1, 2)) @ v
    return 0.9 * state + jnp.einsum("blm,blc->bmc", k, v), inner + q @ state
_, y = jax.lax.scan(chunk, jnp.zeros((x.shape[0], self.emb_dim, self.emb_dim)), (cut(q), cut(k), cut(v)))
x = x + jnp.moveaxis(y, 0, 1).reshape(x.shape)
"""
    ),
    "sums and transforms": _block(
        "y = jnp.fft.irfft(jnp.fft.rfft(x, n=2 * x.shape[1], axis=1), n=2 * x.shape[1], axis=1)[:, : x.shape[1]]\n"
        "x = x + jnp.sort(jnp.cumsum(y, axis=1), axis=1)"
    ),
}
QUADRATIC: dict[str, str] = {
    "attention": _block(_QKV + "x = x + nn.softmax(jnp.einsum('bqc,bkc->bqk', q, k)) @ v"),
    # Little memory: keys come in blocks, and so do queries.
    "attention by blocks of keys and queries": _block(
        _QKV
        + """
cut = lambda z: jnp.moveaxis(z.reshape(z.shape[0], -1, 4, z.shape[-1]), 1, 0)
def of_queries(_, q):
    def of_keys(state, given):
        e = jnp.exp(jnp.einsum("bqc,bkc->bqk", q, given[0]) / 4)
        return (state[0] + e.sum(-1, keepdims=True), state[1] + e @ given[1]), None
    start = jnp.zeros((*q.shape[:2], 1)), jnp.zeros(q.shape)
    return None, of_keys_of(of_keys, start)
of_keys_of = lambda step, start: (lambda s: s[1] / s[0])(jax.lax.scan(step, start, (cut(k), cut(v)))[0])
_, y = jax.lax.scan(of_queries, None, cut(q))
x = x + jnp.moveaxis(y, 0, 1).reshape(x.shape)
"""
    ),
    "attention row by row": _block(
        _QKV
        + "row = lambda q: nn.softmax(jnp.einsum('bc,bkc->bk', q, k))[:, None] @ v\n"
        + "x = x + jnp.moveaxis(jax.lax.map(row, jnp.moveaxis(q, 1, 0))[:, :, 0], 0, 1)"
    ),
    # Products of the same kind, most of them linear: the work of the kind as a whole grows by less than eight.
    "attention behind a linear product of its kind": _block(
        _QKV
        + """
wide = jnp.concatenate([k] * 2 + [v], axis=-1)
wide = jnp.concatenate([wide] * 2, axis=-1)
mixed = jnp.einsum("blm,blc->bmc", wide, x)
x = x + jnp.einsum("blm,bmc->blc", wide, mixed) + jnp.einsum("bqc,bkc->bqk", q, k) @ v
"""
    ),
    "a distance of each to each": _block("x = x + jnp.abs(x[:, :, None] - x[:, None]).sum(2)"),
}

# Loops whose trips depend on what they compute are counted once, whatever they compute. No derivative passes through
# them, so what they read is held still.
_HELD = "q, k, v, x0 = (jax.lax.stop_gradient(z) for z in (q, k, v, x))\n"
_SIZES = "e, f = (self.param(n, nn.initializers.normal(0.1), (x.shape[1], 8)) for n in 'ef')\n"
LINEAR_BESIDE_LOOPS: dict[str, str] = {
    "linformer that looks for the last token": _block(
        _QKV
        + _SIZES
        + """
k, v = jnp.einsum("blc,lk->bkc", k, e), jnp.einsum("blc,lk->bkc", v, f)
x = x + nn.softmax(jnp.einsum("bqc,bkc->bqk", q, k)) @ v
last = jax.lax.while_loop(lambda t: (t > 0) & (inputs[:, t].max() == 0), lambda t: t - 1, x.shape[1] - 1)
x = x * (jnp.arange(x.shape[1]) <= last)[None, :, None]
"""
    ),
    "linformer as a fixed point": _block(
        _QKV
        + _SIZES
        + _HELD
        + """
e, f = jax.lax.stop_gradient(e), jax.lax.stop_gradient(f)
def again(state):
    i, z, _ = state
    k, v = jnp.einsum("blc,lk->bkc", z, e), jnp.einsum("blc,lk->bkc", z, f)
    new = jnp.tanh(x0 + nn.softmax(jnp.einsum("bqc,bkc->bqk", z, k)) @ v)
    return i + 1, new, jnp.abs(new - z).max()
x = x + jax.lax.while_loop(lambda s: (s[0] < 6) & (s[2] > 1e-6), again, (0, x0, jnp.inf))[1]
"""
    ),
}
_ROWS = "rows = (inputs > 0).sum(1).max()\nput = lambda a, row, t: jax.lax.dynamic_update_slice(a, row[:, None], (0, t, 0))\n"
QUADRATIC_IN_LOOPS: dict[str, str] = {
    "attention row by row until the last token": _block(
        _QKV
        + _HELD
        + _ROWS
        + """
def row(s):
    p = nn.softmax(jnp.einsum("bc,bkc->bk", q[:, s[0]], k))
    return s[0] + 1, put(s[1], jnp.einsum("bk,bkc->bc", p, v), s[0])
x = x + jax.lax.while_loop(lambda s: s[0] < rows, row, (0, jnp.zeros_like(x0)))[1]
"""
    ),
    "scores kept whole, written and read row by row": _block(
        _QKV
        + _HELD
        + _ROWS
        + """
whole = jnp.zeros((*x.shape[:2], x.shape[1]))
def fill(s):
    return s[0] + 1, put(s[1], jnp.einsum("bc,bkc->bk", q[:, s[0]], k), s[0])
kept = jax.lax.while_loop(lambda s: s[0] < rows, fill, (0, whole))[1]
def use(s):
    p = nn.softmax(jax.lax.dynamic_index_in_dim(kept, s[0], 1, keepdims=False))
    return s[0] + 1, put(s[1], jnp.einsum("bk,bkc->bc", p, v), s[0])
x = x + jax.lax.while_loop(lambda s: s[0] < rows, use, (0, jnp.zeros_like(x0)))[1]
"""
    ),
}
