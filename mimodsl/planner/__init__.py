"""The plan of a spec: ranks, groups, roles, bridges, memory, work and time, without torch."""
