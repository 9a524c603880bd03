"""From raw data or seeds to splits: carving, disjointness, freedom from duplicates.

Order decides: the public train split is taken as it comes, and every later split loses what an earlier one holds.
`train`, public `validation`, then the hidden splits. Duplicates are exact for ListOps. For Text an example repeats
another where their texts are near duplicates (`text.similar`); for Retrieval where both documents of one pair are
near duplicates of the other's, in either order. AAN's official parts share documents, as published results do; pairs
are counted by how many of their documents the train data knows, and kept.

Hidden splits of Text come from the official test reviews (other films than the train reviews), those of Retrieval from
the official `eval` and `test` pairs. The public splits do not depend on them, so agents and judges get the same.
Not covered: folders and command lines (`preparation`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aira_evaluator.lra.contract.profiles import LraProfile
from aira_evaluator.lra.contract.splits import LabelledSplit
from aira_evaluator.lra.listops.expressions import draw_expressions
from aira_evaluator.lra.prepare import aan, imdb, synthetic
from aira_evaluator.lra.prepare.pools import PoolBuilder, take
from aira_evaluator.lra.prepare.progress import ProgressBar
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.hidden import HiddenSeeds as HiddenSeeds
from aira_evaluator.text.similar import near_duplicate_classes

PUBLIC_TRAIN_SEED = 20260516
PUBLIC_VALIDATION_SEED = 20260517
PUBLIC_ORDER_SEED = 20260518
_FEWEST_EXAMPLES = 50


@dataclass(frozen=True)
class Counted:
    """A split and what making it counted."""

    split: LabelledSplit
    counts: dict[str, int]


@dataclass(frozen=True)
class Pools:
    """The parts of Text or Retrieval before they are split, over the documents of all of them."""

    public: LabelledSplit
    hidden: Mapping[str, LabelledSplit]
    """Named as in the raw data."""
    empty: dict[str, int]
    """Examples of each part without text, already left out."""


HiddenSplits = dict[tuple[str, str], Counted]
"""By seed set and split."""


def listops_public(profile: LraProfile, *, workers: int, seen: set[bytes]) -> dict[str, Counted]:
    """Generate the public splits, adding digests of their expressions to `seen`."""
    sizes = profile.sizes
    assert sizes.train is not None
    return {
        "train": _generate(profile, "train", sizes.train, PUBLIC_TRAIN_SEED, workers, seen),
        "validation": _generate(profile, "validation", sizes.validation, PUBLIC_VALIDATION_SEED, workers, seen),
    }


def listops_hidden(
    profile: LraProfile, hidden: Mapping[str, HiddenSeeds], *, workers: int, seen: set[bytes]
) -> HiddenSplits:
    """Generate the hidden splits, unlike what is in `seen` and unlike each other."""
    made: HiddenSplits = {}
    for seed_set, seeds in hidden.items():
        for name, seed, size in (
            ("validation", seeds.validation, profile.sizes.hidden_validation),
            ("test", seeds.test, profile.sizes.hidden_test),
        ):
            made[seed_set, name] = _generate(profile, f"{seed_set} {name}", size, seed, workers, seen)
    return made


def _generate(profile: LraProfile, label: str, count: int, seed: int, workers: int, seen: set[bytes]) -> Counted:
    assert profile.listops is not None
    bar = ProgressBar(f"listops {label}", count)
    split, repeated = draw_expressions(profile.listops, count, seed, seen, workers=workers, progress=bar)
    return Counted(split, {"duplicates": repeated})


def public_pools(task: str, raw: Path, scratch: Path) -> Pools:
    """Read the public archive of Text or Retrieval.

    Raises:
        DataError: it is absent or damaged.
    """
    parts, read = (imdb.PARTS, imdb.read_imdb) if task == "text" else (tuple(aan.FILES), aan.read_aan)
    builders = {part: PoolBuilder(scratch / f".{part}.symbols") for part in parts}
    try:
        empty = read(raw, builders)
        pools = {part: builder.pool() for part, builder in builders.items()}
    finally:
        for builder in builders.values():
            builder.close()
    return Pools(pools.pop("train"), pools, empty)


def synthetic_pool(profile: LraProfile, count: int, seed: int, scratch: Path) -> LabelledSplit:
    """Generate a stand-in for `count` examples of Text or Retrieval."""
    add = synthetic.add_texts if profile.task == "text" else synthetic.add_pairs
    builder = PoolBuilder(scratch / ".synthetic.symbols")
    try:
        add(builder, count, profile.defaults.seq_len, np.random.default_rng(seed))
        return builder.pool()
    finally:
        builder.close()


def carve_public(profile: LraProfile, pool: LabelledSplit, empty: int = 0) -> dict[str, Counted]:
    """Split the public pool into `train` and `validation`; the latter loses near duplicates of the former.

    Raises:
        DataError: there are too few examples.
    """
    order = np.random.default_rng(PUBLIC_ORDER_SEED).permutation(len(pool))
    carved, train = order[: profile.sizes.validation], order[profile.sizes.validation :][: profile.sizes.train]
    if len(train) < _FEWEST_EXAMPLES:
        raise DataError(
            f"the train data has {len(pool)} examples, too few for {profile.sizes.validation} of validation and "
            f"{_FEWEST_EXAMPLES} of train"
        )
    keys = _example_keys(_example_classes([pool], f"{profile.task} documents")[0])
    fresh = carved[~np.isin(keys[carved], keys[train])]
    return {
        "train": Counted(take(pool, train), {"empty": empty}),
        "validation": Counted(take(pool, fresh), {"near_duplicates": len(carved) - len(fresh)}),
    }


def carve_hidden(
    profile: LraProfile, pools: Pools, hidden: Mapping[str, HiddenSeeds], *, sets_are_public: bool = False
) -> HiddenSplits:
    """Share the hidden pools out among the splits of all seed sets, without what the public pool holds.

    Text has one hidden pool for validation and test, Retrieval one for either. Of near duplicates in the pools one
    stays. A pool too small for the sizes of the profile is shared in proportion to them. With `sets_are_public` an
    example serves the same seed set whatever the seeds are, and they decide within the set: then what one key confirms
    on, no search under another has seen.

    Raises:
        DataError: a split would be left with too few examples.
    """
    classes = _example_classes([pools.public, *pools.hidden.values()], f"{profile.task} documents")
    rng = np.random.default_rng([seed for seeds in hidden.values() for seed in (seeds.validation, seeds.test)])
    taken, train_documents = _example_keys(classes[0]), np.unique(classes[0])
    made: HiddenSplits = {}
    for (part, pool), pool_classes in zip(pools.hidden.items(), classes[1:], strict=True):
        keys, order = _example_keys(pool_classes), rng.permutation(len(pool))
        _, first = np.unique(keys[order], return_index=True)
        # `first` is where each key comes first in the secret order; sorted, those places keep that order.
        order = order[np.sort(first)]
        # Against train and the pools before this one: nobody is scored on what can be read in public.
        order = order[~np.isin(keys[order], taken)]
        taken = np.union1d(taken, keys[order])
        counts = {"near_duplicates_in_the_pool": len(pool) - len(order), "empty_in_the_pool": pools.empty.get(part, 0)}
        shares = _dealt(order, keys, tuple(hidden)) if sets_are_public else [(order, tuple(hidden))]
        chosen_of = [_share_out(own, _wanted(profile, part, seed_sets), part) for own, seed_sets in shares]
        for place, chosen in (item for share in chosen_of for item in share.items()):
            known = np.isin(pool_classes[chosen], train_documents).sum(axis=1)
            shared = {f"with_{n}_documents_of_train": int((known == n).sum()) for n in range(1, pool.rows.shape[1] + 1)}
            made[place] = Counted(take(pool, chosen), counts | shared)
    return made


def _dealt(
    order: NDArray[np.intp], keys: NDArray[np.int64], seed_sets: tuple[str, ...]
) -> list[tuple[NDArray[np.intp], tuple[str, ...]]]:
    """The examples of each seed set, in their order. What decides is the place of an example's class of near duplicates
    among all, so it is the same whichever of them stays.
    """
    ranks = np.unique(keys[order], return_inverse=True)[1]
    dealt = np.random.default_rng(PUBLIC_ORDER_SEED).permutation(len(order))[ranks] % len(seed_sets)
    return [(order[dealt == index], (seed_set,)) for index, seed_set in enumerate(seed_sets)]


def _wanted(profile: LraProfile, part: str, seed_sets: Iterable[str]) -> dict[tuple[str, str], int]:
    """Sizes of the hidden splits that come from this part of the raw data."""
    sizes = {"validation": profile.sizes.hidden_validation, "test": profile.sizes.hidden_test}
    if profile.task == "retrieval":
        split = "test" if part == "test" else "validation"
        sizes = {split: sizes[split]}
    return {(seed_set, split): size for seed_set in seed_sets for split, size in sizes.items()}


def _share_out(
    order: NDArray[np.intp], wanted: Mapping[tuple[str, str], int], part: str
) -> dict[tuple[str, str], NDArray[np.intp]]:
    # Rounded down, so that the parts never need more than there is.
    share = min(1.0, len(order) / sum(wanted.values()))
    chosen, start = {}, 0
    for place, size in wanted.items():
        chosen[place] = order[start : start + int(share * size)]
        start += len(chosen[place])
        if len(chosen[place]) < _FEWEST_EXAMPLES:
            raise DataError(
                f"{part}: {len(chosen[place])} examples for {' '.join(place)}, at least {_FEWEST_EXAMPLES} are needed"
            )
    return chosen


def _example_classes(pools: Sequence[LabelledSplit], label: str) -> list[NDArray[np.int64]]:
    """For each pool, the near-duplicate classes of its examples' documents, (N, documents), over all pools."""
    starts = np.cumsum([0, *(len(pool.sequences) for pool in pools)])

    def text(index: int) -> bytes:
        pool = int(np.searchsorted(starts, index, side="right")) - 1
        return pools[pool].sequences[index - int(starts[pool])].tobytes()

    count = int(starts[-1])
    classes = near_duplicate_classes(count, text, progress=ProgressBar(f"near duplicates among {label}", count))
    return [classes[start:][pool.rows] for start, pool in zip(starts, pools, strict=False)]


def _example_keys(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number an example, equal where the documents' classes are, in either order."""
    # A pair is the same pair turned round, so its classes are sorted; 31 bits hold any number of documents here. Of one
    # document, first and last are the same.
    ordered = np.sort(classes, axis=1)
    return ordered[:, 0] * (1 << 31) + ordered[:, -1]
