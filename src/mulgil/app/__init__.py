"""The roof: reads the project's settings, builds the components, runs them, and is the command line.

`settings.py` alone reads mulgil.yaml and the environment, `wiring.py` alone builds components, `serve.py` runs them,
`cli/` is what a person types. `app` may import every room; no room imports `app`. Kept empty of imports, so that
`mulgil --help` answers at once.
"""
