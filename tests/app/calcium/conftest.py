from hypothesis import settings

# A busy machine is slow, not wrong.
settings.register_profile("calcium", deadline=None)
settings.load_profile("calcium")
