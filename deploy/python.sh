#!/bin/sh
# Prints the Python that the environment is made of: `python3`, unless that is too old for us, or another one in PATH
# is much quicker.
#
# Where there are several they differ by more than their versions: one that was built without optimizations, as pyenv
# builds them unless it is told otherwise, takes half as long again for the same work. What each takes is tried, for
# they do not say. Others are taken only from the versions that the tests run on.
set -u

try='
import sys

if sys.version_info < (3, 11) or sys.argv[1:] and sys.version_info >= (3, 14):
    sys.exit(1)
import ensurepip
import time
import venv


class Part:
    def __init__(self, name, size):
        self.name, self.size = name, size


def work():
    sizes = {}
    for number in range(3_000):
        part = Part(f"{number % 50}", number)
        sizes[part.name] = sizes.get(part.name, 0) + part.size + len(part.name)
    return sorted(sizes.items(), key=lambda item: item[1])


shortest = 1e9
for _ in range(6):
    began = time.process_time()
    work()
    shortest = min(shortest, time.process_time() - began)
print(int(shortest * 1e6))
'

# Microseconds of processor time; nothing if this Python will not do.
takes() {
    first=$("$@" 2>/dev/null) && second=$("$@" 2>/dev/null) || return
    if [ "$second" -lt "$first" ]; then echo "$second"; else echo "$first"; fi
}

own=$(takes python3 -c "$try")
chosen=python3
shortest=${own:-1000000000}
seen=
IFS=:
for folder in $PATH; do
    for name in python3 python3.11 python3.12 python3.13; do
        [ -x "$folder/$name" ] || continue
        file=$(readlink -f "$folder/$name")
        case ":$seen:" in *":$file:"*) continue ;; esac
        seen="$seen:$file"
        taken=$(takes "$folder/$name" -c "$try" other)
        if [ -n "$taken" ] && [ "$taken" -lt "$shortest" ]; then
            shortest=$taken
            chosen=$folder/$name
        fi
    done
done

# What is nearly as quick is left alone: `python3` is what its owner expects, and no try is exact.
if [ -n "$own" ] && [ $((shortest * 5)) -gt $((own * 4)) ]; then
    chosen=python3
elif [ -n "$own" ]; then
    echo "$chosen takes $shortest µs where python3 takes $own, and is taken; \`make PYTHON=python3\` would take that" >&2
fi
echo "$chosen"
