"""Run: choose the process in which each planned cell trains, and handle its end.

Takes Hydra's configuration or a plan and leaves a record per cell, locks removed, progress and summary printed.
Other rooms use run_sweep, run_in_processes, train_cell, print_plan, make_progress, final_table, table_console.
"""
