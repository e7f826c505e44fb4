"""The HTTP service: classification for clients that are not trusted."""
