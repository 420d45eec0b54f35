"""Worlds: kinds of problems whose answers a program can check, and what runs the loop on them.

A run of the self-rewarding loop on a world can be checked by a program that the loop never consults.
"""
