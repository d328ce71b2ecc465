"""The guard of a main program lets it run."""


def main():
    print("main ran")
    return 0


if __name__ == "__main__":
    main()
