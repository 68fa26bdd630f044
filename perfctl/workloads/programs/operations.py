"""Time single operations of Python: OPERATIONS ROUNDS."""

import os
import sys
import time


class Thing:
    def __init__(self) -> None:
        self.value = 1

    def method(self, value: int) -> int:
        return value


def function(value: int) -> int:
    return value


def function_calls(count: int) -> None:
    for _ in range(count):
        function(1)


def method_calls(count: int) -> None:
    thing = Thing()
    for _ in range(count):
        thing.method(1)


def dicts(count: int) -> None:
    found = {}
    for number in range(count):
        found[number & 1023] = number
        found.get(number & 511)


def lists(count: int) -> None:
    found = []
    for number in range(count):
        found.append(number)
        if len(found) > 100:
            del found[:100]


def strings(count: int) -> None:
    for number in range(count):
        text = "a" + str(number & 255)
        text.upper().replace("A", "b")


def exceptions(count: int) -> None:
    for _ in range(count):
        try:
            raise ValueError
        except ValueError:
            pass


def lookups(count: int) -> None:
    thing = Thing()
    for _ in range(count):
        found = thing.value
        found = thing.value
        kind = Thing
    del found, kind


def loops(count: int) -> None:
    number = 0
    while number < count:
        number += 1


def tuples(count: int) -> None:
    for number in range(count):
        first, second = (number, 1)
        found = (second, first)[:1]
    del found


def system_calls(count: int) -> None:
    ask, give_way, read = os.getppid, os.sched_yield, os.pread
    file = os.open(sys.executable, os.O_RDONLY)
    for _ in range(count):
        ask()
        give_way()
        read(file, 1, 0)
    os.close(file)


def main() -> None:
    count, rounds = map(int, sys.argv[1:])
    every = (function_calls, method_calls, dicts, lists, strings, exceptions, lookups, loops, tuples)
    print(f"perfctl operations: {count}\nrounds: {rounds}")
    for one in (*every, system_calls):
        one(count)
    begun = time.perf_counter_ns()
    for number in range(1, rounds + 1):
        for one in (*every, system_calls):
            start = time.perf_counter_ns()
            one(count)
            print(f"{one.__name__} {number}: {time.perf_counter_ns() - start} ns")
    print(f"elapsed: {time.perf_counter_ns() - begun} ns")


main()
