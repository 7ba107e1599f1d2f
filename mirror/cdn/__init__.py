"""Content delivery networks: which paths a change makes stale, and telling the network so."""
