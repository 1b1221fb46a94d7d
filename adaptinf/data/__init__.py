"""Datasets as they lie on disk, turned into checked samples, a pool and model inputs."""
