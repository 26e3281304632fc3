"""Commands of `python -m vitsweep`: one file a command, each with `main(arguments) -> exit code`.

Take the command line; print, or change a sweep's directory. Commands import rooms and never each other; what they
share is in arguments.py (parsing), search_space.py (tuning) and wandb_panels.py. Only vitsweep.__main__ imports them.
"""
