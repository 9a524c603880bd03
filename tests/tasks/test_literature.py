"""The literature folder: every entry is whole, every piece of code runs and does what its paper says."""

import importlib.util
import itertools
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

FOLDER = (
    Path(__file__).resolve().parents[2]
    / "tasks" / "AutoregressiveLanguageModellingWithLiteratureAutoresearchBPB" / "pwc"
)  # fmt: skip
CODE = sorted((FOLDER / "code").glob("*.py"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pwc_{name}", FOLDER / "code" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def assert_trains(module: nn.Module, inputs: Tensor) -> None:
    """Forward and backward run, and every parameter gets a finite gradient."""
    module(inputs).float().square().mean().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def assert_causal(attend: nn.Module, inputs: Tensor, cut: int) -> None:
    """What comes from `cut` on does not change what was before."""
    other = inputs.clone()
    other[:, cut:] = torch.randn_like(other[:, cut:])
    with torch.no_grad():
        assert torch.allclose(attend(inputs)[:, :cut], attend(other)[:, :cut], atol=1e-5)
        assert not torch.allclose(attend(inputs)[:, cut:], attend(other)[:, cut:], atol=1e-3)


def heads(length: int = 40, dim: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = torch.randn(3, 2, 3, length, dim, requires_grad=True).unbind(0)
    return query, key, value


def test_both_folders_start_from_the_same_script() -> None:
    scripts = sorted(FOLDER.parents[1].glob("AutoregressiveLanguageModelling*/train.py"))
    assert len(scripts) == 2
    assert len({path.read_bytes() for path in scripts}) == 1, "task folders hold no links: copy the script"


def test_there_are_fourteen_and_the_index_names_each() -> None:
    index = (FOLDER / "code" / "README.md").read_text()
    assert len(CODE) == 14
    assert all(f"`{path.name}`" in index for path in CODE)


def test_differential_attention_is_the_difference_of_two_softmax_maps() -> None:
    attention = load("differential_attention").DifferentialAttention(32, 2, layer=3)
    x = torch.randn(2, 11, 32)
    assert_trains(attention, x)
    assert_causal(attention, x, 5)
    first, second = attention.maps(x)
    assert torch.allclose(first.sum(-1), torch.ones(2, 2, 11), atol=1e-5)
    value = attention.value(x).view(2, 11, 2, 16).transpose(1, 2)
    by_hand = functional.rms_norm(first @ value - attention.lambda_value() * (second @ value), (16,))
    by_hand = attention.output((by_hand * (1 - attention.lambda_init)).transpose(1, 2).reshape(2, 11, 32))
    assert torch.allclose(attention(x), by_hand, atol=1e-5)


def test_moba_with_all_blocks_is_plain_attention_and_sees_no_future() -> None:
    moba = load("moba")
    query, key, value = heads()
    plain = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert torch.allclose(moba.moba_attention(query, key, value, block=8, top_k=9), plain, atol=1e-5)
    few = moba.chosen_blocks(query, key, 8, 2)
    own = torch.arange(40) // 8
    assert few.sum(-1).amax() == 2
    assert few.gather(-1, own.expand(2, 3, 40)[..., None]).all(), "a query always sees its own block"
    assert not (few & (torch.arange(5) > own[:, None])).any()
    changed = key.detach().clone()
    changed[..., 30:, :] += 1.0
    before = moba.moba_attention(query, key, value, block=8, top_k=2)[..., :30, :]
    assert torch.allclose(before, moba.moba_attention(query, changed, value, block=8, top_k=2)[..., :30, :], atol=1e-5)
    before.sum().backward()


def test_mobilellm_runs_each_block_twice_with_one_set_of_weights() -> None:
    mobile = load("mobilellm")
    model = mobile.deep_and_thin(50, 64, distinct=2)
    once = mobile.SharedBlocks(lambda: mobile.Block(64, 2, 1, 160), 2, repeats=1)
    assert mobile.parameters(model.body) == mobile.parameters(once)
    calls: list[int] = []
    for block in model.body.blocks:
        block.register_forward_hook(lambda *_: calls.append(1))
    logits = model(torch.arange(12).view(1, 12))
    assert logits.shape == (1, 12, 50)
    assert len(calls) == 4
    logits.logsumexp(-1).mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_native_sparse_attention_is_causal_and_trains() -> None:
    attention = load("native_sparse_attention").NativeSparseAttention(32, 4, 2, block=4, selected=2, window=6)
    x = torch.randn(2, 19, 32)
    assert_trains(attention, x)
    assert_causal(attention, x, 9)
    assert_causal(attention, x, 8)
    assert attention(torch.randn(1, 3, 32)).isfinite().all(), "shorter than a block"


def test_native_sparse_attention_chooses_alike_for_a_group_and_keeps_its_number() -> None:
    attention = load("native_sparse_attention").NativeSparseAttention(32, 4, 2, block=4, selected=2, window=6)
    x = torch.randn(2, 24, 32)
    query = attention.query(x).view(2, 24, 4, 8).transpose(1, 2)
    _, tokens = attention._compressed(x, query)
    assert torch.equal(tokens[:, 0], tokens[:, 1])
    assert torch.equal(tokens[:, 2], tokens[:, 3])
    whole = tokens[..., :20].unflatten(-1, (5, 4)).any(-1).sum(-1)
    assert whole.amax() <= 3, "two selected blocks and the own one"


def test_stick_breaking_takes_shares_of_what_is_left() -> None:
    stick = load("stick_breaking")
    query, key, value = heads(9)
    weights = stick.stick_breaking_weights(query, key)
    assert (weights.sum(-1) <= 1 + 1e-6).all()
    assert (weights.triu(0) == 0).all()
    shares = (query @ key.transpose(-1, -2) / 8**0.5).sigmoid()
    for row, column in itertools.combinations(range(9), 2):
        left = torch.ones(2, 3)
        for between in range(row + 1, column):
            left = left * (1 - shares[..., column, between])
        assert torch.allclose(weights[..., column, row], shares[..., column, row] * left, atol=1e-5)
    stick.stick_breaking_attention(query, key, value).sum().backward()


def test_coat_stores_a_quarter_and_errs_little() -> None:
    coat = load("coat")
    values = torch.randn(64, 100) * torch.logspace(-6, 2, 64)[:, None]
    stored = coat.compress(values)
    assert stored.bytes < 0.3 * values.numel() * 4
    error = (coat.expand(stored) - values).abs()
    assert (error <= 0.07 * values.abs() + 1e-3 * values.abs().amax()).all()
    assert (coat.expand(coat.compress(torch.zeros(7))) == 0).all()


def test_coat_trains_like_adam() -> None:
    coat = load("coat")
    target = torch.randn(20, 8)
    losses = {}
    for name, make in (("coat", coat.CoatAdamW), ("adam", torch.optim.AdamW)):
        weight = nn.Parameter(torch.zeros(20, 8))
        optimizer = make([weight], lr=0.05, weight_decay=0.0)
        for _ in range(150):
            optimizer.zero_grad()
            loss = (weight - target).square().mean()
            loss.backward()
            optimizer.step()
        losses[name] = float(loss.detach())
    assert losses["coat"] < max(2 * losses["adam"], 1e-3)


def test_cramming_ends_at_zero_and_grows_its_batch() -> None:
    cramming = load("cramming")
    rates = [cramming.one_cycle(step / 100) for step in range(101)]
    assert rates[0] == rates[-1] == 0.0
    assert max(rates) == 1.0
    sizes = [cramming.batch_ramp(step / 10, 16, 128, multiple=8) for step in range(11)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (16, 128)
    assert cramming.compression_ratio("spam " * 200) < 0.1 < cramming.compression_ratio("The quick brown fox jumps.")
    block = cramming.CrammedBlock(16, 2)
    x = torch.randn(2, 7, 16)
    assert_trains(block, x)
    assert_causal(block, x, 3)
    decayed, plain = cramming.without_decay(nn.ModuleList([block, nn.Embedding(3, 4)]))
    assert len(decayed) == 4
    assert len(plain) == 3
    cramming.clip_(decayed, 0.1)
    norm = torch.stack([p.grad.norm() for p in decayed]).norm()
    assert norm <= 0.1 + 1e-5


@pytest.mark.parametrize("softcap", [0.0, 5.0])
def test_the_fused_loss_equals_the_plain_one_in_value_and_gradient(softcap: float) -> None:
    liger = load("liger_losses")
    hidden = torch.randn(37, 12, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(19, 12, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 19, (37,))
    targets[::5] = -100
    fused = liger.fused_linear_cross_entropy(hidden, weight, targets, chunk=8, softcap=softcap)
    (3 * fused).backward()
    got = [hidden.grad.clone(), weight.grad.clone()]  # type: ignore[union-attr]
    hidden.grad = weight.grad = None
    logits = hidden @ weight.T
    plain = functional.cross_entropy(softcap * torch.tanh(logits / softcap) if softcap else logits, targets)
    (3 * plain).backward()
    assert torch.allclose(fused.double(), plain, atol=1e-5)
    assert torch.allclose(got[0], hidden.grad, atol=1e-5)  # type: ignore[arg-type]
    assert torch.allclose(got[1], weight.grad, atol=1e-5)  # type: ignore[arg-type]


def test_the_recomputed_norm_equals_the_plain_one() -> None:
    liger = load("liger_losses")
    x, weight = torch.randn(4, 5, 6, requires_grad=True), torch.randn(6, requires_grad=True)
    outer = torch.randn(4, 5, 6)
    expected = torch.autograd.grad(functional.rms_norm(x, (6,), weight, 1e-6), (x, weight), outer)
    got = torch.autograd.grad(liger.recomputed_rms_norm(x, weight), (x, weight), outer)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, got, strict=True))


def test_speedruns_are_judged_against_noise() -> None:
    runner = load("speedrunner")
    clock = iter(range(100)).__next__
    assert runner.time_to_target(iter([3.0, 2.0, 1.0]), 1.5, clock, budget_s=50) == 3
    assert runner.time_to_target(iter([3.0] * 9), 1.5, clock, budget_s=4) is None
    same = [runner.Trial("a", loss, 1.0) for loss in (1.00, 1.02, 0.98)]
    better = [runner.Trial("b", loss - 0.2, 1.0) for loss in (1.00, 1.02, 0.98)]
    assert not runner.is_gain(same, same, noise_sd=runner.noise(same))
    assert runner.is_gain(same, better, noise_sd=runner.noise(same))
    assert runner.recovered(10.0, 20.0, 15.0) == 0.5
    with pytest.raises(ValueError, match="twice"):
        runner.noise(same[:1])


def test_the_speedrun_model_is_causal_and_starts_at_nought() -> None:
    modded = load("modded_nanogpt")
    model = modded.SpeedrunGpt(23, 32, 4, 2)
    tokens = torch.randint(0, 23, (2, 10))
    assert (model(tokens) == 0).all()
    nn.init.normal_(model.head.weight)
    for block in model.blocks:
        nn.init.normal_(block.attention_out.weight, std=0.3)
        nn.init.normal_(block.down.weight, std=0.3)
    other = tokens.clone()
    other[:, 6:] = (other[:, 6:] + 1) % 23
    assert torch.allclose(model(tokens)[:, :6], model(other)[:, :6], atol=1e-5)
    assert model(tokens).abs().max() < 15.0
    assert not torch.allclose(model(tokens), model(tokens, window=2))
    functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
    unused = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert unused == {"blocks.1.value_mix", "blocks.2.value_mix"}
    assert modded.window_at(0.0, 128, 1024) == 128
    assert modded.window_at(1.0, 128, 1024) == 1024
    turned = modded.rotate(torch.randn(1, 9, 1, 8))
    assert turned.shape == (1, 9, 1, 8)


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8)])
def test_muon_steps_are_nearly_orthogonal_and_of_adams_size(shape: tuple[int, int]) -> None:
    muon = load("moonlight_muon")
    values = torch.linalg.svdvals(muon.orthogonalize(torch.randn(shape)))
    assert values.max() < 1.35
    assert values.median() > 0.6
    weight = nn.Parameter(torch.zeros(shape))
    optimizer = muon.Muon([weight], lr=1.0, weight_decay=0.0)
    weight.grad = torch.randn(shape)
    optimizer.step()
    assert 0.1 < weight.detach().square().mean().sqrt() < 0.3
    with pytest.raises(ValueError, match="matrices"):
        muon.Muon([nn.Parameter(torch.zeros(3))])


