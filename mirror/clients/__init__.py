"""Asking a served site as installers ask it: the port and its adapter over HTTP."""
