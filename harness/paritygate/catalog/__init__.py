"""What there is, as plain data: families, dtype policies, meshes, and the choice among them."""
