"""The language server: what editors ask about a spec while it is written."""
