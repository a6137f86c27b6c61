"""Small calibration images that may be shipped, with their manifest."""
