"""Where things are in the checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "recipes"
M0 = ROOT / "examples" / "worlds" / "countdown" / "m0"
"""The committed base model of the demo world: a Llama of about a million parameters."""
