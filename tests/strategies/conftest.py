from hypothesis import settings

# A busy machine is no failure: the laws hold however long an example takes.
settings.register_profile("strategies", deadline=None)
settings.load_profile("strategies")
