"""Variational autoencoders as Pyro model/guide pairs."""
