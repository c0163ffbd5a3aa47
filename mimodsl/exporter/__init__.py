"""What a spec can be written as for other programs; a file a target, all of them in `targets`."""
