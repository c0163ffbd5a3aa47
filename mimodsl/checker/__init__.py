"""The rules that a spec must satisfy, and the proof that no rank waits forever."""
