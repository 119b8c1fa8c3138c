"""Find the events of many long videos, in one process or several that share the videos out.

    accelerate launch --num_processes 4 scripts/analyze.py interviews/ --out results

It is `mer-hf analyze`; a process that is killed loses the videos at hand only, and the same command goes on.
"""

import sys

from mer_hf.commands import main

if __name__ == "__main__":
    sys.exit(main(["analyze", *sys.argv[1:]]))
