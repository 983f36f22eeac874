"""Measures what a step costs the loop detectors, for runs of several lengths.

    python -m tests.bench.loop_cost

Prints microseconds of CPU a step (the better of two times over other runs each time) and how much more a step costs in
a run of 10,000 than in one of 10. Fingerprints are made before; the last line is what that of an output costs, whose
words are only looked at when another follows.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable

from mappers.loops.evaluator import Engine, Evaluator
from mappers.loops.fingerprint import settle_output
from tests.mappers.loops.scenarios import Script

LENGTHS = (10, 100, 1_000, 10_000)
STEPS = 2_000
"""Measured at least, in as many runs as that takes."""
TIMES = 2


def varied(script: Script, chooser: random.Random) -> None:
    script.tool("search", {"q": script.words(8)}, script.page(4))


def looping(script: Script, chooser: random.Random) -> None:
    script.tool("open_page", {"page": 7}, "The lantern of the harbour was lit every evening at six.")


def failing(script: Script, chooser: random.Random) -> None:
    script.tool(f"tool_{chooser.randrange(5)}", {"q": script.words(5)}, None, "Error: " + script.words(10))


def talking(script: Script, chooser: random.Random) -> None:
    script.says(script.words(30))


def mixed(script: Script, chooser: random.Random) -> None:
    kind = chooser.randrange(6)
    if kind == 0:
        talking(script, chooser)
    elif kind == 1:
        script.hands_to(f"agent {chooser.randrange(3)}", script.words(30))
    else:
        script.tool(f"tool_{chooser.randrange(7)}", {"q": script.words(5)}, script.page(4))


def cost_us(length: int, add: Callable[[Script, random.Random], None], seed: int) -> float:
    runs = []
    for number in range(max(1, STEPS // length)):
        script, chooser = Script(seed + number), random.Random(seed + number)
        for _ in range(length):
            add(script, chooser)
        for step in script.steps:
            settle_output(step)
        runs.append(script.steps)
    engine = Engine()
    gc.collect()
    gc.disable()
    began = time.process_time()
    for steps in runs:
        Evaluator(engine).feed_all(steps)
    took = time.process_time() - began
    gc.enable()
    return took / sum(map(len, runs)) * 1e6


def output_us() -> float:
    script, chooser = Script(), random.Random(0)
    for _ in range(STEPS):
        talking(script, chooser)
    began = time.process_time()
    for step in script.steps:
        settle_output(step)
    return (time.process_time() - began) / STEPS * 1e6


def main() -> None:
    print(f"{'':10s}" + "".join(f"{length:>9,}" for length in LENGTHS) + "    ratio")
    for add in (varied, looping, failing, talking, mixed):
        costs = [
            min(cost_us(length, add, 1_000_000 * (turn + 1) + length) for turn in range(TIMES))
            for length in LENGTHS
        ]
        print(
            f"{add.__name__:10s}" + "".join(f"{cost:9.1f}" for cost in costs) + f"{costs[-1] / costs[0]:9.2f}"
        )
    print(f"fingerprint of an output {output_us():.1f}")


if __name__ == "__main__":
    main()
