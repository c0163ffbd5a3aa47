"""Work: how many floating-point operations a step takes, by layer, stage and rank."""
