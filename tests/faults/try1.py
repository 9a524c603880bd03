import sys, time, tempfile, shutil, random
sys.path.insert(0, "/work/wt/faults/tests")
from faults import quick_time
quick_time.install()
t=time.perf_counter()
from pathlib import Path
from faults.command import *
from faults.cases import *
from faults.cases import file_cases, engine_cases, model_cases, model_well, model_run
import anthropic, openai, google.genai
import gc; gc.freeze()
from faults import cases as C
_n=C._next
def nxt(*a):
    x,y=_n(*a)
    return x, "" if "how to go on" in y else y
C._next=nxt
print("import", time.perf_counter()-t)
root=Path(tempfile.mkdtemp(dir="/dev/shm"))
which=sys.argv[1]; n=int(sys.argv[2]); seed=int(sys.argv[3]) if len(sys.argv)>3 else 0
if which in ("file","engine"):
    sc=undisturbed("searcher", SEARCHER, Place(root/"u", 18400), Setting())
    cases=list(file_cases(sc,"file operation") if which=="file" else engine_cases(sc))
else:
    t=time.perf_counter()
    sc=undisturbed(which, model_run(CARDS[which]), Place(root/"u", 18400), model_well())
    print("llm run", time.perf_counter()-t, sc.ended.requests)
    cases=list(model_cases(sc))
print(len(sc.ended.points), len(cases))
random.Random(seed).shuffle(cases)
t=time.perf_counter()
from collections import Counter
bad=Counter()
for i,c in enumerate(cases[:n]):
    f=try_case(c, sc, Place(root/f"c{i}",18400))
    if not f.is_well:
        print("BAD", c, f.statuses, f.difference if not f.problem else "", f.problem[:700])
    bad[f.is_well]+=1
    shutil.rmtree(root/f"c{i}", ignore_errors=True); shutil.rmtree(root/f"c{i}-notes", ignore_errors=True)
print(bad, (time.perf_counter()-t)/max(n,1))
shutil.rmtree(root)
