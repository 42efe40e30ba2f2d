"""Deliberately wrong backward passes: which of them does a gradient checker find, and which does it accept?

A right backward pass is a function (cache, dy) -> cotangents. A mutation changes one thing about it,

    one leaf of the cotangents, after it ran        the gradient is scaled, permuted, masked, rounded ...
    dy, before it runs                              for all leaves of the gradient, or for one alone
    one leaf of the cache, before it runs           stale, inverted, off by one ...

so that every op, new ones too, has its mutants without a line of its own. Two kinds of mutants are left out and
counted: those whose gradient is the right one (a permutation of equal elements), and those whose gradient another
mutant has already (zeroing the only element, and zeroing the leaf).
"""

from jaxnn.gradients.mutants.collection import Mutants, mutants
from jaxnn.gradients.mutants.mistakes import Mistake
from jaxnn.gradients.mutants.mutant import Mutant, with_backward
from jaxnn.gradients.mutants.mutation import Mutation, Place
