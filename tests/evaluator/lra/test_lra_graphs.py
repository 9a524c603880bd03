"""What the judge reads of a traced module: bundles and graphs, honest, forged and broken."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export
from small_modules import ATTENTION, EMBED, GOOD, POOL, encoder, small_profile, traced

from aira_evaluator.lra.contract.bundle import Bundle, read_bundle, write_bundle
from aira_evaluator.lra.contract.refusal import RefusedError
from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.graphs.cost import superlinear_share, work_of
from aira_evaluator.lra.graphs.functions import read_module
from aira_evaluator.lra.graphs.graph import graph_text, read_graph

PROFILE = small_profile()


def graph(function: Callable[..., object], *arguments: np.ndarray) -> bytes:
    exported = export.export(jax.jit(function, keep_unused=True), platforms=["cpu"])(*arguments)
    return graph_text(exported.mlir_module_serialized)


ONES = np.ones((4, 8), np.float32)
SINE = graph(jnp.sin, ONES)


def module(*operations: str, attributes: str = "", before: str = "") -> bytes:
    body = "\n    ".join(operations)
    return f"""module @m {attributes} {{
  {before}
  func.func public @main(%arg0: tensor<4xf32>) -> tensor<4xf32> {{
    {body}
  }}
}}""".encode()


RETURN = "return %arg0 : tensor<4xf32>"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return traced(GOOD, PROFILE)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jax.lax.top_k(x, 2)[0],
        lambda x: jnp.cumsum(jnp.sort(x, axis=1), axis=1),
        lambda x: jnp.fft.irfft(jnp.fft.rfft(x)),
        lambda x: jax.lax.scan(lambda carried, row: (0.5 * carried + row, carried), x[0], x)[1],
        lambda x: jax.lax.associative_scan(jnp.multiply, x),
        lambda x: jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x),
        lambda x: jax.nn.gelu(jax.scipy.special.erf(x), approximate=False) + jax.lax.erf_inv(x / 2),
        lambda x: (x.astype(jnp.bfloat16) @ x.T.astype(jnp.bfloat16)).astype(jnp.float32),
    ],
)  # fmt: skip
def test_a_graph_that_passes_computes_what_the_function_does(function: Callable[[jax.Array], jax.Array]) -> None:
    inputs = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    read = read_graph("g", graph(function, inputs))
    found = jax.jit(read.function("cpu"))(inputs)[0]
    np.testing.assert_array_equal(found, jax.jit(function)(inputs))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no function main"),
        (b"\xff", "not ASCII"),
        (b"module {", "not StableHLO"),
        (b"ML\xefR\x0dStableHLO", "not ASCII"),
        (SINE.replace(b"@main", b"@other"), "no function main"),
        (module('%0 = stablehlo.custom_call @xla_ffi_python_cpu_callback(%arg0) : (tensor<4xf32>) -> tensor<4xf32>', "return %0 : tensor<4xf32>"), "custom_call of .*callback"),
        (module('%0 = stablehlo.custom_call @lapack_sgeqrf_ffi(%arg0) : (tensor<4xf32>) -> tensor<4xf32>', "return %0 : tensor<4xf32>"), "custom_call"),
        (module("%t = stablehlo.create_token : !stablehlo.token", RETURN), "create_token"),
        (module('%t = stablehlo.after_all : !stablehlo.token', '%o = "stablehlo.outfeed"(%arg0, %t) {outfeed_config = ""} : (tensor<4xf32>, !stablehlo.token) -> !stablehlo.token', RETURN), "outfeed|after_all"),
        (module("%0 = stablehlo.partition_id : tensor<ui32>", RETURN), "partition_id"),
        (module("%a = stablehlo.constant dense<0.0> : tensor<f32>", "%s = stablehlo.constant dense<4> : tensor<1xi64>", "%0 = stablehlo.rng %a, %a, %s, distribution = UNIFORM : (tensor<f32>, tensor<f32>, tensor<1xi64>) -> tensor<4xf32>", RETURN), "operation stablehlo.rng "),
        (module("%0 = call @main(%arg0) : (tensor<4xf32>) -> tensor<4xf32>", "return %0 : tensor<4xf32>"), "calls itself"),
        (module(RETURN, attributes="attributes {mhlo.num_partitions = 8 : i32}"), "attribute mhlo.num_partitions"),
        (module(RETURN, attributes='attributes {mhlo.frontend_attributes = {a = "b"}}'), "mhlo.frontend_attributes"),
        (module("%0 = stablehlo.sine %arg0 {mhlo.frontend_attributes = {a = \"b\"}} : tensor<4xf32>", RETURN), "attribute mhlo"),
        (module(RETURN).replace(b"tensor<4xf32>)", b"tensor<4xf32> {tf.aliasing_output = 0 : i32})"), "attributes of arguments"),
        (module("%0 = stablehlo.constant dense_resource<big> : tensor<4xf32>", RETURN), "stored in place"),
        (module("%0 = arith.constant 1 : i32", RETURN), "arith.constant is not admitted"),
        (module("%0 = llvm.mlir.undef : i32", RETURN), "other dialects"),
        (module(RETURN).replace(b"4xf32", b"?xf32"), "expected an array of static shape"),
        (module(RETURN).replace(b"4xf32", b"4xf64"), "of type f64"),
        (module("%0 = " + "(" * 100), "nested more than"),
        (b'// "\n' + module("%0 = " + "[" * 10**6) + b'\n// "', "comments are not admitted"),
        (module(RETURN, before="%0 = stablehlo.constant dense<1.0> : tensor<f32>"), "stablehlo.constant is not admitted there"),
        (module("%0 = stablehlo.abs %arg0#2147483647 : tensor<4xf32>", RETURN), "names a result beyond"),
        (module(RETURN, before="module { }"), "builtin.module is not admitted there"),
        (module("%0 = call @f(%arg0) : (tensor<4xf32>) -> tensor<4xf32>", "return %0 : tensor<4xf32>", before="func.func private @f(tensor<4xf32>) -> tensor<4xf32>"), "without a body"),
        (b"module { func.func private @main(tensor<4xf32>) -> tensor<4xf32> }", "without a body"),
        (module("%0 = stablehlo.abs %arg0 : (tensor<4xf32>) -> tensor<?xf32>", RETURN), r"type tensor<\?xf32>"),
        (module("%0 = stablehlo.iota dim = 0 : tensor<4294967296x4294967296xf32>", RETURN), "array of more than 1024 GiB"),
        (module("%0 = call @f0(%arg0) : (tensor<4xf32>) -> tensor<4xf32>", "return %0 : tensor<4xf32>", before="\n".join(
            f"func.func private @f{n}(%a: tensor<4xf32>) -> tensor<4xf32> {{ %0 = call @f{n + 1}(%a) : (tensor<4xf32>) -> tensor<4xf32>\n return %0 : tensor<4xf32> }}"
            for n in range(2000)) + "\nfunc.func private @f2000(%a: tensor<4xf32>) -> tensor<4xf32> { return %a : tensor<4xf32> }"), "more than 100 deep"),
    ],
)  # fmt: skip
def test_a_graph_that_could_do_more_than_compute_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        read_graph("g", text)


def test_quotation_marks_without_end_are_refused_at_once() -> None:
    started_s = time.monotonic()
    for text in (b'"\\' * 10**6, b'"' + b'\\"' * 10**6, b'"' * 10**6):
        with pytest.raises(RefusedError):
            read_graph("g", text)
    assert time.monotonic() - started_s < 30  # a quadratic search takes hours


def test_attributes_that_only_look_like_calls_are_no_calls() -> None:
    read = read_graph("g", module("%0 = stablehlo.abs %arg0 {callee = @nobody} : tensor<4xf32>", RETURN))
    assert work_of([read]).total == 4


@pytest.mark.parametrize(
    "compare", ["%c = stablehlo.constant dense<true> : tensor<i1>", "%c = stablehlo.compare NE, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>"]
)  # fmt: skip
def test_a_sort_by_what_is_no_order_stays_within_its_array(compare: str) -> None:
    """Unstable, these end the process or never end."""
    sort = f"""%0 = "stablehlo.sort"(%arg0) <{{dimension = 0 : i64, is_stable = false}}> ({{
      ^bb0(%a: tensor<f32>, %b: tensor<f32>):
        {compare}
        stablehlo.return %c : tensor<i1>
      }}) : (tensor<4xf32>) -> tensor<4xf32>"""
    text = module(sort, "return %0 : tensor<4xf32>").replace(b"4xf32", b"100000xf32")
    inputs = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    read = read_graph("g", text)
    assert b"is_stable = true" in read.text
    assert b"is_stable = false" not in read.text
    found = np.asarray(jax.jit(read.function("cpu"))(inputs)[0])
    np.testing.assert_array_equal(np.sort(found), np.sort(inputs))


def test_large_constants_are_refused() -> None:
    table = np.random.default_rng(0).bytes(17 << 20).hex()
    large = module(f'%0 = stablehlo.constant dense<"0x{table}"> : tensor<{17 << 18}xf32>', RETURN)
    with pytest.raises(RefusedError, match="constants of more than 16 MiB"):
        read_graph("g", large)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_mangled_graph_is_read_or_refused(data: st.DataObject) -> None:
    text = bytearray(SINE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(RefusedError):  # and no other: the process must live, too
        read_graph("g", bytes(text))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_mangled_bundle_is_read_or_refused(noise: bytes, at: int) -> None:
    whole = write_bundle(
        Bundle("cpu", PROFILE.defaults, dict.fromkeys(("init", "forward", "backward", "evaluate"), b"x"))
    )
    for data in (noise, whole[:at] + noise + whole[at:], whole[:at], noise + whole):
        try:
            read = read_bundle(data, PROFILE, configurable=False)
        except RefusedError:
            continue
        assert read.hyperparameters == PROFILE.defaults  # blanks, or other bytes in a graph
        assert [len(graph) for graph in read.graphs.values()] == [1, 1, 1, 1]


def test_a_bundle_survives_its_stored_form(bundle: Bundle) -> None:
    assert read_bundle(write_bundle(bundle), PROFILE, configurable=False) == bundle


@pytest.mark.parametrize(
    ("changed", "configurable", "reason"),
    [
        ({"learning_rate": 0.01}, False, "that this task fixes"),
        ({"learning_rate": 0.5}, True, "learning_rate is 0.5, expected 1e-06 to 0.05"),
        ({"learning_rate": float("nan")}, True, "learning_rate is nan"),
        ({"train_steps": 10**400}, True, "train_steps is 1000000"),
        ({"learning_rate": -(10**400)}, False, "learning_rate is -1000000"),
        ({"train_steps": 2.5}, True, "train_steps is not a number of type int"),
        ({"batch_size": True}, True, "batch_size is not a number"),
        ({"train_steps": 4800, "batch_size": 128, "seq_len": 96}, True, "tokens would be trained on"),
        ({"width": 3}, True, "other hyperparameters"),
    ],
)
def test_forged_hyperparameters_are_refused(
    bundle: Bundle, changed: dict[str, object], configurable: bool, reason: str
) -> None:
    line, _, rest = write_bundle(bundle).partition(b"\n")
    header = json.loads(line)
    header["hyperparameters"] |= changed
    with pytest.raises(RefusedError, match=reason):
        read_bundle(json.dumps(header).encode() + b"\n" + rest, PROFILE, configurable=configurable)


def test_a_configurable_task_admits_other_values(bundle: Bundle) -> None:
    other = replace(PROFILE.defaults, learning_rate=0.004)
    stored = write_bundle(replace(bundle, hyperparameters=other))
    assert asdict(read_bundle(stored, PROFILE, configurable=True).hyperparameters) == asdict(other)


@pytest.mark.parametrize(
    ("source", "quadratic"),
    [
        (GOOD, False),
        (ATTENTION, True),
        # Quadratic in the pass backwards alone: the evaluation is linear.
        (encoder(EMBED + "x = nn.softmax(jnp.einsum('bqd,bkd->bqk', x, x)) @ x if train else x" + POOL), True),
        # Keys in blocks of a loop: little memory, quadratic work.
        (encoder(EMBED + """
