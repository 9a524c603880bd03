"""What the host and the code inside containers both know, written once.

The host (`aira_bench`) drives containers in which `aira_evaluator` and `aira_kernels` run, and neither side may import
the other: the host runs nothing that judges run, and judges run nothing of the host. What both must agree on (names of
files and flags, exit statuses, tables, small grammars) stands here, in the wheel of the host and in every image.

It imports nothing but the standard library and itself, reads no file but its own recipes and one that it is named, no
clock and no environment, and holds no secret: agents can import it in their containers as they can read it in the
repository. Each module says who writes and who reads its facts.

Not covered: what one side knows alone, and what an evaluation means (`aira_evaluator`, `aira_bench.evaluation`).
"""
