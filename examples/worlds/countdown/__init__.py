"""The demo world: reach a target from three numbers, and judge such answers.

The world is small enough to pretrain a model for on two cores, yet its answers have an exact score, so
a run of the self-rewarding loop can be checked by a program that the loop never consults.
"""
