"""The JAX side: runs the candidate on goldens, one worker process per environment. The only package with jax."""
