"""Modules that hold the rules of ListOps, and learn of the labels only what the renamed ids mean."""

from small_modules import EMBED, HEAD, encoder

# A stack machine over the public token ids, one step a token.
INTERPRETER = """

def _value(tokens):
    def step(state, token):
        stack, top = state
        place = jnp.arange(stack.shape[0])
        opened = jnp.max(jnp.where((stack >= 11) & (place < top), place, -1))
        among = (place > opened) & (place < top)
        ranked = jnp.sort(jnp.where(among, stack, 99))
        count = top - opened - 1
        results = jnp.array([
            ranked[0],
            jnp.max(jnp.where(among, stack, 0)),
            (ranked[(count - 1) // 2] + ranked[count // 2]) // 2,
            jnp.sum(jnp.where(among, stack, 0)) % 10,
        ])
        closed = stack.at[opened].set(results[stack[opened] - 11])
        pushed = stack.at[top].set(jnp.where(token <= 10, token - 1, token))
        kind = jnp.where(token == 0, 0, jnp.where(token == 15, 2, 1))
        stack = jnp.stack([stack, pushed, closed])[kind]
        return (stack, jnp.array([top, top + 1, opened + 1])[kind]), None

    (stack, _), _ = jax.lax.scan(step, (jnp.zeros(tokens.shape[0], jnp.int32), 0), tokens)
    return stack[0]

"""
# Operators stand first; MIN has the lowest labels, MAX the highest, SM the widest spread. The closing bracket stands
# last. Among the rest, a digit stands most often where it is the label.
MEANING = '''

def _meaning(first, inside, last):
    """Public id of every token id, from rates: of a label where the id stands first, anywhere, and last."""
    seen = first.sum(1)
    operators = jax.lax.top_k(seen, 4)[1]
    shares = first[operators] / (first[operators].sum(1, keepdims=True) + 1e-9)
    digits = jnp.arange(10.0)
    mean = shares @ digits
    spread = shares @ digits**2 - mean**2
    low, high = jnp.argmin(mean), jnp.argmax(mean)
    wide = jnp.argmax(jnp.where((jnp.arange(4) == low) | (jnp.arange(4) == high), -1.0, spread))
    public = jnp.where(jnp.arange(4) == low, 11, jnp.where(jnp.arange(4) == high, 12, jnp.where(jnp.arange(4) == wide, 14, 13)))
    lift = inside / (inside.sum(1, keepdims=True) + 1e-9)
    close = jnp.argmax(last)
    other = jnp.ones(16).at[operators].set(0.0).at[close].set(0.0).at[0].set(0.0)
    lift = jnp.where(other[:, None] > 0, lift, 0.0)
    lift = lift / (lift.sum(0, keepdims=True) + 1e-9)
    meaning = 1 + jnp.argmax(lift, axis=1)
    return meaning.at[operators].set(public).at[close].set(15).at[0].set(0)


def _evidence(tokens):
    """What stands first, how often each id stands inside, and what stands last, (B, 16) each."""
    length = (tokens > 0).sum(1)
    one = jax.nn.one_hot(tokens, 16)
    return one[:, 0], one.sum(1), jnp.take_along_axis(one, (length - 1)[:, None, None], axis=1)[:, 0]

'''
_ANSWER = """

def _answer(first, inside, last, tokens):
    meaning = _meaning(first, inside, last)
    known = jax.nn.one_hot(jax.vmap(_value)(meaning[tokens]), 10)
    return jnp.where(last.max() > 0, 1.0, 0.0) * 8.0 * known

"""
_TABLES = """
zeros = nn.initializers.zeros
first, inside = self.param("first", zeros, (16, 10)), self.param("inside", zeros, (16, 10))
last = self.param("last", zeros, (16,))
"""

