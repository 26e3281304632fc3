"""The checkout's door: `python run.py` is the console command `vitsweep`."""

import sys

from vitsweep.cli import main

if __name__ == "__main__":
    sys.exit(main())
