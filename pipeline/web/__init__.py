"""What the pipeline serves over HTTP: starlette on uvicorn, on loopback unless told otherwise."""
