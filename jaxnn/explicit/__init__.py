"""How the explicit passes of a function of ops are made, for `jaxnn.network`.

    recording   while a function is traced, an op stands in the trace as one equation of its own
    build       from the trace to a program: what is an op, a loop, a recomputed part, and what is glue
    program     the program's steps, read forward with their caches kept, and backward
    table       what each step puts out and keeps
"""
