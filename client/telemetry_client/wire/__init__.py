"""What goes over HTTP: update bodies, requests, and what the hub's responses mean."""
