"""Estimate pi by random points, again and again: HOW POINTS REPETITIONS ROUNDS SEED."""

import random
import sys
import time


def by_loop(points: int, seed: int) -> int:
    draw = random.Random(seed).random
    inside = 0
    for _ in range(points):
        x, y = draw(), draw()
        if x * x + y * y < 1.0:
            inside += 1
    return inside


def by_numpy(points: int, seed: int) -> int:
    try:
        import numpy
    except ImportError:
        print("numpy: not found: install python3-numpy", file=sys.stderr)
        sys.exit(127)
    draw = numpy.random.RandomState(seed).random_sample
    x, y = draw(points), draw(points)
    return int(numpy.count_nonzero(x * x + y * y < 1.0))


def main() -> None:
    how = sys.argv[1]
    points, repetitions, rounds, seed = map(int, sys.argv[2:])
    count = {"loop": by_loop, "numpy": by_numpy}[how]
    print(f"perfctl pi: {how}\npoints: {points}\nrepetitions: {repetitions}\nrounds: {rounds}")
    inside = count(points, seed)
    begun = time.perf_counter_ns()
    for number in range(1, rounds + 1):
        start = time.perf_counter_ns()
        for _ in range(repetitions):
            seed += 1
            inside += count(points, seed)
        print(f"round {number}: {time.perf_counter_ns() - start} ns")
    print(f"elapsed: {time.perf_counter_ns() - begun} ns")
    print(f"estimate: {4.0 * inside / points / (rounds * repetitions + 1):.6f}")


main()