def block(carried, i):
    keys = jax.lax.dynamic_slice_in_dim(x, 4 * i, 4, axis=1)
    return carried + nn.relu(jnp.einsum("bqd,bkd->bqk", x, keys)) @ keys, None
x, _ = jax.lax.scan(block, x, jnp.arange(inputs.shape[1] // 4))
""" + POOL), True),
        # A recurrence, a sort and a Fourier transform: work of L or L log L.
        (encoder(EMBED + """
x = jax.lax.associative_scan(lambda a, b: a + b, x, axis=1)
x = jnp.fft.irfft(jnp.fft.rfft(x, axis=1) * self.param("f", nn.initializers.ones, (1, 1, 1)), axis=1)
x = jnp.sort(x, axis=1) + jnp.cumsum(x, axis=1)
""" + POOL), False),
        (encoder(EMBED + "_, x = jax.lax.scan(lambda c, t: (0.9 * c + t, c), x[:, 0], jnp.moveaxis(x, 1, 0))\nx = jnp.moveaxis(x, 0, 1)" + POOL), False),
    ],
)  # fmt: skip
def test_work_is_counted_where_it_is_done(source: str, quadratic: bool) -> None:
    read = read_module(traced(source, PROFILE), CONTRACTS["listops"], PROFILE.eval_batch_size)
    short, middle, long = (work_of(each.graphs) for each in read.scaled)
    assert (superlinear_share(short, middle, long) >= 0.1) == quadratic
    assert short.unknown_loops == 0


def test_work_of_a_product_is_two_operations_a_term() -> None:
    read = read_graph("g", graph(lambda x: x @ x.T, ONES))
    products = [work for kind, work in work_of([read]).by_kind.items() if kind[0] == "stablehlo.dot_general"]
    assert products == [2 * 4 * 8 * 4]


CONDITION_ON_AN_ARGUMENT = b"""
func.func public @main(%arg0: tensor<4xf32>, %arg1: tensor<f32>) -> tensor<4xf32> {
  %c = stablehlo.constant dense<0.0> : tensor<f32>
  %0 = stablehlo.while(%iterArg = %arg0) : tensor<4xf32>
    cond {
      %1 = stablehlo.compare LT, %arg1, %c : (tensor<f32>, tensor<f32>) -> tensor<i1>
      stablehlo.return %1 : tensor<i1>
    } do {
      stablehlo.return %iterArg : tensor<4xf32>
    }
  return %0 : tensor<4xf32>
}"""
WITHOUT_FEATURES = b"""
func.func public @main(%arg0: tensor<1x8x4xf32>, %arg1: tensor<3x4x0xf32>) -> tensor<1x6x0xf32> {
  %0 = "stablehlo.convolution"(%arg0, %arg1) {dimension_numbers = #stablehlo.conv<[b, 0, f]x[0, i, o]->[b, 0, f]>,
    batch_group_count = 1 : i64, feature_group_count = 1 : i64} :
    (tensor<1x8x4xf32>, tensor<3x4x0xf32>) -> tensor<1x6x0xf32>
  return %0 : tensor<1x6x0xf32>
}"""
SORT_OF_NO_AXIS = b"""
func.func public @main(%arg0: tensor<4xf32>) -> tensor<4xf32> {
  %0 = "stablehlo.sort"(%arg0) ({
    ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    %1 = stablehlo.compare LT, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
    stablehlo.return %1 : tensor<i1>
  }) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}"""


@pytest.mark.parametrize("text", [CONDITION_ON_AN_ARGUMENT, WITHOUT_FEATURES, SORT_OF_NO_AXIS])
def test_no_admitted_graph_makes_counting_fail(text: bytes) -> None:
    # An exception would be the evaluation's failure, which halts the seed whenever it is resumed.
    assert work_of([read_graph("g", text)]).total >= 0


def test_what_cannot_be_counted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_graph("forward_x2", SINE)
    monkeypatch.setattr("aira_evaluator.lra.graphs.cost._elements", lambda operation: [][0])
    with pytest.raises(RefusedError, match="forward_x2: its work cannot be counted"):
        work_of([read])


def slowly(x: jax.Array) -> jax.Array:
    """Ten rounds by the counter, which stands still in all but every hundredth."""

    def trip(carried: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        count, ticks, value = carried
        return count + jnp.where(ticks % 100 == 99, 1, 0), ticks + 1, jnp.sin(value)

    zero = jnp.int32(0)
    return jax.lax.while_loop(lambda carried: carried[0] < 10, trip, (zero, zero, x))[2]


def test_trips_are_known_of_loops_that_count_by_one_alone() -> None:
    assert work_of([read_graph("g", graph(slowly, ONES))]).unknown_loops == 1
    plain = graph(lambda x: jax.lax.fori_loop(0, 10, lambda i, c: jnp.sin(c), x), ONES)
    work = work_of([read_graph("g", plain)])
    assert work.unknown_loops == 0
    assert work.by_kind["stablehlo.sine", "2", "2"] == 10 * ONES.size
