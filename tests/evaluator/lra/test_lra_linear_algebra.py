"""Linear algebra as the judge receives it: StableHLO that passes the allow-list and computes what LAPACK does."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export
from numpy.typing import NDArray
from small_modules import EMBED, POOL, encoder, small_profile, traced

from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.fit.linear_algebra import use_stablehlo
from aira_evaluator.lra.graphs.functions import read_module
from aira_evaluator.lra.graphs.graph import graph_text, read_graph

Matrix = NDArray[np.float32] | NDArray[np.complex64]
Arrays = tuple[NDArray[np.float32], ...]
DTYPES = [np.float32, np.complex64]


@pytest.fixture(autouse=True, scope="module")
def _lowered_to_stablehlo() -> None:
    use_stablehlo()


def text(function: Callable[..., object], *arguments: Matrix, platform: str = "cpu") -> bytes:
    checks = [export.DisabledSafetyCheck.custom_call("ALL")]
    exporting = export.export(jax.jit(function), platforms=[platform], disabled_checks=checks)
    return graph_text(exporting(*arguments).mlir_module_serialized)


def judged(function: Callable[..., object], *arguments: Matrix) -> Arrays:
    """Results of the graph a judge would read; as for `init`, compiled without optimization."""
    call = read_graph("g", text(function, *arguments)).function("cpu")
    options = {"xla_backend_optimization_level": 0}
    return tuple(np.asarray(result) for result in jax.jit(call, compiler_options=options)(*arguments))


def normal(shape: tuple[int, ...], dtype: type, seed: int = 0) -> Matrix:
    rng = np.random.default_rng(seed)
    real = rng.normal(size=shape)
    return (real + 1j * rng.normal(size=shape) if dtype is np.complex64 else real).astype(dtype)


def positive(size: int, dtype: type, seed: int = 0) -> Matrix:
    factor = normal((size, size), dtype, seed)
    return (factor @ factor.conj().T + np.eye(size)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (64, 64), (9, 5), (5, 9), (3, 8, 4)])
def test_qr_is_that_of_lapack(shape: tuple[int, ...], dtype: type) -> None:
    matrix = normal(shape, dtype)
    q, r = judged(jnp.linalg.qr, matrix)
    identity = np.broadcast_to(np.eye(q.shape[-1]), (*shape[:-2], q.shape[-1], q.shape[-1]))
    np.testing.assert_allclose(q.conj().swapaxes(-1, -2) @ q, identity, atol=2e-6)
    expected_q, expected_r = np.linalg.qr(matrix)
    np.testing.assert_allclose(q, expected_q, atol=1e-5)  # signs included
    np.testing.assert_allclose(r, expected_r, atol=2e-5)


def test_qr_of_columns_that_need_no_reflection_and_of_zeros() -> None:
    for matrix in (np.eye(4, dtype=np.float32), np.zeros((4, 3), np.float32), -np.eye(3, dtype=np.float32)):
        q, r = judged(jnp.linalg.qr, matrix)
        expected_q, expected_r = np.linalg.qr(matrix)
        np.testing.assert_array_equal(q, expected_q)
        np.testing.assert_array_equal(r, expected_r)


def test_a_full_qr_completes_the_basis() -> None:
    matrix = normal((6, 2), np.float32)
    q, r = judged(lambda a: jnp.linalg.qr(a, mode="complete"), matrix)
    assert (q.shape, r.shape) == ((6, 6), (6, 2))
    np.testing.assert_allclose(q.T @ q, np.eye(6), atol=1e-6)
    np.testing.assert_allclose(q @ r, matrix, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 5, 33, 64])
def test_eigenpairs_are_those_of_lapack_up_to_phases(size: int, dtype: type) -> None:
    draw = normal((size, size), dtype)
    matrix = ((draw + draw.conj().T) / 2).astype(dtype)
    values, vectors = judged(lambda a: tuple(jnp.linalg.eigh(a)), matrix)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix.astype(np.complex128)), atol=1e-5)
    np.testing.assert_allclose(vectors.conj().T @ vectors, np.eye(size), atol=2e-6)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=2e-5)


def test_eigenpairs_of_a_matrix_with_equal_eigenvalues() -> None:
    values, vectors = judged(lambda a: tuple(jnp.linalg.eigh(a)), np.diag([2.0, 1.0, 2.0, 1.0]).astype(np.float32))
    np.testing.assert_array_equal(values, [1, 1, 2, 2])
    np.testing.assert_array_equal(np.abs(vectors).sum(axis=0), np.ones(4))


@pytest.mark.parametrize("dtype", DTYPES)
def test_systems_are_solved(dtype: type) -> None:
    matrix, sides = normal((2, 12, 12), dtype), normal((2, 12, 3), dtype, seed=1)
    (solved,) = judged(jnp.linalg.solve, matrix, sides)
    np.testing.assert_allclose(solved, np.linalg.solve(matrix, sides), rtol=1e-3, atol=1e-4)
    (determinant,) = judged(jnp.linalg.det, matrix)
    np.testing.assert_allclose(determinant, np.linalg.det(matrix), rtol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_lu_exchanges_the_rows_lapack_exchanges(shape: tuple[int, int], dtype: type) -> None:
    lower, upper = judged(lambda a: jax.scipy.linalg.lu(a, permute_l=True), normal(shape, dtype))
    np.testing.assert_allclose(lower @ upper, normal(shape, dtype), atol=1e-5)
    assert np.abs(lower).max() <= 2**0.5 * (1 + 1e-6)  # multipliers, as pivots are the largest of their columns
    singular = np.array([[0, 1], [0, 2]], np.float32)
    packed, pivots = judged(lambda a: tuple(jax.scipy.linalg.lu_factor(a)), singular)
    np.testing.assert_array_equal(packed, singular)
    np.testing.assert_array_equal(pivots, [0, 1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_cholesky_is_the_lower_triangle_or_not_a_number(dtype: type) -> None:
    matrix = positive(20, dtype)
    (lower,) = judged(jnp.linalg.cholesky, matrix)
    np.testing.assert_allclose(lower, np.linalg.cholesky(matrix), atol=1e-5)
    (failed,) = judged(jnp.linalg.cholesky, -matrix)
    assert np.isnan(failed[0, 0])
    assert not np.triu(np.nan_to_num(failed), 1).any()


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from(DTYPES), st.booleans(), st.sampled_from([0, 1, 2]), st.booleans(), st.booleans(), st.integers(1, 6)
)
def test_triangles_are_solved_in_every_form(
    dtype: type, lower: bool, transposed: int, unit: bool, left: bool, size: int
) -> None:
    triangle = positive(size, dtype)
    triangle = np.tril(triangle) if lower else np.triu(triangle)
    sides = normal((size, 2) if left else (2, size), dtype)
    (solved,) = judged(
        lambda a, b: jax.lax.linalg.triangular_solve(
            a, b, left_side=left, lower=lower, transpose_a=transposed > 0, conjugate_a=transposed == 2, unit_diagonal=unit
        ),
        triangle,
        sides,
    )  # fmt: skip
    used = triangle - np.diag(np.diag(triangle)) + np.eye(size) if unit else triangle
    used = [used, used.T, used.conj().T][transposed]
    np.testing.assert_allclose(used @ solved if left else solved @ used, sides, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("function", [jnp.linalg.qr, lambda a: jnp.linalg.eigh(a + a.T), jnp.linalg.inv])
def test_gradients_are_those_of_lapack(function: Callable[[jax.Array], tuple[jax.Array, ...]]) -> None:
    def loss(array: jax.Array) -> jax.Array:
        return sum((jnp.sum(jnp.abs(part) ** 3) for part in jax.tree.leaves(function(array))), start=jnp.zeros(()))

    matrix = normal((6, 6), np.float32)
    (found,) = judged(jax.grad(loss), matrix)
    step = 1e-3
    direction = normal((6, 6), np.float32, seed=1)
    ahead, behind = (judged(loss, matrix + sign * step * direction)[0] for sign in (1, -1))
    assert float((found * direction).sum()) == pytest.approx(float(ahead - behind) / (2 * step), rel=0.02)


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_no_platform_sees_a_custom_call_or_a_rounded_product(platform: str) -> None:
    def everything(array: jax.Array) -> tuple[jax.Array, ...]:
        symmetric = array @ array.T + jnp.eye(4)
        factor = jax.scipy.linalg.cho_factor(symmetric)
        pairs = tuple(jnp.linalg.eigh(symmetric)) + tuple(jnp.linalg.qr(array))
        return (*pairs, jax.scipy.linalg.cho_solve(factor, array), jax.scipy.linalg.expm(array), jnp.linalg.inv(array))

    graph = text(everything, normal((4, 4), np.float32), platform=platform)
    read_graph("g", graph)
    loops = text(lambda a: jnp.linalg.qr(a)[0], normal((4, 4), np.float32), platform=platform)
    products = [line for line in loops.splitlines() if b"dot_general" in line]
    assert products
    assert all(line.count(b"HIGHEST") == 2 for line in products)


def test_many_matrices_of_a_shape_share_one_function() -> None:
    one, many = (
        text(lambda a, n=count: [jnp.linalg.qr(a + k)[0] for k in range(n)], normal((4, 4), np.float32))
        for count in (1, 9)
    )
    assert len(many) < 2 * len(one)


# As flax has it by default: every recurrent cell draws an orthogonal matrix for each of its gates.
RECURRENT = encoder(EMBED + "x = nn.RNN(nn.GRUCell(self.emb_dim))(x)" + POOL)


def test_recurrent_cells_of_flax_start_orthogonal() -> None:
    profile = small_profile()
    functions = read_module(traced(RECURRENT, profile), CONTRACTS["listops"], profile.eval_batch_size).functions
    parameters = jax.jit(functions.init)(jax.random.PRNGKey(0))
    square = [np.asarray(each) for each in parameters if each.shape == (profile.defaults.emb_dim,) * 2]
    orthogonal = [np.abs(each.T @ each - np.eye(len(each))).max() < 1e-5 for each in square]
    assert sum(orthogonal) == 3  # reset, update, candidate
