"""HTTP as the hub means it: no Flask, no ASGI, no WSGI. Both ways in share these functions."""
