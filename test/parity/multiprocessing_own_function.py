"""A function of the program runs in a spawned process."""

# plain: file
import multiprocessing
import os


def work():
    os._exit(5)


if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=work)
    process.start()
    process.join()
    print(process.exitcode)
