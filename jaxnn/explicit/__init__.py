"""How the explicit passes of a function of ops are made, for `jaxnn.network`.

    recorder    what an op does while a function is recorded
    call        an op at fixed shapes, over the axes of `vmap`
    recording   while a function is traced, an op stands in the trace as one equation of its own
    build       from the trace to a program: what is an op, a loop, a recomputed part, and what is glue
    program     the program's steps, read forward with their caches kept, and backward
    parameters  which parameters the ops inside of a step read
    table       what each step puts out and keeps
    jaxprs      captured values made arguments; when two traces are the same program
"""
