"""Trainings in stages, each of which starts from the weights of the one before."""
