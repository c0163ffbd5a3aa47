"""The build: a plan made into grids, groups, a model and an optimizer on each rank, by Megatron."""
