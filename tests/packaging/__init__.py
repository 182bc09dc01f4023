"""What is shipped: the wheel, its names, its pins, and a tree fit to publish."""