def test_grokfast_adds_the_average_of_gradients() -> None:
    grokfast = load("grokfast")
    model = nn.Linear(3, 1, bias=False)
    averages, by_hand = None, None
    for step in range(5):
        gradient = torch.randn(1, 3)
        model.weight.grad = gradient.clone()
        averages = grokfast.filter_exponential(model, averages, decay=0.9, strength=2.0)
        by_hand = gradient if by_hand is None else 0.9 * by_hand + 0.1 * gradient
        assert torch.allclose(model.weight.grad, gradient + 2.0 * by_hand, atol=1e-6), step
    windows = None
    history = [torch.randn(1, 3) for _ in range(4)]
    for step, gradient in enumerate(history):
        model.weight.grad = gradient.clone()
        windows = grokfast.filter_window(model, windows, size=3, strength=1.0)
        mean = torch.stack(history[max(0, step - 2) : step + 1]).mean(0)
        expected = gradient + mean if step >= 2 else gradient
        assert torch.allclose(model.weight.grad, expected, atol=1e-6), step


def test_mup_keeps_the_change_of_outputs_at_any_width() -> None:
    mup = load("mup")

    def change(width: int, *, parametrized: bool) -> float:
        widths = mup.Widths(width, 32 if parametrized else width)
        model = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.ReLU(), nn.Linear(width, width, bias=False), nn.ReLU(),
            mup.MupOutput(width, 7, widths),
        )  # fmt: skip
        mup.apply_mup(model, widths, torch.Generator().manual_seed(1), deviation=32**-0.5)
        optimizer = torch.optim.Adam(mup.mup_groups(model, widths, 1e-3))
        x = torch.randn(64, width, generator=torch.Generator().manual_seed(2))
        y = torch.randint(0, 7, (64,), generator=torch.Generator().manual_seed(3))
        before = model(x).detach()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        return float((model(x).detach() - before).square().mean().sqrt())

    held = change(512, parametrized=True) / change(32, parametrized=True)
    plain = change(512, parametrized=False) / change(32, parametrized=False)
    assert 0.3 < held < 3.0
    assert plain > 3 * held


