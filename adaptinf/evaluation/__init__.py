"""Scoring of answers, and the accuracy matrix with what can be read off it. Imports no torch."""

from adaptinf.evaluation.matrix import AccuracyMatrix, BenchmarkColumn, BenchmarkPath

__all__ = ["AccuracyMatrix", "BenchmarkColumn", "BenchmarkPath"]
