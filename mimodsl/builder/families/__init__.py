"""A file a family of modules: from a config, kernels and sizes to megatron-core's ModuleSpec."""
