"""Kernels: arrays in, arrays out; each beside its plain reference."""