def test_schedule_free_evaluates_the_weighted_average_of_its_steps() -> None:
    free = load("schedule_free")
    weight = nn.Parameter(torch.tensor([4.0, -3.0]))
    optimizer = free.ScheduleFreeAdamW([weight], lr=0.1, betas=(0.9, 0.99))
    trail = []
    for _ in range(60):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
        trail.append(optimizer.state[weight]["z"].clone())
    optimizer.eval()
    assert torch.allclose(weight, torch.stack(trail).mean(0), atol=1e-4), "equal rates: the plain mean of z"
    with pytest.raises(RuntimeError, match="train"):
        optimizer.step()
    kept = weight.detach().clone()
    optimizer.train()
    optimizer.eval()
    assert torch.allclose(weight, kept, atol=1e-6)
    assert weight.abs().max() < 4.0


def test_every_paper_of_the_three_lists_has_a_whole_entry() -> None:
    lines = (FOLDER / "task_info.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    assert len(entries) == 41
    assert len({entry["title"] for entry in entries}) == 41
    keys = {
        "title", "reference", "category", "task", "input_output", "pipeline", "data", "architecture", "hyperparameters", "experiment",
        "code",
    }  # fmt: skip
    for entry in entries:
        assert set(entry) == keys, entry["title"]
        assert all(entry[key] for key in keys - {"code"}), entry["title"]
        words = sum(len(str(value).split()) for value in entry.values())
        assert 60 <= words <= 400, (entry["title"], words)
    assert [
        sum(entry["category"] == name for entry in entries) for name in ("architecture", "training", "optimizer")
    ] == [20, 16, 5]
    linked = {entry["code"] for entry in entries if entry["code"]}
    assert linked == {f"code/{path.name}" for path in CODE}
