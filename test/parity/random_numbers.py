"""Random numbers of a seed are the same each time."""

import random

generator = random.Random(42)
print(
    generator.random(),
    generator.randint(1, 100),
    generator.sample(range(10), 3),
    generator.choice("abc"),
)
random.seed(1)
print(random.random(), 0 <= random.SystemRandom().random() < 1)
