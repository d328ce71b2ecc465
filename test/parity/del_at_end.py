"""What the program still has at its end is finalised then."""


class A:
    def __del__(self):
        print("at the end")


kept = A()
print("last line")
