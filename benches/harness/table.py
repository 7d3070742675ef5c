"""Medians, ratios and Markdown."""

import statistics


def median(values):
    return statistics.median(values)


def ratio(ours, theirs):
    """The median of ours by theirs, taken round by round: a slow minute of the machine hits both."""
    return median([a / b for a, b in zip(ours, theirs)])


def print_table(head, rows):
    """A Markdown table; the first column to the left, the others to the right."""
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join(["---", *["---:"] * (len(head) - 1)]) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def number(value, digits=0):
    """With a space between thousands."""
    return f"{value:,.{digits}f}".replace(",", " ")
