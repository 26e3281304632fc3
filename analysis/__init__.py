"""analysis: read records, judge, draw, write reports. The command is `python -m vitsweep.analysis`.

Everything imports it as vitsweep.analysis, so that a folder `analysis` of the user's cannot take its place.
"""

import vitsweep  # noqa: F401 - lets scripts of version 0.1 import analysis.load and others
