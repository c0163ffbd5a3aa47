"""Checkpoints: folders that hold a whole run, written all or nothing, loaded into any layout."""
