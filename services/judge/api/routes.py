"""What the application's routes say about a path."""

from fastapi import FastAPI
from fastapi.routing import APIRoute


def contract_of(app: FastAPI, path: str) -> str:
    """The metric label of the contract that a path belongs to: its route's tag, or `native` where it has none."""
    for route in app.routes:
        if isinstance(route, APIRoute) and route.path == path and route.tags:
            return str(route.tags[0])
    return "native"


def allowed_methods(app: FastAPI, path: str) -> str:
    """The `Allow` header of a path: the methods of all its routes, of which the framework would name one."""
    routes = [route for route in app.routes if isinstance(route, APIRoute) and route.path_regex.match(path)]
    return ", ".join(sorted({method for route in routes for method in route.methods}))
