"""API: the objects behind `import vitsweep as vs` (vitsweep/public.py): plan, run, load, and what they return.

The last room: it uses all others and none uses it. A Study is lazy: frames are read at once, judged when asked for.
"""
