"""The judge inside other tools, one file a tool: plain functions around a client. Importing them loads no tool.

Options (`rubric`, `votes`, `policy`, ...) are the client's. No integration turns an answer without a score into a
number: TRL gets None, inspect_ai an unscored score, openevals and prometheus_eval None, and verl, whose reward must be
a float, NaN. What is judged of a sample in which there are tool calls, images or nothing at all is the policy of
docs/contracts.md#what-is-judged.

A tool's reference answers (ground truths, targets) are sent only where `reference` says so, because a rubric either
needs references or refuses them.
"""
