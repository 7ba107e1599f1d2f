"""Installers: pip and uv, made to plan whole installations from a mirror alone."""
