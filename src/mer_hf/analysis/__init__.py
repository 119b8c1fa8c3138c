"""Long videos in, a folder of results out: `results.analyze` is the way in."""
