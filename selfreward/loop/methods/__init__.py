"""The methods by the name that a recipe gives them.

A new method is one file in this folder, and its import and its line here.
"""

from selfreward.loop.methods.base import Method
from selfreward.loop.methods.constitutional import Constitutional
from selfreward.loop.methods.cream import Cream
from selfreward.loop.methods.dno import Dno
from selfreward.loop.methods.hinted import Hinted
from selfreward.loop.methods.meta_rewarding import MetaRewarding
from selfreward.loop.methods.process import Process
from selfreward.loop.methods.scir import Scir
from selfreward.loop.methods.self_improving import SelfImproving
from selfreward.loop.methods.self_rewarding import SelfRewarding
from selfreward.loop.methods.spin import Spin
from selfreward.loop.methods.temporal import Temporal
from selfreward.recipe.recipe import Recipe

__all__ = ["METHODS", "Method", "method_of"]

METHODS: dict[str, Method] = {
    "self_rewarding": SelfRewarding(),
    "meta_rewarding": MetaRewarding(),
    "cream": Cream(),
    "scir": Scir(),
    "dno": Dno(),
    "spin": Spin(),
    "self_improving": SelfImproving(),
    "constitutional": Constitutional(),
    "temporal": Temporal(),
    "process": Process(),
    "hinted": Hinted(),
}


def method_of(recipe: Recipe) -> Method:
    """The method of a recipe."""
    return METHODS[recipe.method]
