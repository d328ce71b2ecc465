"""Properties, descriptors and __set_name__."""


class Positive:
    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, instance, owner):
        return self if instance is None else getattr(instance, self.name)

    def __set__(self, instance, value):
        if value <= 0:
            raise ValueError(f"{self.name[1:]} must be positive")
        setattr(instance, self.name, value)


class Order:
    count = Positive()

    @property
    def double(self):
        return 2 * self.count


order = Order()
order.count = 3
print(order.double)
try:
    order.count = -1
except ValueError as error:
    print(error)
try:
    order.double = 1
except AttributeError:
    print("AttributeError")
