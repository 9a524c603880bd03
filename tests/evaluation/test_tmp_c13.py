import os, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
import pytest
from test_served_script import *
from test_served_script import place, image, pickled_model, BEGIN, MODEL
from aira_bench.evaluation import script_training
from aira_bench.evaluation.pace import missed_s
pytestmark = [pytest.mark.docker, pytest.mark.timeout(3000)]
TRAIN = """
import torch
torch.set_num_threads(2)
a = torch.randn(384, 384)
began = time.perf_counter()
n = 0
budget = float(os.environ['AIRA_TIME_BUDGET_S'])
x = torch.nn.Sequential(*[torch.nn.Linear(256, 256) for _ in range(4)])
opt = torch.optim.AdamW(x.parameters())
data = torch.randn(256, 256)
while time.perf_counter() - began < budget:
    loss = x(data).square().mean(); loss.backward(); opt.step(); opt.zero_grad(); n += 1
prepare.evaluate_bpb(MODEL, None, 8)
end = time.process_time() + 3
while time.process_time() < end:
    a = a @ a; a = a / a.norm()
print('steps', n)
"""
START = "import torch, time as t\ne = t.process_time() + 2\nwhile t.process_time() < e: pass\n"
@pytest.mark.parametrize("place", [{"budget_s": float(os.environ.get('B', 8)), "start_up_s": 30.0}], indirect=True)
def test_load(place):
    open('/tmp/c13_runid','w').write(place.setting.run_id)
    out = open('/tmp/c13_load.log','a')
    real = script_training.ScriptTraining._run_script
    def noted(self, submission, folder, limit, stretch):
        t = time.monotonic()
        o = real(self, submission, folder, limit, stretch)
        w = script_training.training_in(o)
        print(f"{time.strftime('%T')} told {stretch:.2f} wall {o.wall_s:.1f} lost {o.lost_s:.1f} ended {o.ended} {o.exit_code} | window {w.wall_s:.1f} lost {w.lost_s:.1f} taken {w.taken_s:.1f} missed {missed_s(w, stretch):.2f} (whole {missed_s(o.core_time(), stretch):.2f}) {o.stdout.tail[-20:]} load {os.getloadavg()[0]:.0f}", file=out, flush=True)
        return o
    script_training.ScriptTraining._run_script = noted
    with ThreadPoolExecutor(2) as ahead:
        ev = ServedScript(place.setting, place.sandbox, replace(LIMITS, cpus=(0, 1)), ahead)
        try:
            for i in range(2):
                began = time.monotonic()
                try:
                    v = ev.evaluate(Submission((START + BEGIN % pickled_model() + TRAIN).encode()), deadline=Deadline.after(560, "evaluation"), destination=place.folder / f"verdict{i}")
                except Exception as error:
                    v = error
                print(f"verdict {i} after {time.monotonic() - began:.0f} s: {type(v).__name__} {str(v)[:300]}", file=out, flush=True)
        finally:
            ev.close()
