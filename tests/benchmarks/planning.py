"""Time and memory of planning and checking a thousand cells, without torch; and Hydra's own time for composing them.

Each plan is made in a process of its own, as the command line does it, Hydra's start included.

    python tests/benchmarks/planning.py
"""

import argparse
import subprocess
import sys
import time

PLANS = {
    "200 arms x 5 seeds, groups and values": [
        "model/patch_size=p4,p8",
        "model/patchify=conv,linear",
        "model.hidden_size=128,256",
        "recipe.lr=range(1,26)",
        "seed=range(5)",
    ],
    "1,000 arms x 1 seed, values": ["model.hidden_size=128,256", "recipe.lr=range(1,501)"],
    "1,000 arms x 1 seed, groups": [
        "model/patch_size=p2,p4,p8,p16",
        "model/depth=l2,l4,l6,l8,l12",
        "model/dropout=none,everywhere,mlp,attention,head",
        "model/patchify=conv,linear",
        "recipe.lr=1e-3,2e-3,3e-3,4e-3,5e-3",
    ],
}

PLAN = """
import resource, sys, time
began = time.perf_counter()
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from vitsweep.config.composer import Composer
from vitsweep.config.hydra import VERSION_BASE, register
from vitsweep.paths import conf_dir
from vitsweep.study.plan_builder import build_plan
register()
with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
    plan = build_plan(sys.argv[1:], Composer(GlobalHydra.instance().config_loader(), "config"))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
seconds = time.perf_counter() - began
print(f"{len(plan.cells)} cells in {seconds:.2f} s, peak {peak:.0f} MiB, torch imported: {'torch' in sys.modules}")
"""

COMPOSE = """
import sys, time
from hydra import compose, initialize_config_dir
from vitsweep.config.convert import from_omegaconf
from vitsweep.config.hydra import VERSION_BASE, register
from vitsweep.paths import conf_dir
register()
with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
    began = time.perf_counter()
    for number in range(20):
        from_omegaconf(compose("config", ["model/patch_size=p8", f"recipe.lr={number + 1}", f"seed={number}"]))
    print(f"{(time.perf_counter() - began) / 20 * 1000:.1f} s for 1,000 cells, by the mean of 20")
"""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rounds", type=int, default=3)
    for _ in range(ask.parse_args().rounds):
        for name, overrides in PLANS.items():
            print(f"{name}: ", end="", flush=True)
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", PLAN, *overrides], check=True)
            print(f"    the whole process: {time.perf_counter() - began:.2f} s")
    print("Hydra alone, one compose() a cell: ", end="", flush=True)
    subprocess.run([sys.executable, "-c", COMPOSE], check=True)


if __name__ == "__main__":
    main()
