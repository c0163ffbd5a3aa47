"""Traffic: how many bytes each rank moves over each of its process groups in a step."""
