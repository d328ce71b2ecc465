"""Solves linear equations and counts with arrays."""
import numpy


def work():
    matrix = numpy.array([[3.0, 1.0], [1.0, 2.0]])
    solution = numpy.linalg.solve(matrix, numpy.array([9.0, 8.0]))
    counts = numpy.bincount(numpy.arange(1000) % 3)
    return [[round(x, 9) for x in solution.tolist()], counts.tolist()]
