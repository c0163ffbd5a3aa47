"""Corrections of megatron-core: one file for each, which says why it is there.

The docstring of each file has three headings:

Megatron does: what megatron-core does, with the place. It does so in the version that
`mimodsl._version.MEGATRON_CORE` names, which is the one that was read, unless "since" says more.
Why it hurts: what a user would meet.
Goes when: what megatron-core has to change before the file can go.

For a new version of megatron-core, run `tests/unit/megatron`: it finds citations that have moved.
"""
