"""HTTP without Flask, ASGI or WSGI. The ASGI server and the Flask routes share these functions."""
