"""What a recipe is written with, and the session that works behind it."""