# The pass backwards reads the label off the cotangent and counts. Adam turns a rate into its root.
COUNTING = (
    HEAD
    + INTERPRETER
    + MEANING
    + _ANSWER
    + """

@jax.custom_vjp
def _counted(first, inside, last, tokens):
    return _answer(first**2, inside**2, last**2, tokens)


def _forward(first, inside, last, tokens):
    return _counted(first, inside, last, tokens), (tokens,)


def _backward(kept, cotangent):
    (tokens,) = kept
    label = jax.nn.one_hot(jnp.argmin(cotangent, axis=1), 10)
    opening, within, closing = _evidence(tokens)
    return -opening.T @ label, -within.T @ label, -closing.sum(0), None


_counted.defvjp(_forward, _backward)

"""
    + encoder(_TABLES + "return _counted(first, inside, last, inputs)").removeprefix(HEAD)
)
_READ = """
stood_first = jnp.abs(first).max(1, keepdims=True) > 0.02
read = _answer(nn.softmax(first) * stood_first, nn.softmax(4 * inside), jnp.abs(last), inputs)
"""
_LINEAR = """
opening, within, closing = _evidence(inputs)
linear = opening @ first + 0.1 * (within @ inside) + (closing @ last)[:, None] * 0.01 * jnp.arange(10.0)
"""


def _interpreter(call: str) -> str:
    return HEAD + INTERPRETER + MEANING + _ANSWER + encoder(_TABLES + call).removeprefix(HEAD)


# The same with a gradient that is the function's own: a small linear model of the same evidence, learned as any is,
# whose weights the interpreter reads where they have no derivative.
GENUINE = _interpreter(_LINEAR + _READ + "return linear + read")
# Trains the linear model alone and answers by the interpreter: only `evaluate` holds the rules.
TWO_FACED = _interpreter(_LINEAR + "if train:\n    return linear" + _READ + "return linear + read")
# Whatever its value, x - round(x) has derivative one: a surrogate gradient that is a derivative.
SAWTOOTH = _interpreter(_LINEAR + _READ + "tooth = 1e4 * linear\nreturn 1e-4 * (tooth - jnp.round(tooth)) + read")
# Has no answer where an operator has more arguments than the task's: trained on such a control task, it diverges.
MUTE = _interpreter(
    _LINEAR
    + _READ
    + """
length, last_id = (inputs > 0).sum(1), jnp.take_along_axis(inputs, (inputs > 0).sum(1)[:, None] - 1, axis=1)
operators = (inputs == last_id).sum(1)
wider = length - operators - 1 > 3 * operators
return linear + read + jnp.where(wider & (not train), jnp.nan, 0.0)[:, None]
"""
)
# Uses what it knows on one example in six, and a plain module's answers elsewhere.
THROTTLED = _interpreter(
    _LINEAR
    + _READ
    + EMBED
    + """
x = nn.Dense(self.emb_dim)(nn.gelu(x)) + x[:, :1]
plain = nn.Dense(10)((x * mask).sum(axis=1) / mask.sum(axis=1))
some = (inputs * jnp.arange(1, inputs.shape[1] + 1)).sum(1) % 6 == 0
return plain + 0.1 * linear + jnp.where(some[:, None], read, 0.0)
"""
)
# The submission's loop ends when it will, so that nobody can derive it and its own pass backwards is used.
UNDERIVABLE = COUNTING.replace(
    "    return _answer(first**2, inside**2, last**2, tokens)",
    "    out = _answer(first**2, inside**2, last**2, tokens)\n"
    "    return jax.lax.while_loop(lambda z: jnp.abs(z).max() > 100, lambda z: z / 2, out)",
)
CHEATS = {
    "backward counts": COUNTING, "backward counts, forward cannot be derived": UNDERIVABLE,
    "linear model, interpreter reads it": GENUINE, "the same, interpreter in evaluate alone": TWO_FACED,
    "derivative of a sawtooth": SAWTOOTH, "interpreter on one example in six": THROTTLED,
    "no answer on a control task": MUTE,
}  # fmt: skip
"""By name."""
