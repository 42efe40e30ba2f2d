"""Why a leaf is wrong. No reason is named that was not checked in numbers.

Each hypothesis makes of the reference's leaf what f would give if the hypothesis were true, and is named if that is
what f gives. It is free to choose a place or a number, never more, so that it does not fit by chance.
"""
