"""Run: choose the process in which each planned cell trains, and handle its end; callable too, as `vs.run(...)`.

Other rooms use run_sweep, run_in_processes, train_cell, render_plan, make_progress, final_table, table_console.
"""

from vitsweep.public import make_callable

make_callable(__name__)
